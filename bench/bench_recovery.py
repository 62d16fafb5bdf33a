"""How soon everything goes on: after a worker's death or SIGTERM, a restart of Redis, faults of the network.

`kill` and `give-back` time each task that a worker held, from the signal to its answer by another worker; workers are
real but for their handlers (`toy_worker.py`). `restart` and `table` run `edgescale ingestion`, `worker` and `gateway`
as they are by default, behind a proxy, and time from the end of the fault to the next answer through each of them, and
to health's saying so; a restarted server's fault ends when it serves with its data loaded. The bars are those of the
promises: lease + sweep + 1 s, 1 s beyond the grace, 5 s.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import Bar, Spread, conclude
from recovery_of_services import services
from recovery_of_workers import answered_after

from edgescale.config import Settings
from edgescale.telemetry.logs import configure_logs
from tests.faults import FAULTS, restart

PARTS = ("kill", "give-back", "restart", "table")
LEASE_MS, SWEEP_MS, GRACE_MS = 1_000, 500, 200
MARGIN_MS, GIVEN_BACK_MS, RECOVERED_MS = 1_000, 1_000, 5_000
Measured = tuple[dict[str, Any], list[Bar]]


def p99_of(spread: Spread | None, less_ms: float = 0) -> float | None:
    """The 99th percentile, less a time that was granted."""
    return round(spread.p99_ms - less_ms, 1) if spread else None


async def kills(options: argparse.Namespace, folder: Path) -> Measured:
    """Workers die while they hold tasks."""
    seconds = await answered_after(signal.SIGKILL, options.kills, folder, lease_ms=LEASE_MS, sweep_ms=options.sweep_ms)
    spread = Spread.of(seconds)
    bound_ms = LEASE_MS + options.sweep_ms + MARGIN_MS
    title = f"worker killed, lease {LEASE_MS} ms, sweep {options.sweep_ms} ms: from kill to answer"
    return {title: spread}, [Bar(f"{title}, p99", p99_of(spread), bound_ms, "ms")]


async def give_backs(options: argparse.Namespace, folder: Path) -> Measured:
    """Workers are asked to stop, and hand back what they hold."""
    usual = Settings.model_fields
    lease_ms, sweep_ms = usual["lease_ms"].default, usual["sweep_ms"].default
    times = {"lease_ms": lease_ms, "sweep_ms": sweep_ms, "drain_grace_ms": GRACE_MS}
    spread = Spread.of(await answered_after(signal.SIGTERM, options.give_backs, folder, **times))
    title = (
        f"worker asked to stop, lease {lease_ms} ms, sweep {sweep_ms} ms, grace {GRACE_MS} ms: from SIGTERM to answer"
    )
    bar = Bar(
        "worker asked to stop: from the end of its grace to the answer by another, p99", None, GIVEN_BACK_MS, "ms"
    )
    return {title: spread}, [Bar(bar.name, p99_of(spread, GRACE_MS), bar.limit, bar.unit)]


async def faults(options: argparse.Namespace, folder: Path, *, restarts: bool) -> Measured:
    """Everybody goes through faults."""
    rows = [fault for fault in FAULTS if (fault.strike is restart) == restarts]
    async with services(folder) as measured:
        for turn in range(options.restarts if restarts else options.table_rounds):
            for fault in rows:
                await measured.suffer(fault, turn)
    spreads = {
        f"{fault}: {name}": Spread.of(seconds)
        for fault, by_name in measured.seconds.items()
        for name, seconds in by_name.items()
    }
    return dict(spreads), [
        Bar(f"{title}, p99", p99_of(spread), RECOVERED_MS, "ms") for title, spread in spreads.items()
    ]


async def measure(options: argparse.Namespace) -> Measured:
    """All parts that were asked for, one after the other."""
    figures: dict[str, Any] = {}
    bars: list[Bar] = []
    for part in options.parts.split(","):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if part == "kill":
                seen = await kills(options, folder)
            elif part == "give-back":
                seen = await give_backs(options, folder)
            else:
                seen = await faults(options, folder, restarts=part == "restart")
        figures |= seen[0]
        bars += seen[1]
    return figures, bars


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, with commas between")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--give-backs", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=30)
    parser.add_argument("--table-rounds", type=int, default=5)
    parser.add_argument("--sweep-ms", type=int, default=SWEEP_MS, help="of the workers that are killed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"--parts: there is no {min(unknown)!r}; there are {', '.join(PARTS)}")
    configure_logs(service="bench", log_format="console", level="error")
    figures, bars = asyncio.run(measure(options))
    return conclude(figures, bars, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
