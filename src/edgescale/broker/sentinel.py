"""Commands to the primary that sentinels watch, whichever server that is now.

Each new connection asks for it. That is not enough: a primary that is replaced although it is well goes on serving for
some seconds, and what it accepts then is lost when it becomes a replica. So the sentinels are asked now and then.
Source: Redis, "Guidelines for Redis clients with support for Redis Sentinel"; `SENTINEL FAILOVER`.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis import exceptions as foreign
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool

from edgescale.broker.address import EXAMPLES, Address
from edgescale.broker.dial import ASKED_WITHIN_A_COMMAND, dial_primary
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument
from edgescale.errors import ConfigError

# How long the answer of a sentinel is taken for true.
FRESH_S = 1.0


class Lookout:
    """Where the sentinels say that the primary is; shared by all routes of a process.

    Args:
        connections: to the primary; each asks by itself as it is made.
        patience_s: for all sentinels together; then the command goes where the primary was.
    """

    def __init__(self, connections: SentinelConnectionPool, *, patience_s: float) -> None:
        self.connections = connections
        self._patience_s = patience_s
        self._stale_from = 0.0

    async def look(self) -> None:
        """Ask, unless somebody did not long ago, or is about to."""
        now = asyncio.get_running_loop().time()
        if now < self._stale_from:
            return
        self._stale_from = now + FRESH_S
        try:
            async with asyncio.timeout(self._patience_s):
                await self.connections.get_master_address()  # type: ignore[no-untyped-call]
        except (MasterNotFoundError, TimeoutError):
            # What is open may serve still; and who opens a connection is told.
            return
        except foreign.ResponseError as error:
            if "unknown command" not in str(error).lower():
                raise
            raise ConfigError(
                f"redis_url: this is no sentinel; the URL of one server is {EXAMPLES['single']}"
            ) from error

    def trusts(self, connection: AbstractConnection) -> bool:
        """Whether it leads to the primary, as far as is known."""
        return self.connections.master_address in {None, (_host(connection), _port(connection))}

    async def close(self) -> None:
        """Close the connections to the sentinels."""
        await self.connections.sentinel_manager.aclose()


class SentinelRoute:
    """To the primary.

    Args:
        lookout: who knows where it is.
        size: how many commands may be on their way at once.
        shared: the lookout is another route's, which closes it.
    """

    def __init__(self, lookout: Lookout, size: int, *, shared: bool = False) -> None:
        self._lookout = lookout
        self._pool = Pool(lookout.connections, size, trusted=lookout.trusts)
        self._shared = shared

    @classmethod
    def to(cls, address: Address, *, timeout_ms: int, size: int) -> "SentinelRoute":
        """A route to the primary of a URL."""
        connections = dial_primary(address, timeout_ms=timeout_ms)
        return cls(Lookout(connections, patience_s=timeout_ms / 1000 / ASKED_WITHIN_A_COMMAND), size)

    async def exchange(self, args: Sequence[Argument], at: str | None) -> Any:
        """As of a route; every key is there."""
        del at
        await self._lookout.look()
        return await self._pool.exchange(*args)

    async def exchange_all(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """As of a route."""
        await self._lookout.look()
        return await self._pool.exchange_all(*commands)

    async def everywhere(self, *args: Argument) -> list[Any]:
        """As of a route; one reply."""
        return [await self.exchange(args, None)]

    async def home(self, key: str) -> str:
        """As of a route; always the same."""
        del key
        return ""

    async def subscribe(self, channel: str) -> AbstractConnection:
        """As of a route."""
        return await self._pool.subscribe(channel)

    def trusts(self, connection: AbstractConnection) -> bool:
        """As of a route."""
        return self._lookout.trusts(connection)

    def suspect_all(self) -> None:
        """As of a route."""
        self._pool.suspect_all()

    def narrow(self) -> "SentinelRoute":
        """As of a route."""
        return SentinelRoute(self._lookout, 1, shared=True)

    async def close(self) -> None:
        """As of a route."""
        await self._pool.close()
        if not self._shared:
            await self._lookout.close()


def _host(connection: AbstractConnection) -> str:
    return str(getattr(connection, "host", ""))


def _port(connection: AbstractConnection) -> int:
    return int(getattr(connection, "port", 0))
