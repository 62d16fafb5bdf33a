"""The janitor: consumers of dead workers go, once they own nothing."""

import asyncio

import pytest

from edgescale.broker.keys import GROUP
from edgescale.worker.janitor import Janitor
from tests.parts import Deed, working
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, settlement


def janitor(rig: Rig, *, silence_ms: int) -> Janitor:
    return Janitor(rig.connection, rig.keys, rig.chance, lanes=[LANE], silence_ms=silence_ms, stop=asyncio.Event())


async def consumers(rig: Rig) -> list[str]:
    rows = await rig.connection.command("XINFO", "CONSUMERS", rig.keys.stream(0, LANE), GROUP)
    return sorted(row[1].decode() for row in rows)


async def is_silent(rig: Rig, silence_ms: int) -> bool:
    rows = await rig.connection.command("XINFO", "CONSUMERS", rig.keys.stream(0, LANE), GROUP)
    return all(int(row[5]) >= silence_ms for row in rows)


async def test_who_owns_nothing_and_is_silent_for_long_is_forgotten_and_who_owns_something_is_not(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    [done] = await rig.submit_and_take("r2", consumer="worker-2")
    await rig.broker.settle("worker-2", settlement(done))
    await eventually(lambda: is_silent(rig, 20))
    await janitor(rig, silence_ms=20).tidy()
    assert await consumers(rig) == ["worker-1"]
    assert await rig.pending() == [(entry.entry_id, "worker-1", 1)]


async def test_who_was_there_a_while_ago_is_kept(rig: Rig) -> None:
    await rig.submit_and_take("r1", consumer="worker-1")
    await janitor(rig, silence_ms=60_000).tidy()
    assert await consumers(rig) == ["worker-1"]


async def test_a_lane_that_nobody_used_is_no_trouble(rig: Rig) -> None:
    await janitor(rig, silence_ms=20).tidy()


@pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
async def test_workers_tidy_up_after_those_that_died_and_living_ones_stay(server: Server) -> None:
    times = {"lease_ms": 200, "sweep_ms": 50, "redis_block_ms": 50, "consumer_retention_ms": 400}
    async with open_rig(server.url) as rig:
        await rig.submit_and_take("r0", consumer="long-dead")
        async with working(server.url, Deed(), **times) as worker:  # type: ignore[arg-type] # numbers all of them

            async def is_alone() -> bool:
                return await consumers(rig) == [worker.consumer]

            await eventually(is_alone)
            await rig.submit("r1")
            await eventually(lambda: rig.fields("r1"))
