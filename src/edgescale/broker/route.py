"""The way of a command to the server that has its key, whether there is one server or many."""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool

from edgescale.broker.address import Address
from edgescale.broker.cluster import ClusterRoute
from edgescale.broker.dial import dial, dial_primary
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument


class Route(Protocol):
    """What a connection sends its commands over. All raise redis-py's errors, and leave the time to their caller."""

    def exchange(self, args: Sequence[Argument], at: str | None) -> Awaitable[Any]:
        """The reply to a command, of the server that has the key `at`; None for the command's own first key."""

    async def everywhere(self, *args: Argument) -> list[Any]:
        """The replies of all primaries."""

    async def home(self, key: str) -> str:
        """Names the server that has the key."""

    async def subscribe(self, channel: str) -> AbstractConnection:
        """A connection of the caller's own to close, on which the sharded channel is subscribed where it belongs."""

    def suspect_all(self) -> None:
        """A command had no reply in time: no connection to its server can be trusted."""

    def narrow(self) -> "Route":
        """The same way, over connections of its own, for one command at a time; close it before this one."""

    async def close(self) -> None:
        """Close all connections; commands on their way fail."""


class SingleRoute:
    """To one server, under one address or wherever the sentinels say that it is.

    Args:
        connections: makes them.
        size: how many commands may be on their way at once.
        shared: `connections` are those of another route, which closes what they hold.
    """

    def __init__(self, connections: ConnectionPool, size: int, *, shared: bool = False) -> None:
        self._connections = connections
        self._pool = Pool(connections, size)
        self._shared = shared

    def exchange(self, args: Sequence[Argument], at: str | None) -> Awaitable[Any]:
        """As of a route; every key is here."""
        del at
        return self._pool.exchange(*args)

    async def everywhere(self, *args: Argument) -> list[Any]:
        """As of a route; one reply."""
        return [await self._pool.exchange(*args)]

    async def home(self, key: str) -> str:  # noqa: PLR6301 - as of a route
        """As of a route; always the same."""
        del key
        return ""

    async def subscribe(self, channel: str) -> AbstractConnection:
        """As of a route."""
        return await self._pool.subscribe(channel)

    def suspect_all(self) -> None:
        """As of a route."""
        self._pool.suspect_all()

    def narrow(self) -> "SingleRoute":
        """As of a route."""
        return SingleRoute(self._connections, 1, shared=True)

    async def close(self) -> None:
        """As of a route."""
        await self._pool.close()
        if isinstance(self._connections, SentinelConnectionPool) and not self._shared:
            await self._connections.sentinel_manager.aclose()


def open_route(url: str, *, timeout_ms: int, size: int) -> Route:
    """The route to what the URL names; nothing is connected yet.

    Raises:
        ConfigError: the URL is none.
    """
    address = Address.parse(url)
    if address.mode == "cluster":
        return ClusterRoute.to(address, timeout_ms=timeout_ms, size=size)
    if address.mode == "sentinel":
        return SingleRoute(dial_primary(address, timeout_ms=timeout_ms), size)
    return SingleRoute(dial(url, timeout_ms=timeout_ms), size)
