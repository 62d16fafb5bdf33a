"""The way of a command to the server that has its key, whether there is one server or many."""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool

from edgescale.broker.address import Address
from edgescale.broker.cluster import ClusterRoute
from edgescale.broker.dial import dial
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument
from edgescale.broker.sentinel import SentinelRoute


class Route(Protocol):
    """What a connection sends its commands over. All raise redis-py's errors, and leave the time to their caller."""

    def exchange(self, args: Sequence[Argument], at: str | None) -> Awaitable[Any]:
        """The reply to a command, of the server that has the key `at`; None for the command's own first key."""

    def exchange_all(self, commands: Sequence[tuple[Argument, ...]]) -> Awaitable[list[Any]]:
        """The replies to commands that go over one connection, to the server that has the first one's first key.

        A refusal stands in the place of its reply; see `Pool.exchange_all`.
        """

    async def everywhere(self, *args: Argument) -> list[Any]:
        """The replies of all primaries."""

    async def home(self, key: str) -> str:
        """Names the server that has the key."""

    async def subscribe(self, channel: str) -> AbstractConnection:
        """A connection of the caller's own to close, on which the sharded channel is subscribed where it belongs."""

    def trusts(self, connection: AbstractConnection) -> bool:
        """Whether a connection still leads to where it should, as far as is known."""

    def suspect_all(self) -> None:
        """A command had no reply in time: no connection to its server can be trusted."""

    def narrow(self) -> "Route":
        """The same way, over connections of its own, for one command at a time; close it before this one."""

    async def close(self) -> None:
        """Close all connections; commands on their way fail."""


class SingleRoute:
    """To one server.

    Args:
        connections: makes them.
        size: how many commands may be on their way at once.
    """

    def __init__(self, connections: ConnectionPool, size: int) -> None:
        self._connections = connections
        self._pool = Pool(connections, size)

    def exchange(self, args: Sequence[Argument], at: str | None) -> Awaitable[Any]:
        """As of a route; every key is here."""
        del at
        return self._pool.exchange(*args)

    def exchange_all(self, commands: Sequence[tuple[Argument, ...]]) -> Awaitable[list[Any]]:
        """As of a route."""
        return self._pool.exchange_all(*commands)

    async def everywhere(self, *args: Argument) -> list[Any]:
        """As of a route; one reply."""
        return [await self._pool.exchange(*args)]

    async def home(self, key: str) -> str:
        """As of a route; always the same."""
        del key
        return ""

    async def subscribe(self, channel: str) -> AbstractConnection:
        """As of a route."""
        return await self._pool.subscribe(channel)

    def trusts(self, connection: AbstractConnection) -> bool:
        """As of a route; all of them."""
        del connection
        return True

    def suspect_all(self) -> None:
        """As of a route."""
        self._pool.suspect_all()

    def narrow(self) -> "SingleRoute":
        """As of a route."""
        return SingleRoute(self._connections, 1)

    async def close(self) -> None:
        """As of a route."""
        await self._pool.close()


def open_route(url: str, *, timeout_ms: int, size: int) -> Route:
    """The route to what the URL names; nothing is connected yet.

    Raises:
        ConfigError: the URL is none.
    """
    address = Address.parse(url)
    if address.mode == "cluster":
        return ClusterRoute.to(address, timeout_ms=timeout_ms, size=size)
    if address.mode == "sentinel":
        return SentinelRoute.to(address, timeout_ms=timeout_ms, size=size)
    return SingleRoute(dial(url, timeout_ms=timeout_ms), size)
