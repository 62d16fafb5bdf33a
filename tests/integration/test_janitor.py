"""The janitor: consumers of dead workers go, once they own nothing."""

import asyncio

import pytest
from structlog.testing import capture_logs

from edgescale.broker.keys import GROUP
from edgescale.worker.janitor import LETTERS_MAX, Janitor, Retention
from tests.parts import Deed, working
from tests.servers import Server
from tests.support import LANE, Rig, beat, eventually, open_rig, settlement

LONG_MS = 60_000


def janitor(rig: Rig, *, silence_ms: int = LONG_MS, agents_ms: int = LONG_MS, letters_ms: int = 0) -> Janitor:
    retention = Retention(silence_ms, agents_ms, letters_ms)
    return Janitor(rig.connection, rig.keys, rig.chance, lanes=[LANE], retention=retention, stop=asyncio.Event())


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
    await janitor(rig, silence_ms=LONG_MS).tidy()
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


async def test_the_line_of_an_agent_goes_when_it_has_been_silent_for_long_whoever_else_beats(rig: Rig) -> None:
    now_ms = await rig.now_ms()
    await rig.agents.record(beat(1, agent_id="silent"), seen_ms=now_ms - LONG_MS - 1)
    await rig.agents.record(beat(1, agent_id="lively"), seen_ms=now_ms)
    await janitor(rig).tidy()
    assert await rig.connection.command("ZRANGE", rig.keys.agents(0), 0, -1) == [b"lively"]


async def buried_before(rig: Rig, count: int, moment_ms: int) -> None:
    """Letters as of so many milliseconds before a moment, one each, the oldest first."""
    for number in range(count, 0, -1):
        await rig.connection.command("XADD", rig.keys.dead(0), f"{moment_ms - number}-0", "request_id", f"r{number}")


async def letters(rig: Rig) -> int:
    return int(await rig.connection.command("XLEN", rig.keys.dead(0)))


async def test_letters_go_when_they_are_old_and_no_sooner(rig: Rig) -> None:
    old_ms = await rig.now_ms() - LONG_MS
    await buried_before(rig, 250, old_ms)
    await rig.bury("r-new")
    with capture_logs() as lines:
        await janitor(rig, letters_ms=LONG_MS).tidy()
    assert [letter[b"request_id"] for letter in await rig.dead_letters()] == [b"r-new"]
    assert [line["count"] for line in lines if line["event"] == "dead_letters.purged"] == [250]


async def test_letters_are_kept_without_end_where_that_is_wished(rig: Rig) -> None:
    await buried_before(rig, 3, 1_000)
    await janitor(rig, letters_ms=0).tidy()
    assert await letters(rig) == 3


async def test_many_old_letters_are_removed_by_several_commands(rig: Rig) -> None:
    await buried_before(rig, 2 * LETTERS_MAX + 50, 10_000)
    await rig.connection.command("CONFIG", "RESETSTAT")
    await janitor(rig, letters_ms=LONG_MS).tidy()
    assert await letters(rig) == 0
    assert await rig.calls("xtrim") >= 4


async def test_every_partition_is_looked_at(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as rig:
        for partition in range(3):
            await rig.connection.command("XADD", rig.keys.dead(partition), "5-0", "request_id", "r")
        await janitor(rig, letters_ms=LONG_MS).tidy()
        assert [await rig.connection.command("XLEN", rig.keys.dead(partition)) for partition in range(3)] == [0, 0, 0]
