"""What entries that stay cost while others pass behind them: Redis frees a stream's memory in nodes, not in entries.

First one entry stays pending at the head of its lane, its lease renewed, while --tasks tasks are added, taken, settled
and deleted behind it. Then, in another lane, one entry of every --spread stays: the worst that can happen to the nodes.
Exit status 1 when the first stream is larger at the end than --times-max times what it was with its one entry.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.keys import Keys
from edgescale.broker.model import Entry, Settlement, Submission
from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.envelope import Envelope
from edgescale.local.valkey import EmbeddedValkey
from edgescale.telemetry.logs import configure_logs

BATCH = 500
STEPS = 10
CONSUMER = "worker-1"


@dataclass(frozen=True)
class Figures:
    """What a stream holds and takes, in bytes, and what the server takes."""

    entries: int
    stream_bytes: int
    used_bytes: int


class Lane:
    """One lane, on which tasks are passed through."""

    def __init__(self, name: str, connection: Connection, keys: Keys, broker: Broker) -> None:
        self._name = name
        self._connection = connection
        self._stream = keys.stream(0, name)
        self._broker = broker
        self._numbers = count()

    async def open(self) -> None:
        """Make the group."""
        await self._broker.ensure_group(0, self._name)

    async def take(self, number: int) -> list[Entry]:
        """Add so many tasks, and take them."""
        names = [f"{self._name}-{next(self._numbers)}" for _ in range(number)]
        await asyncio.gather(*(self._broker.submit(_task(name, self._name)) for name in names))
        return await self._broker.read(self._connection, 0, self._name, CONSUMER, count=number)

    async def settle(self, entries: Sequence[Entry]) -> None:
        """End these."""
        settlements = (
            Settlement(entry, entry.fields[b"request_id"].decode(), "text", "succeeded") for entry in entries
        )
        await asyncio.gather(*(self._broker.settle(CONSUMER, settlement) for settlement in settlements))

    async def renew(self, entry: Entry) -> None:
        """Keep an entry's lease."""
        if not await self._broker.renew(CONSUMER, entry):
            raise RuntimeError("the entry that was to stay has gone")

    async def figures(self) -> Figures:
        """What it takes now."""
        command = self._connection.command
        memory = (await command("INFO", "memory")).decode().split("\r\n")
        [used] = [line.partition(":")[2] for line in memory if line.startswith("used_memory:")]
        stream_bytes = int(await command("MEMORY", "USAGE", self._stream, "SAMPLES", 0) or 0)
        return Figures(int(await command("XLEN", self._stream)), stream_bytes, int(used))


def _task(name: str, lane: str) -> Submission:
    # The payload of a short text; its digest matters to nobody here.
    return Submission(Envelope(name, "text", b"x" * 100), lane, digest=name)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Connection, Keys, Broker]]:
    """An embedded server, and a broker on it."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedValkey(Path(folder))
        await server.start()
        # Settled records are to vanish at once: they are bounded by their own time, and not what is measured here.
        settings = Settings(
            redis_url=server.url, lane_cap=10**9, wait_default_ms=1, wait_max_ms=1, result_ttl_ms=2, lease_ms=3_000_000
        )
        connection, keys = Connection(server.url, timeout_ms=10_000), Keys()
        try:
            yield connection, keys, Broker(connection, keys, settings, SystemChance())
        finally:
            await connection.close()
            await server.stop()


def tell(passed: int, figures: Figures) -> None:
    """Print a line."""
    print(f"{passed:>10,} {figures.entries:>9,} {figures.stream_bytes:>14,} {figures.used_bytes:>13,}", flush=True)


def head(title: str) -> None:
    """Print what the lines are about."""
    print(f"\n{title}\n{'passed':>10} {'entries':>9} {'stream, bytes':>14} {'used, bytes':>13}")


async def one_at_the_head(lane: Lane, tasks: int) -> float:
    """One entry stays; how many times as large the stream is at the end."""
    head("one entry stays at the head")
    [stuck] = await lane.take(1)
    before = after = await lane.figures()
    tell(0, before)
    told = max(tasks // STEPS // BATCH, 1)
    for batch in range(1, tasks // BATCH + 1):
        await lane.settle(await lane.take(BATCH))
        await lane.renew(stuck)
        if batch % told == 0:
            after = await lane.figures()
            tell(batch * BATCH, after)
    return after.stream_bytes / before.stream_bytes


async def many_spread(lane: Lane, tasks: int, spread: int) -> float:
    """One entry of so many stays; the bytes that the stream takes for each of them."""
    head(f"one entry of every {spread} stays")
    told = max(tasks // STEPS // BATCH, 1)
    figures = await lane.figures()
    for batch in range(1, tasks // BATCH + 1):
        entries = await lane.take(BATCH)
        await lane.settle([entry for place, entry in enumerate(entries) if place % spread])
        if batch % told == 0:
            figures = await lane.figures()
            tell(batch * BATCH, figures)
    return figures.stream_bytes / max(figures.entries, 1)


async def full(lane: Lane, tasks: int) -> float:
    """No entry goes; the bytes that the stream takes for each."""
    for _ in range(tasks // BATCH):
        await lane.take(BATCH)
    figures = await lane.figures()
    return figures.stream_bytes / figures.entries


async def run(tasks: int, spread: int, times_max: float) -> bool:
    """Measure, print, and say whether the stream stayed within its bound."""
    configure_logs(service="bench", log_format="console", level="error")
    async with served() as parts:
        lanes = [Lane(name, *parts) for name in ("stuck", "spread", "full")]
        for lane in lanes:
            await lane.open()
        times = await one_at_the_head(lanes[0], tasks)
        apiece = await many_spread(lanes[1], tasks, spread)
        packed = await full(lanes[2], min(tasks, 20 * BATCH))
    good = times <= times_max
    print(f"\none entry at the head: the stream is {times:.1f} times what it was, {times_max:g} allowed")
    print(f"one of every {spread}: it takes {apiece:,.0f} bytes for each that stays")
    print(f"nothing deleted: {packed:,.0f} bytes for each, {apiece / packed:.1f} times less")
    return good


def main() -> int:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="tasks that pass; default %(default)s")
    parser.add_argument("--spread", type=int, default=100, help="one of so many stays; default %(default)s")
    parser.add_argument("--times-max", type=float, default=3, help="bound of the first stream; default %(default)s")
    flags = parser.parse_args()
    if flags.tasks < STEPS * BATCH:
        parser.error(f"--tasks must be at least {STEPS * BATCH}")
    return 0 if asyncio.run(run(flags.tasks, flags.spread, flags.times_max)) else 1


if __name__ == "__main__":
    sys.exit(main())
