"""A million tasks through one lane while workers are killed: none lost, none answered twice, memory back at the end.

Processes of their own submit through the broker and wait at their inboxes, as ingestion processes do
(`toy_submitter.py`; gRPC is left out, for it costs several times as much and holds nothing of a task). Workers are real
but for a handler that answers at once (`toy_worker.py`). One of them is killed with SIGKILL every --kill-every-s
seconds, and replaced.

Lost is every accepted id without an answer, or whose stored result is not there seconds later. Doubled is every id
whose stored result is not the answered one any more, and every id that was settled more than once: workers write down
what they settled in a ledger that survives their death. Results expire while the bench runs; when the last one has, the
memory that Redis uses must be back to what it was before, but for --memory-tolerance-mib.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import ROOT, Bar, Spread, conclude, say

from edgescale.broker.keys import GROUP
from edgescale.local.valkey import EmbeddedValkey
from edgescale.telemetry.logs import configure_logs
from tests.processes import Running, program
from tests.support import LANE, Rig, eventually, open_rig

MIB = 1024 * 1024
BENCH = ROOT / "bench"
WARM_UP_TASKS = 2_000
TOLD_EVERY_S = 5.0
SETTINGS: dict[str, Any] = {
    "lease_ms": 2_000,
    "sweep_ms": 500,
    "wait_default_ms": 2_000,
    "wait_max_ms": 2_000,
    # Longer than results are verified after, and short, so that expiry keeps up.
    "result_ttl_ms": 15_000,
    "consumer_retention_ms": 15_000,
    "worker_lanes": "text=128",
    "lane_cap": 100_000,
}


@dataclass
class Ledger:
    """What workers wrote down.

    Attributes:
        settled: how often each number was settled, by the first part of its id.
        reclaimed: when entries were taken over, by the machine's clock.
    """

    settled: dict[str, bytearray] = field(default_factory=dict)
    reclaimed: list[float] = field(default_factory=list)

    @classmethod
    def read(cls, paths: list[Path], tasks: dict[str, int]) -> "Ledger":
        """Read all ledgers; the warm-up's ids are left out."""
        ledger = cls({name: bytearray(count) for name, count in tasks.items()})
        for path in paths:
            with path.open(encoding="ascii") as lines:
                for line in lines:
                    kind, what, *moment = line.split()
                    name, _, number = what.rpartition("-")
                    if kind == "r":
                        ledger.reclaimed += [float(moment[0])] * int(what)
                    elif name in ledger.settled:
                        counts = ledger.settled[name]
                        counts[int(number)] = min(counts[int(number)] + 1, 255)
        return ledger

    @property
    def doubled(self) -> int:
        """Ids that were settled more than once."""
        return sum(count > 1 for counts in self.settled.values() for count in counts)


@dataclass
class Workers:
    """Some workers, one of which is killed and replaced now and then.

    Attributes:
        killed: when one was, by the machine's clock that all processes share.
        ledgers: of all workers there ever were.
    """

    url: str
    folder: Path
    killed: list[float] = field(default_factory=list)
    ledgers: list[Path] = field(default_factory=list)
    alive: list[tuple[Running, AsyncExitStack]] = field(default_factory=list)

    async def start(self) -> None:
        """One more."""
        ledger = self.folder / f"ledger-{len(self.ledgers)}"
        ledger.touch()
        self.ledgers.append(ledger)
        stack = AsyncExitStack()
        arguments = (str(BENCH / "toy_worker.py"), "--ledger", str(ledger))
        running = await stack.enter_async_context(program(*arguments, redis_url=self.url, **SETTINGS))
        self.alive.append((running, stack))
        await running.address()

    async def kill_one(self) -> None:
        """Kill the oldest, and start another."""
        running, stack = self.alive.pop(0)
        self.killed.append(time.monotonic())
        running.kill()
        await running.process.wait()
        await stack.aclose()
        await self.start()

    async def kill_again_and_again(self, every_s: float) -> None:
        """Until cancelled."""
        while True:
            # The next one's time runs while the place of this one is filled.
            await asyncio.gather(asyncio.sleep(every_s), self.kill_one())

    async def close(self) -> None:
        """End all."""
        for _, stack in self.alive:
            await stack.aclose()


@asynccontextmanager
async def working(url: str, folder: Path, count: int) -> AsyncIterator[Workers]:
    """So many workers."""
    workers = Workers(url, folder)
    try:
        for _ in range(count):
            await workers.start()
        yield workers
    finally:
        await workers.close()


async def submit(url: str, tasks: dict[str, int], open_at_once: int) -> dict[str, dict[str, Any]]:
    """Have one process for each name submit so many tasks; what each of them saw."""
    async with AsyncExitStack() as stack:
        running = {}
        for name, count in tasks.items():
            arguments = (name, "--tasks", str(count), "--open", str(open_at_once))
            submitting = program(str(BENCH / "toy_submitter.py"), *arguments, redis_url=url, **SETTINGS)
            running[name] = await stack.enter_async_context(submitting)
        for submitter in running.values():
            await submitter.address()
        for submitter in running.values():
            assert submitter.process.stdin is not None  # noqa: S101 - it was asked for
            submitter.process.stdin.write(b"go\n")
        telling = asyncio.create_task(tell(list(running.values()), sum(tasks.values())))
        try:
            lines = {name: await submitter.line("verdict ", 3_600) for name, submitter in running.items()}
        finally:
            telling.cancel()
        return {name: json.loads(line.partition(" ")[2]) for name, line in lines.items()}


async def tell(submitters: list[Running], tasks: int) -> None:
    """Say how far they are, until cancelled."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(TOLD_EVERY_S)
        done = 0
        for submitter in submitters:
            told = [line for line in submitter.lines if line.startswith("done ")]
            done += int(told[-1].split()[1]) if told else 0
        say(f"{done:,} of {tasks:,} answered, {done / (time.monotonic() - began):,.0f} a second")


async def used(rig: Rig) -> tuple[int, int]:
    """Keys, and bytes that Redis uses."""
    info = (await rig.connection.command("INFO", "memory")).decode()
    bytes_used = next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith("used_memory:"))
    return await rig.connection.command("DBSIZE"), bytes_used


async def emptied(rig: Rig, keys: int) -> bool:
    """Whether no more keys are left than that."""
    return (await used(rig))[0] <= keys


async def settled_down(rig: Rig) -> tuple[int, int]:
    """Keys and bytes once all results have expired."""
    patience_s = 4 * SETTINGS["result_ttl_ms"] / 1000
    # The stream stays.
    await eventually(lambda: emptied(rig, 1), timeout_s=patience_s)
    await asyncio.sleep(1)
    return await used(rig)


@dataclass(frozen=True)
class Seen:
    """What a run came to; bytes before and after are Redis's."""

    tasks: dict[str, int]
    took_s: float
    verdicts: list[dict[str, Any]]
    killed: list[float]
    ledger: Ledger
    left: int
    bytes_before: int
    bytes_after: int

    def sum_of(self, key: str) -> int:
        """Of all submitters."""
        return int(sum(verdict[key] for verdict in self.verdicts))

    def all_of(self, key: str) -> list[Any]:
        """Of all submitters."""
        return [item for verdict in self.verdicts for item in verdict[key]]

    def since_kill_s(self, moments: list[float]) -> list[float]:
        """From the last kill to each of these moments, in seconds."""
        kills = [[kill for kill in self.killed if kill < moment] for moment in moments]
        return [moment - max(before) for moment, before in zip(moments, kills, strict=True) if before]


async def run(options: argparse.Namespace, folder: Path) -> Seen:
    """Warm up, submit and kill, and wait for the end of all."""
    share = options.tasks // options.submitters
    tasks = {f"m{number}": share for number in range(options.submitters)}
    valkey = EmbeddedValkey(folder / "valkey")
    await valkey.start()
    try:
        async with open_rig(valkey.url) as rig, working(valkey.url, folder, options.workers) as workers:
            say(f"warming up with {WARM_UP_TASKS:,} tasks")
            await submit(valkey.url, {"warm": WARM_UP_TASKS}, options.open)
            _, before = await settled_down(rig)
            began = time.monotonic()
            killing = asyncio.create_task(workers.kill_again_and_again(options.kill_every_s))
            verdicts = await submit(valkey.url, tasks, options.open)
            took_s = time.monotonic() - began
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            pending = (await rig.connection.command("XPENDING", rig.keys.stream(0, LANE), GROUP))[0]
            left = await rig.backlog() + pending
            say("all answered; waiting for the results to expire")
            _, after = await settled_down(rig)
    finally:
        await valkey.stop()
    ledger = await asyncio.to_thread(Ledger.read, workers.ledgers, tasks)
    return Seen(tasks, took_s, list(verdicts.values()), workers.killed, ledger, left, before, after)


def judge(seen: Seen, options: argparse.Namespace) -> tuple[dict[str, Any], list[Bar]]:
    """Figures and bars."""
    total = sum(seen.tasks.values())
    accepted, answered, verified = (seen.sum_of(key) for key in ("accepted", "answered", "verified"))
    answers = Spread.of(seen.since_kill_s(seen.all_of("redelivered")))
    grown_mib = (seen.bytes_after - seen.bytes_before) / MIB
    figures = {
        "tasks": total,
        "seconds": round(seen.took_s, 1),
        "tasks a second": round(total / seen.took_s),
        "workers killed": len(seen.killed),
        "entries reclaimed, from kill to claim": Spread.of(seen.since_kill_s(seen.ledger.reclaimed)),
        "answered by a later attempt, from kill to answer": answers,
        "settled, and the worker lived to hear of it": sum(sum(counts) for counts in seen.ledger.settled.values()),
        "accepted, answered, verified": [accepted, answered, verified],
        "some ids lost": seen.all_of("lost"),
        "some ids changed": seen.all_of("changed"),
        "used memory before and after, MiB": [round(size / MIB, 2) for size in (seen.bytes_before, seen.bytes_after)],
    }
    bound_ms = SETTINGS["lease_ms"] + SETTINGS["sweep_ms"] + 1_000
    bars = [
        Bar("not accepted", total - accepted, 0),
        Bar("accepted and never answered", accepted - answered, 0),
        Bar("answered, and another result or none stored later", answered - verified, 0),
        Bar("settled more than once", seen.ledger.doubled, 0),
        Bar("queued or running at the end", seen.left, 0),
        Bar("from kill to answer, p99", answers.p99_ms if answers else None, bound_ms, "ms"),
        Bar("memory that did not come back", round(grown_mib, 2), options.memory_tolerance_mib, "MiB"),
        Bar("time for a million", round(seen.took_s * 1_000_000 / total), options.seconds_max, "s"),
    ]
    return figures, bars


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--submitters", type=int, default=2)
    parser.add_argument("--open", type=int, default=500, help="tasks that each submitter has open at once")
    parser.add_argument("--kill-every-s", type=float, default=5.0)
    parser.add_argument("--memory-tolerance-mib", type=float, default=4.0)
    parser.add_argument("--seconds-max", type=float, default=900.0, help="for a million")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configure_logs(service="bench", log_format="console", level="error")
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(run(options, Path(folder)))
    figures, bars = judge(seen, options)
    return conclude(figures, bars, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
