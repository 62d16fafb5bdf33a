"""What the broker knows of redis-py, next to the pool: connections, and its errors translated into ours.

redis-py's defaults are set aside: its retries would send a command up to ten times (a plain XADD would queue ten
entries), RESP3 switches on notices that hide dead connections, and a blocking read must not outlive the socket's
timeout. What is sent again here is sent by us, and only scripts that may be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis import exceptions as foreign
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from edgescale.broker.exchanges import configured, create_group, run_script
from edgescale.broker.fence import Fence
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument, Script
from edgescale.errors import BrokerUnavailable, ConfigError, EdgeScaleError, GroupMissing, InternalError, Overloaded

T = TypeVar("T")
_AWAY = (
    foreign.ConnectionError,
    foreign.TimeoutError,
    foreign.ReadOnlyError,
    foreign.ClusterDownError,
    foreign.SlotNotCoveredError,
    foreign.TryAgainError,
    foreign.InvalidResponse,
    OSError,
)
# Not all of redis-py's errors hang from its RedisError.
_FOREIGN = (
    foreign.RedisError,
    foreign.RedisClusterException,
    foreign.ChildDeadlockedError,
    foreign.IncorrectPolicyType,
)
# Error codes of servers that are there but cannot serve now. Source: Redis, "Error handling" of each command.
_AWAY_CODES = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "TRYAGAIN", "UNBLOCKED")


class Connection:
    """Commands to one server. Every error that leaves is one of ours.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_ms: for one command, its wait for a turn and connecting included.
        connections_max: how many commands may be on their way at once; further ones wait.
        block_ms: how long a command may wait at the server on top of that.
        fence: under `strict`, what keeps a script's reply back until replicas have what it tells of; None for nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        connections_max: int = 16,
        block_ms: int = 0,
        fence: Fence | None = None,
    ) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._fence = fence
        # The margin keeps the client's clock from running out before the server's.
        self._patience_s = (block_ms + timeout_ms) / 1000
        self._pool = Pool(self._connections(), connections_max)

    def _connections(self) -> ConnectionPool:
        try:
            pool: ConnectionPool = ConnectionPool.from_url(self._url)
        except ValueError as error:
            raise ConfigError(f"redis_url: {error}; an example is redis://127.0.0.1:6379/0") from error
        # Whatever the URL says of them: who can be reached, and with which credentials, is the URL's affair alone.
        pool.connection_kwargs |= {
            "protocol": 2,
            "decode_responses": False,
            "retry": Retry(NoBackoff(), 0),
            # Ours is kept by asyncio.timeout(): redis-py keeps its own by asyncio.wait_for(), which before Python
            # 3.12 swallows a cancellation that comes as a write completes. Source: CPython issue 86296.
            "socket_timeout": None,
            "socket_connect_timeout": self._timeout_ms / 1000,
            "driver_info": None,
        }
        return pool

    async def command(self, *args: Argument) -> Any:
        """Send one command and read its RESP2 reply: bytes, integers, None, and lists of them.

        Raises:
            BrokerUnavailable: no reply; whether the command was carried out is unknown.
            GroupMissing: the command needs a consumer group that is not there.
        """
        return await self._bounded(self._pool.exchange(*args))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script by its hash; a server that does not know it is sent the body.

        Raises:
            BrokerUnavailable: no reply, or too few replicas have what it tells of; the script may be sent again, as all
                ours may be repeated.
            Overloaded: the server is out of memory and the script would use more.
        """
        return await self._bounded(run_script(self._pool, self._fence, script, keys, args))

    async def create_group(self, stream: str, group: str) -> bool:
        """Make a consumer group at the start of a stream, the stream too; False when it is there already.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return await self._bounded(create_group(self._pool, stream, group))

    async def configured(self, name: str) -> str | None:
        """A setting of the server; None where it does not let us ask, or knows no such setting. Source: CONFIG GET.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return await self._bounded(configured(self._pool, name))

    async def now_ms(self) -> int:
        """Milliseconds since 1970 by the server's clock, which is the one that stamps entries.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        seconds, microseconds = await self.command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def for_blocking(self, block_ms: int) -> "Connection":
        """A connection of its own for commands that wait at the server for up to `block_ms`."""
        return Connection(self._url, timeout_ms=self._timeout_ms, connections_max=1, block_ms=block_ms)

    async def _bounded(self, exchange: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience_s):
                return await exchange
        except Exception as error:
            if isinstance(error, TimeoutError):
                self._pool.suspect_all()
            ours = _ours(error)
            if ours is error:
                raise
            raise ours from error

    @asynccontextmanager
    async def subscribed(self, channels: Sequence[str]) -> AsyncIterator["Subscription"]:
        """A subscription on a connection of its own, confirmed by the server before it is handed out.

        Raises:
            BrokerUnavailable: the server did not confirm in time.
        """
        client = Redis.from_pool(self._connections())
        pubsub = client.pubsub()
        try:
            subscription = Subscription(pubsub, timeout_ms=self._timeout_ms)
            await subscription.confirm(channels)
            yield subscription
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await client.aclose()

    async def close(self) -> None:
        """Close all connections; commands on their way fail."""
        await self._pool.close()


class Subscription:
    """Messages of sharded channels, for one reader. Source: SSUBSCRIBE; it works outside of clusters, too."""

    def __init__(self, pubsub: PubSub, *, timeout_ms: int) -> None:
        self._pubsub = pubsub
        self._timeout_s = timeout_ms / 1000

    async def confirm(self, channels: Sequence[str]) -> None:
        """Subscribe, and wait for the server to say so for each channel."""
        with translated():
            async with asyncio.timeout(self._timeout_s):
                await self._pubsub.ssubscribe(*channels)
                for _ in channels:
                    await self._pubsub.get_message(timeout=None)

    async def next(self, *, quiet_ms: int) -> bytes | None:
        """The next message's data, or None for anything else that arrived.

        A connection that is silent for `quiet_ms` is asked for a sign of life, so that a half-open socket is noticed.

        Raises:
            BrokerUnavailable: the connection is gone. Messages may have been missed.
        """
        with translated():
            message = await self._pubsub.get_message(timeout=quiet_ms / 1000)
            if message is None:
                async with asyncio.timeout(self._timeout_s):
                    await self._pubsub.ping()
                    message = await self._pubsub.get_message(timeout=None)
            # A confirmation here means that redis-py reconnected behind our back: messages were missed.
            if message["type"] == "ssubscribe":
                raise BrokerUnavailable("the subscription's connection was replaced")
            return message["data"] if message["type"] == "smessage" else None


@contextmanager
def translated() -> Iterator[None]:
    """Turns every error of redis-py into one of the tree, the cause kept."""
    try:
        yield
    except Exception as error:
        ours = _ours(error)
        if ours is error:
            raise
        raise ours from error


def _ours(error: Exception) -> Exception:
    """The error of our tree for one of redis-py's or of the network's; any other is a defect and stays itself."""
    if isinstance(error, EdgeScaleError):
        return error
    if isinstance(error, (foreign.AuthenticationError, foreign.AuthorizationError, foreign.NoPermissionError)):
        return BrokerUnavailable("Redis refused the credentials or lacks a permission")
    if isinstance(error, foreign.OutOfMemoryError):
        return Overloaded("Redis is out of memory")
    if isinstance(error, _AWAY):
        return BrokerUnavailable("Redis is away")
    if isinstance(error, _FOREIGN):
        return _from_reply(error)
    return error


def flat_dict(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Field-value pairs that RESP2 sends as one list."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _from_reply(error: Exception) -> EdgeScaleError:
    message = str(error)
    code = message.partition(" ")[0]
    if code == "NOGROUP" or "NOGROUP" in message or code == "UNBLOCKED":
        return GroupMissing("a consumer group is gone")
    if code == "OOM":
        return Overloaded("Redis is out of memory")
    if code in _AWAY_CODES:
        return BrokerUnavailable("Redis cannot serve now")
    return InternalError("Redis refused a command")
