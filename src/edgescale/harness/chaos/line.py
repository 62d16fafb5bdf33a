"""One connection through the built-in proxy: two sockets, and what goes from each to the other.

Each way has two tasks: one takes in what arrives and cuts it into pieces, the other one lets them go as the effects in
force say. In between they wait in order, so that what is late is late together.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from random import Random  # noqa: TID251 - seeded by whoever makes the proxy
from typing import Any, NamedTuple

from edgescale.harness.chaos.dialogue import Dialogue, Follower, Utterance
from edgescale.harness.chaos.effect import Effect, End, Piece
from edgescale.harness.chaos.toxic import Direction

_READ_BYTES = 64 * 1024
# Pieces that wait beyond this keep whoever sends waiting; a single one may be larger.
WAITING_BYTES_MAX = 4 * 1024 * 1024
_LINGER_OFF = struct.pack("ii", 1, 0)


class Socket(NamedTuple):
    """One end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Line:
    """A connection.

    Args:
        client, server: its two ends.
        effects: in force; they may come and go.
        rng: draws what befalls it.
        speaks_resp: what goes through it are requests and replies of Redis.
    """

    def __init__(
        self, client: Socket, server: Socket, effects: list[Effect[Any]], rng: Random, *, speaks_resp: bool
    ) -> None:
        self.rng = rng
        self.effects = effects
        self._client, self._server = client.writer, server.writer
        self._over = asyncio.Event()
        dialogue = Dialogue() if speaks_resp else None
        self._ways = (
            _Way(self, "upstream", client.reader, server.writer, dialogue),
            _Way(self, "downstream", server.reader, client.writer, dialogue),
        )

    async def run(self) -> None:
        """Let everything through, as the effects say, until an end has closed or an effect wills it."""
        async with asyncio.TaskGroup() as group:
            duties = [duty for way in self._ways for duty in (way.take_in(), way.let_go())]
            tasks = [group.create_task(duty) for duty in duties]
            await self._over.wait()
            for task in tasks:
                task.cancel()

    def end(self, how: End) -> None:
        """Have both ends end."""
        for writer, milder in ((self._client, End.CLOSE), (self._server, End.RESET_CLIENT)):
            if how > milder:
                _reset(writer)
            else:
                writer.close()
        self._over.set()

    async def closed(self) -> None:
        """Wait until what was let through has left."""
        await asyncio.gather(self._client.wait_closed(), self._server.wait_closed(), return_exceptions=True)


class _Way:
    """One way through a connection."""

    def __init__(
        self,
        line: Line,
        direction: Direction,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        dialogue: Dialogue | None,
    ) -> None:
        self._line = line
        self._direction: Direction = direction
        self._source = source
        self._sink = sink
        self._follower = Follower(dialogue, requests=direction == "upstream") if dialogue is not None else None
        self._waiting = Waiting()
        self._now_s = asyncio.get_running_loop().time

    def _effects(self) -> list[Effect[Any]]:
        return [effect for effect in self._line.effects if effect.concerns(self._direction)]

    async def take_in(self) -> None:
        """Read until the end."""
        while True:
            data = await _read(self._source)
            for effect in self._effects():
                await effect.admits()
            # All at once, or replies to some would count as come before the others were asked.
            for said in list(self._hear(data)):
                await self._waiting.put(Piece(self._line, self._direction, self._now_s(), *said))
            if not data:
                return

    def _hear(self, data: bytes) -> Iterator[Utterance]:
        if self._follower is not None:
            yield from self._follower.hear(data)
        if self._follower is None or not data:
            yield Utterance(data)

    async def let_go(self) -> None:
        """Let pieces go, one after the other."""
        with suppress(OSError):
            while True:
                await self._let_go(await self._waiting.get())
        self._line.end(End.CLOSE)

    async def _let_go(self, piece: Piece) -> None:
        # Counted from when it arrived, so that what came in a row is late together.
        due_s = piece.at_s
        for effect in self._effects():
            due_s += effect.delay_s(piece)
            await effect.pause(due_s - self._now_s())
            # Earlier, where the fault was over meanwhile.
            due_s = min(due_s, self._now_s())
        effects = self._effects()
        fates = [effect.fate(piece) for effect in effects]
        passes = [fate.passes_bytes for fate in fates if fate.passes_bytes is not None]
        end = max((fate.end for fate in fates), default=End.NONE)
        await self._send(piece.data[: min(passes, default=None)], effects)
        if piece.is_end and not passes:
            end = max(end, End.CLOSE)
        if end is not End.NONE:
            self._line.end(end)

    async def _send(self, data: bytes, effects: list[Effect[Any]]) -> None:
        """Send bytes, spread by each of the effects in turn."""
        if not effects:
            self._sink.write(data)
            await self._sink.drain()
            return
        effect, *others = effects
        for step in effect.steps(data, self._line.rng):
            if isinstance(step, bytes):
                await self._send(step, others)
            else:
                await effect.pause(step)


class Waiting:
    """Pieces that wait, in order; who has too many bytes waiting must wait, too."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()

    async def put(self, piece: Piece) -> None:
        """Add the last."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._bytes < WAITING_BYTES_MAX)
            self._pieces.append(piece)
            self._bytes += len(piece.data)
            self._changed.notify_all()

    async def get(self) -> Piece:
        """Take the first."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._pieces))
            piece = self._pieces.popleft()
            self._bytes -= len(piece.data)
            self._changed.notify_all()
            return piece


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_READ_BYTES)
    except OSError:
        return b""


def _reset(writer: asyncio.StreamWriter) -> None:
    # With no time to linger, closing sends RST, and what was not sent is dropped. Source: socket(7), SO_LINGER.
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    writer.transport.abort()
