"""Commands and subscriptions, whatever Redis is made of, and redis-py's errors translated into ours.

redis-py's defaults are set aside: its retries would send a command up to ten times (a plain XADD would queue ten
entries), RESP3 switches on notices that hide dead connections, and a blocking read must not outlive the socket's
timeout. What is sent again here is sent by us, and only scripts that may be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis import exceptions as foreign
from redis.asyncio.connection import AbstractConnection

from edgescale.broker.exchanges import configured, create_group, run_script
from edgescale.broker.fence import Fence
from edgescale.broker.pool import closing_told
from edgescale.broker.route import Route, open_route
from edgescale.broker.script import Argument, Script
from edgescale.errors import BrokerUnavailable, EdgeScaleError, GroupMissing, InternalError, Overloaded

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
    """Commands to one server, to the primary behind sentinels, or to a cluster. Every error that leaves is one of ours.

    Args:
        url: as the setting `redis_url`.
        timeout_ms: for one command, its wait for a turn and connecting included.
        connections_max: how many commands may be on their way to one server at once; further ones wait.
        block_ms: how long a command may wait at the server on top of that.
        fence: under `strict`, what keeps a script's reply back until replicas have what it tells of; None for nothing.
        route: the way there; None makes one from the URL.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int,
        connections_max: int = 16,
        block_ms: int = 0,
        fence: Fence | None = None,
        route: Route | None = None,
    ) -> None:
        self.url = url
        self._timeout_ms = timeout_ms
        self._fence = fence
        # The margin keeps the client's clock from running out before the server's.
        self._patience_s = (block_ms + timeout_ms) / 1000
        self._route = route or open_route(url, timeout_ms=timeout_ms, size=connections_max)

    async def command(self, *args: Argument, at: str | None = None) -> Any:
        """Send one command and read its RESP2 reply: bytes, integers, None, and lists of them.

        Args:
            args: the command.
            at: a key of the server that is meant, where the command itself has no key.

        Raises:
            BrokerUnavailable: no reply; whether the command was carried out is unknown.
            GroupMissing: the command needs a consumer group that is not there.
        """
        return await self._bounded(self._route.exchange(args, at))

    async def everywhere(self, *args: Argument) -> list[Any]:
        """Send one command to every primary, one after the other; their replies.

        Raises:
            BrokerUnavailable: one of them gave none.
        """
        return await self._bounded(self._route.everywhere(*args))

    async def home(self, key: str) -> str:
        """Names the primary that has the key; all keys of one server have the same.

        Raises:
            BrokerUnavailable: nobody tells.
        """
        return await self._bounded(self._route.home(key))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run a script by its hash; a server that does not know it is sent the body.

        Raises:
            BrokerUnavailable: no reply, or too few replicas have what it tells of; the script may be sent again, as all
                ours may be repeated.
            Overloaded: the server is out of memory and the script would use more.
        """
        return await self._bounded(run_script(self._route, self._fence, script, keys, args))

    async def create_group(self, stream: str, group: str) -> bool:
        """Make a consumer group at the start of a stream, the stream too; False when it is there already.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return await self._bounded(create_group(self._route, stream, group))

    async def configured(self, name: str) -> list[str | None]:
        """A setting of every primary; None where one does not let us ask, or knows no such setting.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return await self._bounded(configured(self._route, name))

    async def now_ms(self, at: str) -> int:
        """Milliseconds since 1970 by the clock of the server that has the key `at`: the one that stamps its entries.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        seconds, microseconds = await self.command("TIME", at=at)
        return int(seconds) * 1000 + int(microseconds) // 1000

    def for_blocking(self, block_ms: int) -> "Connection":
        """A connection of its own for commands that wait at the server for up to `block_ms`."""
        return Connection(self.url, timeout_ms=self._timeout_ms, block_ms=block_ms, route=self._route.narrow())

    async def _bounded(self, exchange: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._patience_s):
                return await exchange
        except Exception as error:
            if isinstance(error, TimeoutError):
                self._route.suspect_all()
            ours = _ours(error)
            if ours is error:
                raise
            raise ours from error

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator["Subscription"]:
        """A subscription on a connection of its own, confirmed by the server before it is handed out.

        Raises:
            BrokerUnavailable: the server did not confirm in time.
        """
        listening = await self._bounded(self._route.subscribe(channel))
        try:
            yield Subscription(listening, self._route.trusts, timeout_ms=self._timeout_ms)
        finally:
            await listening.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections; commands on their way fail."""
        await self._route.close()


class Subscription:
    """Messages of a sharded channel, for one reader. Source: SSUBSCRIBE; it works outside of clusters, too."""

    def __init__(
        self, connection: AbstractConnection, trusted: Callable[[AbstractConnection], bool], *, timeout_ms: int
    ) -> None:
        self._connection = connection
        self._trusted = trusted
        self._timeout_s = timeout_ms / 1000

    async def next(self, *, quiet_ms: int) -> bytes | None:
        """The next message's data, or None for anything else that arrived.

        A connection that is silent for `quiet_ms` is asked for a sign of life, so that a half-open socket is noticed.

        Raises:
            BrokerUnavailable: the connection is gone, or another server has the channel now. Messages may have been
                missed.
        """
        with translated():
            push = await self._connection.read_response(timeout=quiet_ms / 1000)
            if push is None:
                async with asyncio.timeout(self._timeout_s):
                    with closing_told():
                        await self._connection.send_command("PING")
                    push = await self._connection.read_response()
            if push[0] == b"sunsubscribe" or not self._trusted(self._connection):
                raise BrokerUnavailable("the channel is on another server now")
            message: bytes | None = push[2] if push[0] == b"smessage" else None
            return message


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
    # A slot is moving key by key, and a script met one that had gone on before. It may be repeated.
    if code in _AWAY_CODES or "non local key" in message:
        return BrokerUnavailable("Redis cannot serve now")
    return InternalError("Redis refused a command")
