"""For bench_loss_window.py: servers under load, what was on their disks when, and a replica at a distance."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.fence import Fence
from edgescale.broker.keys import Keys
from edgescale.broker.model import Submission
from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.envelope import Envelope, digest
from edgescale.errors import EdgeScaleError
from edgescale.local.valkey import EmbeddedValkey

LANE = "text"
PAYLOAD = b"x" * 200
# A server writes its append-only file by `write`, and syncs it by `fdatasync`, in a thread of its own under everysec.
# A call that another thread's comes in between of stands on two lines; each ends with how long it took.
_SYSTEM_CALL = re.compile(
    r"(?P<thread>\d+) +(?P<at>[\d.]+) (?:<\.\.\. )?(?P<name>write|fdatasync|fsync)"
    r"(?:\(\d+<(?P<file>[^>]*)>| resumed>).*?(?:= (?P<result>-?\d+) <(?P<took>[\d.]+)>|(?P<open><unfinished \.\.\.>))"
)


async def ask(server: EmbeddedValkey, *words: str | int) -> str:
    """The reply to one command, as text."""
    connection = Connection(server.url, timeout_ms=10_000, connections_max=1)
    try:
        reply = await connection.command(*words)
    finally:
        await connection.close()
    return reply.decode() if isinstance(reply, bytes) else str(reply)


async def stored(server: EmbeddedValkey) -> set[str]:
    """The request ids of all entries in the lane."""
    connection = Connection(server.url, timeout_ms=30_000, connections_max=1)
    try:
        rows = await connection.command("XRANGE", Keys().stream(0, LANE), "-", "+")
    finally:
        await connection.close()
    return {flat_dict(flat)[b"request_id"].decode() for _, flat in rows}


@dataclass
class Load:
    """Senders that submit one task after the other through the real broker.

    Attributes:
        acknowledged: when each request id was acknowledged, in seconds since 1970.
    """

    url: str
    senders: int
    durability: str = "standard"
    acknowledged: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Send until the block is left; whoever meets a server that is away stops sending."""
        changes = {"redis_patience_ms": 1, "lane_cap": 10_000_000, "durability": self.durability}
        settings = Settings.model_validate({"redis_url": self.url, **changes})
        connection = Connection(self.url, timeout_ms=settings.redis_timeout_ms, fence=Fence.of(settings))
        broker = Broker(connection, Keys(), settings, SystemChance())
        numbers = count()
        sending = [asyncio.create_task(self._send(broker, numbers)) for _ in range(self.senders)]
        try:
            yield self
        finally:
            for sender in sending:
                sender.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            await connection.close()

    async def _send(self, broker: Broker, numbers: "count[int]") -> None:
        while True:
            request_id = f"r{next(numbers)}"
            task = Submission(Envelope(request_id, "text", PAYLOAD), LANE, digest(b"text", PAYLOAD))
            try:
                await broker.submit(task)
            except EdgeScaleError:
                return
            self.acknowledged[request_id] = time.time()


class Disk:
    """What of a server's append-only file was on disk when, as its system calls tell. Source: strace(1).

    Args:
        server: runs, and has synced all that it wrote.
        trace: where to write its system calls.
    """

    def __init__(self, server: EmbeddedValkey, trace: Path) -> None:
        self._server = server
        self._trace = trace
        self.folder = server.log_path.parent / "appendonlydir"
        [self.file] = self.folder.glob("*.incr.aof")
        self._begin_bytes = self.file.stat().st_size

    @asynccontextmanager
    async def traced(self) -> AsyncIterator[None]:
        """Trace the server within the block.

        Raises:
            RuntimeError: strace is not there, or may not trace.
        """
        program = shutil.which("strace")
        if program is None:
            raise RuntimeError("strace is needed: it tells when a file was really synced")
        options = ["-f", "-ttt", "-T", "-y", "-s", "0", "-e", "trace=write,fdatasync,fsync", "-o", str(self._trace)]
        tracer = await asyncio.create_subprocess_exec(
            program, *options, "-p", str(self._server.pid), stderr=asyncio.subprocess.PIPE
        )
        said = (await tracer.stderr.readline()).decode() if tracer.stderr is not None else ""
        if "attached" not in said:
            raise RuntimeError(f"strace cannot trace the server: {said.strip()}")
        try:
            yield
        finally:
            tracer.terminate()
            await tracer.wait()

    def synced(self) -> list[tuple[float, int]]:
        """When how many bytes of the file were on disk: what was written before a sync began, once it has ended."""
        written, begun, steps = self._begin_bytes, dict[str, int](), [(0.0, self._begin_bytes)]
        for line in self._trace.read_text().splitlines():
            call = _SYSTEM_CALL.match(line)
            if call is None or (call["file"] is not None and not call["file"].endswith(self.file.name)):
                continue
            if call["file"] is None and call["thread"] not in begun:
                continue
            starts = begun.pop(call["thread"], written)
            if call["open"]:
                begun[call["thread"]] = starts
            elif call["name"] == "write":
                written += max(int(call["result"]), 0)
            elif call["result"] == "0":
                lasted_s = float(call["took"]) if call["file"] is not None else 0.0
                steps.append((float(call["at"]) + lasted_s, starts))
        return steps

    async def survivors(self, size_bytes: int, folder: Path) -> set[str]:
        """The tasks that a server finds which starts with so many bytes of the file.

        Args:
            size_bytes: of the file, from its beginning.
            folder: for the server; emptied afterwards.
        """
        shutil.copytree(self.folder, folder / "appendonlydir")
        os.truncate(folder / "appendonlydir" / self.file.name, size_bytes)
        server = EmbeddedValkey(folder)
        await server.start()
        try:
            return await stored(server)
        finally:
            await server.kill()
            shutil.rmtree(folder)


@asynccontextmanager
async def distance(port: int, delay_s: float) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """A port in front of another one, which passes bytes on after a while; and a call that drops all on their way."""
    links: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()

        def arrive(data: bytes) -> None:
            if not cut:
                writer.write(data)

        while data := await reader.read(65_536):
            loop.call_later(delay_s, arrive, data)
        loop.call_later(delay_s, writer.close)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        links.append(asyncio.create_task(pump(far_reader, writer)))
        links.append(asyncio.create_task(pump(reader, far_writer)))

    cut: list[bool] = []
    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], lambda: cut.append(True)
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
