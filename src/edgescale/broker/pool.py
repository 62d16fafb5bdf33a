"""Commands over redis-py's connections, without what its client does around each of them.

redis-py's connection is kept: it connects, shakes hands, speaks TLS, parses replies and knows when a reply may still be
under way. Its client and pool are not: choosing a connection, packing in Python, retrying and counting cost more than
all of the rest. Packing is hiredis's.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
from redis import exceptions as foreign
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from edgescale.broker.script import Argument

_ASKING = hiredis.pack_command(("ASKING",))


class Pool:
    """A few connections to one server, for one command each at a time.

    Args:
        connections: makes them; it is never asked for one of its own.
        size: how many commands may be on their way at once; further ones wait for their turn.
        trusted: whether a connection still leads to where it should.
    """

    def __init__(
        self,
        connections: ConnectionPool,
        size: int,
        *,
        trusted: Callable[[AbstractConnection], bool] = lambda _: True,
    ) -> None:
        self._maker = connections
        self._trusted = trusted
        self._turns = asyncio.Semaphore(size)
        # Last in, first out: the rest may fall asleep.
        self._idle: list[AbstractConnection] = []
        self._made: list[AbstractConnection] = []
        self._suspect: set[AbstractConnection] = set()
        self._retired = False

    async def exchange(self, *args: Argument, asking: bool = False) -> Any:
        """Send one command and read its reply; a command that fails, or is cancelled, midway closes its connection.

        Args:
            args: the command.
            asking: the server is to carry it out although it does not own the slot yet. Source: ASKING.

        Raises:
            RedisError: redis-py's, or what its connection lets through of the network's.
        """
        [reply] = await self.exchange_all(args, asking=asking)
        if isinstance(reply, foreign.ResponseError):
            raise reply
        return reply

    async def exchange_all(self, *commands: tuple[Argument, ...], asking: bool = False) -> list[Any]:
        """Send commands in one go, over one connection, and read a reply to each; as `exchange`.

        Returns:
            The replies, in order. The server carries a command out whatever became of those before it: where it refused
            one, the ResponseError stands in the place of the reply.

        Raises:
            RedisError: not all replies came, and the connection is closed.
        """
        packed = b"".join(_ASKING + _packed(each) if asking else _packed(each) for each in commands)
        async with self._turns:
            connection = self._idle.pop() if self._idle else self._make()
            try:
                with closing_told():
                    await self._ready(connection)
                    await connection.send_packed_command(packed, check_health=False)
                    replies = [await _reply(connection, asking=asking) for _ in commands]
                if any(isinstance(reply, foreign.ReadOnlyError) for reply in replies):
                    # A server that became a replica says so, and keeps the connection open.
                    self._suspect.update((*self._idle, connection))
            except (foreign.ConnectionError, foreign.TimeoutError, OSError):
                self.suspect_all()
                raise
            else:
                return replies
            finally:
                self._idle.append(connection)
                if self._retired:
                    await connection.disconnect(nowait=True)

    async def _ready(self, connection: AbstractConnection) -> None:
        if connection.is_connected and await self._is_useless(connection):
            await connection.disconnect(nowait=True)
        self._suspect.discard(connection)
        if not connection.is_connected:
            # Not left to the command: only this asks sentinels where the primary is.
            await connection.connect()  # type: ignore[no-untyped-call]

    async def _is_useless(self, connection: AbstractConnection) -> bool:
        """What the server has closed while it was idle, what still holds a part of a reply, what leads elsewhere."""
        return connection in self._suspect or not self._trusted(connection) or bool(await connection.can_read())

    def suspect_all(self) -> None:
        """Have all idle connections made anew before they are used again.

        What broke one has most probably broken the others, and that shows only in the command that is lost by it, or in
        one that waits in vain.
        """
        self._suspect.update(self._idle)

    def _make(self) -> AbstractConnection:
        connection: AbstractConnection = self._maker.make_connection()  # type: ignore[no-untyped-call]
        self._made.append(connection)
        return connection

    async def subscribe(self, channel: str) -> AbstractConnection:
        """A connection of the caller's own to close, on which a sharded channel is subscribed.

        Raises:
            RedisError: as `exchange`; nothing is left open.
        """
        connection: AbstractConnection = self._maker.make_connection()  # type: ignore[no-untyped-call]
        try:
            with closing_told():
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_packed_command(_packed(("SSUBSCRIBE", channel)), check_health=False)
                await connection.read_response()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def retire(self) -> None:
        """Close the connections that are idle now, and each of the others as its command ends."""
        self._retired = True
        for connection in self._idle:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close all connections; commands on their way fail."""
        await asyncio.gather(*(connection.disconnect() for connection in self._made))


@contextmanager
def closing_told() -> Iterator[None]:
    """A connection that is reset as something is written is told of as one that is lost, whatever loop it is on.

    Where asyncio's own transports drop what is written to one that is closed already, uvloop's raise a RuntimeError,
    which redis-py lets through. Source: uvloop's handles/handle.pyx.

    Raises:
        RedisError: the connection is closed.
    """
    try:
        yield
    except RuntimeError as error:
        if "handler is closed" not in str(error):
            raise
        raise foreign.ConnectionError("the connection was closed as something was sent") from error


async def _reply(connection: AbstractConnection, *, asking: bool) -> Any:
    if asking and isinstance(refused := await _reply(connection, asking=False), foreign.ResponseError):
        await _reply(connection, asking=False)
        return refused
    try:
        return await connection.read_response()
    except foreign.ResponseError as refusal:
        # As good a reply as any: those to come are read, or the next command would be given one of them.
        return refusal


def _packed(args: tuple[Argument, ...]) -> bytes:
    # Its stub tells of tuples of one item.
    pack: Any = hiredis.pack_command
    try:
        packed: bytes = pack(args)
    except UnicodeEncodeError:
        # A handler may quote its input, and a lone surrogate in JSON is a str that UTF-8 does not have.
        packed = pack(tuple(arg.encode(errors="replace") if isinstance(arg, str) else arg for arg in args))
    return packed
