"""Ten times what a lane can do: its cap holds, refusals come at once, and the accepted wait as long as the cap says.

Ingestion is `edgescale ingestion` as it is by default, but for the lane's cap; the worker is real but for its handler,
which takes --takes-ms (`toy_worker.py`), --places at once: that is the capacity. Rounds of a fifth of it and of --times
of it take turns. Requests arrive in an open loop, at moments that are drawn beforehand, and each is timed from when it
was to be sent, so that neither a slow service nor a slow client hides anything.

The cap is judged by the lane's length, which somebody reads all the time. An accepted request may take twice what one
takes unloaded, and the time in which the lane's cap is worked off at the rate that was seen.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from measuring import ROOT, Bar, Spread, conclude, say

from edgescale.client import Client
from edgescale.errors import LaneFull
from edgescale.local.valkey import EmbeddedValkey
from edgescale.telemetry.logs import configure_logs
from tests.processes import program, service
from tests.support import Rig, eventually, open_rig

LANE = "text"
TEXT = "The ferry was early."
UNLOADED_SHARE = 0.2
REFUSED_MS, UNLOADED_TIMES = 50.0, 2.0
LOOK_EVERY_S = 0.005
ANSWER_S = 60.0


@dataclass
class Round:
    """What came of the requests of one round.

    Attributes:
        lasts_s: how long requests arrive.
        took_s: how long it was, to its last answer.
        accepted_s: times to the answers of accepted requests.
        refused_s: times to refusals.
        late_s: how much later than drawn requests were sent.
        peak: the most tasks that the lane was seen to hold.
        looks: how often somebody looked.
    """

    lasts_s: float
    took_s: float = 0.0
    accepted_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    peak: int = 0
    looks: int = 0


class Overload:
    """Sends rounds of requests.

    Args:
        client: of ingestion.
        rig: looks at the lane.
        rng: draws when requests arrive.
    """

    def __init__(self, client: Client, rig: Rig, rng: Random) -> None:
        self._client = client
        self._rig = rig
        self._rng = rng
        self._rounds = 0

    async def round(self, rate: float, seconds: float) -> Round:
        """Requests arrive at this rate for so long; returns when the last one is answered and the lane is empty."""
        seen = Round(seconds)
        self._rounds += 1
        looking = asyncio.create_task(self._look(seen))
        began = time.perf_counter()
        due_s, number = began, 0
        async with asyncio.TaskGroup() as group:
            while (due_s := due_s + self._rng.expovariate(rate)) < began + seconds:
                await asyncio.sleep(due_s - time.perf_counter())
                number += 1
                group.create_task(self._call(seen, due_s, f"{self._rounds}-{number}"))
        seen.took_s = time.perf_counter() - began
        looking.cancel()
        await asyncio.wait([looking])
        await eventually(self._empty)
        return seen

    async def _call(self, seen: Round, due_s: float, request_id: str) -> None:
        seen.late_s.append(time.perf_counter() - due_s)
        try:
            await self._client.analyze_text(TEXT, request_id=request_id, timeout_s=ANSWER_S)
        except LaneFull:
            seen.refused_s.append(time.perf_counter() - due_s)
        else:
            seen.accepted_s.append(time.perf_counter() - due_s)

    async def _look(self, seen: Round) -> None:
        while True:
            seen.peak = max(seen.peak, await self._backlog())
            seen.looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def _backlog(self) -> int:
        streams = self._rig.keys.backlog(0, LANE)
        return sum([await self._rig.connection.command("XLEN", stream) for stream in streams])

    async def _empty(self) -> bool:
        return await self._backlog() == 0


def judged(options: argparse.Namespace, calm: Sequence[Round], stormy: Sequence[Round]) -> list[Bar]:
    """The bars; times of all rounds of a kind together."""
    unloaded = Spread.of([took for each in calm for took in each.accepted_s])
    accepted = Spread.of([took for each in stormy for took in each.accepted_s])
    refused = Spread.of([took for each in stormy for took in each.refused_s])
    done_per_s = statistics.median(len(each.accepted_s) / each.took_s for each in stormy)
    bars = [
        Bar("the most tasks that the lane was seen to hold", max(each.peak for each in stormy), options.cap),
        Bar("refusals, p99", refused.p99_ms if refused else None, REFUSED_MS, "ms"),
    ]
    limit_ms = round(UNLOADED_TIMES * unloaded.p99_ms + options.cap / done_per_s * 1000, 1) if unloaded else 0.0
    name = "accepted, p99: twice the unloaded one and the cap worked off"
    return [*bars, Bar(name, accepted.p99_ms if accepted else None, limit_ms, "ms")]


def figures_of(rounds: Sequence[Round], title: str) -> dict[str, Any]:
    """What was measured in all rounds of a kind."""
    return {
        f"{title}, accepted": Spread.of([took for each in rounds for took in each.accepted_s]),
        f"{title}, refused": Spread.of([took for each in rounds for took in each.refused_s]),
        f"{title}, sent later than drawn": Spread.of([late for each in rounds for late in each.late_s]),
        f"{title}, arrived a second": round(statistics.median(len(each.late_s) / each.lasts_s for each in rounds), 1),
        f"{title}, answered a second": round(
            statistics.median(len(each.accepted_s) / each.took_s for each in rounds), 1
        ),
        f"{title}, looks at the lane": sum(each.looks for each in rounds),
    }


async def measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Bar]]:
    """All rounds."""
    capacity = options.places * 1000 / options.takes_ms
    valkey = EmbeddedValkey(folder / "valkey")
    await valkey.start()
    settings: dict[str, Any] = {
        "redis_url": valkey.url,
        "data_dir": folder,
        "log_level": "error",
        "lane_caps": f"{LANE}={options.cap}",
        "worker_lanes": f"{LANE}={options.places}",
    }
    try:
        async with AsyncExitStack() as stack:
            ingestion = await stack.enter_async_context(service("ingestion", grpc_bind="127.0.0.1:0", **settings))
            toy = (str(ROOT / "bench" / "toy_worker.py"), "--takes-ms", str(options.takes_ms))
            worker = await stack.enter_async_context(program(*toy, **settings))
            await worker.address()
            client = await stack.enter_async_context(Client(await ingestion.address()))
            rig = await stack.enter_async_context(open_rig(valkey.url))
            overload = Overload(client, rig, Random(options.seed))  # noqa: S311 - of arrivals
            # Both have worked once, and have their connections.
            await overload.round(capacity, 2.0)
            calm, stormy = [], []
            for turn in range(options.rounds):
                calm.append(await overload.round(capacity * UNLOADED_SHARE, options.seconds))
                stormy.append(await overload.round(capacity * options.times, options.seconds))
                refused = len(stormy[-1].refused_s)
                say(f"round {turn + 1} of {options.rounds}: {refused:,} of {len(stormy[-1].late_s):,} refused")
    finally:
        await valkey.stop()
    figures = {"capacity a second": capacity, **figures_of(calm, "a fifth of it")}
    return figures | figures_of(stormy, f"{options.times:g} times of it"), judged(options, calm, stormy)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round")
    parser.add_argument("--times", type=float, default=10.0, help="the capacity")
    parser.add_argument("--places", type=int, default=2)
    parser.add_argument("--takes-ms", type=float, default=50.0)
    parser.add_argument("--cap", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configure_logs(service="bench", log_format="console", level="error")
    with tempfile.TemporaryDirectory() as name:
        figures, bars = asyncio.run(measure(options, Path(name)))
    return conclude(figures, bars, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
