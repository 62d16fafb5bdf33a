"""A worker whose lanes share fewer places than they have slots: the limit, the turns, what waits, and the drain."""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from edgescale.handlers.base import Context, Outcome
from edgescale.worker.share import passed_over_max
from tests.parts import LEASE_MS, Deed, answer_with_attempt, working
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = [
    pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session"),
    pytest.mark.one_partition,
]
LANES = {"heartbeat": 4, "text": 4, "file": 4}
LONG_MS = 60_000


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


class Busy:
    """A handler's function that takes a moment, and knows how many run beside it.

    Attributes:
        begun: the lane of each task, in the order in which they began.
        most: how many ever ran at once.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most = self._running = 0

    async def __call__(self, payload: bytes, context: Context) -> Outcome:
        self.begun.append(context.request_id.partition("-")[0])
        self._running += 1
        self.most = max(self.most, self._running)
        await asyncio.sleep(0.002)
        self._running -= 1
        return await answer_with_attempt(payload, context)


async def test_no_more_run_at_once_than_the_worker_may_over_all_lanes(server: Server, rig: Rig) -> None:
    busy = Busy()
    for lane in LANES:
        await rig.submit(*names(lane, 10), lane=lane)
    async with working(server.url, busy, worker_lanes=LANES, worker_slots_max=3):
        await eventually(lambda: len(busy.begun) == 30)
    assert busy.most == 3


async def test_lanes_that_compete_get_places_by_their_weights_and_none_is_passed_over_for_long(
    server: Server, rig: Rig
) -> None:
    # Without sweeps, which take turns, too, and find nothing.
    busy, still = Busy(), {"lease_ms": LONG_MS, "sweep_ms": LONG_MS - 1, "worker_slots_max": 1}
    weights = {"heartbeat": 1, "text": 4, "file": 1}
    for lane in LANES:
        await rig.submit(*names(lane, 40), lane=lane)
    async with working(server.url, busy, worker_lanes=LANES, lane_weights={"text": 4}, **still):  # type: ignore[arg-type] # numbers all of them
        await eventually(lambda: len(busy.begun) == 120, 10)
    contested = busy.begun[: len(busy.begun) - busy.begun[::-1].index("text")]
    assert 0.5 < Counter(contested)["text"] / len(contested) < 0.8
    for lane in ("heartbeat", "file"):
        places = [-1, *(place for place, begun in enumerate(contested) if begun == lane)]
        gaps = [later - earlier - 1 for earlier, later in pairwise(places)]
        assert max(gaps) <= passed_over_max(lane, weights)


async def test_reclaimed_entries_take_their_places_like_others(server: Server, rig: Rig) -> None:
    busy = Busy()
    await rig.submit(*names("text", 12))
    for entry in await rig.take(12, consumer="dead"):
        await rig.silence(entry, owner="dead")
    await rig.submit(*names("file", 12), lane="file")
    async with working(server.url, busy, worker_lanes=LANES, worker_slots_max=2):
        await eventually(lambda: len(busy.begun) == 24)
    assert busy.most == 2


async def test_idle_lanes_hold_no_place_while_they_wait_at_the_server(server: Server, rig: Rig) -> None:
    deed = Deed()
    # Had they a place, the third could begin when the first read has waited for so long.
    async with working(server.url, deed, worker_lanes=LANES, worker_slots_max=2, redis_block_ms=4_000):
        await eventually(lambda: blocked_readers(rig, len(LANES)))
        await rig.submit("r1", lane="file")
        await eventually(lambda: deed.ended == ["r1"], 3)


async def blocked_readers(rig: Rig, count: int) -> bool:
    listed: Any = await rig.connection.command("CLIENT", "LIST")
    blocked = [line for line in listed.decode().splitlines() if "cmd=xreadgroup" in line and "flags=b" in line]
    return len(blocked) == count


async def hold_both(rig: Rig, deed: Deed) -> None:
    """One task that runs in the only place, and one that its lane's blocked reader has brought and that waits."""
    await eventually(lambda: blocked_readers(rig, len(LANES)))
    await rig.submit("runs")
    await eventually(lambda: deed.running == 1)
    await rig.submit("waits", lane="file")
    await eventually(lambda: rig.pending("file"))


async def test_what_waits_for_its_place_keeps_its_lease_and_is_begun_in_its_first_attempt(
    server: Server, rig: Rig
) -> None:
    deed, other = Deed(held=True), Deed()
    async with working(server.url, deed, worker_lanes=LANES, worker_slots_max=1, redis_block_ms=900) as worker:
        await hold_both(rig, deed)
        async with working(server.url, other, worker_lanes=LANES):
            await asyncio.sleep(1.5 * LEASE_MS / 1000)
            assert [row[1:] for row in await rig.pending("file")] == [(worker.consumer, 1)]
        deed.gate.set()
        await eventually(lambda: deed.ended == ["runs", "waits"])
    assert [context.attempt for context in deed.begun] == [1, 1]
    assert other.begun == []


async def test_no_second_entry_of_a_lane_waits_for_its_place(server: Server, rig: Rig) -> None:
    deed = Deed(held=True)
    async with working(server.url, deed, worker_lanes=LANES, worker_slots_max=1, redis_block_ms=50):
        await hold_both(rig, deed)
        await rig.submit(*names("more", 3), lane="file")
        await asyncio.sleep(0.2)
        assert len(await rig.pending("file")) == 1
        deed.gate.set()
        await eventually(lambda: len(deed.ended) == 5)


async def test_what_waits_for_its_place_when_a_drain_begins_is_handed_back_before_the_drain_ends(
    server: Server, rig: Rig
) -> None:
    deed, other = Deed(held=True), Deed()
    times = {"lease_ms": LONG_MS, "drain_grace_ms": LONG_MS, "redis_block_ms": 100}
    async with working(server.url, deed, worker_lanes=LANES, worker_slots_max=1, **times) as worker:  # type: ignore[arg-type] # numbers all of them
        await hold_both(rig, deed)
        worker.stop()
        async with working(server.url, other, worker_lanes=LANES, lease_ms=LONG_MS):
            await eventually(lambda: other.ended == ["waits"])
        assert deed.running == 1
        deed.gate.set()
    assert [context.attempt for context in other.begun] == [1]
