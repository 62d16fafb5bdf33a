"""The cap of a lane: exact under races, nothing trimmed, nothing half accepted when memory is out."""

import asyncio

import pytest

from edgescale.broker.model import Receipt
from edgescale.errors import Conflict, LaneFull, Overloaded
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import Server
from tests.support import LANE, Rig, all_of, open_rig, settlement, submission

pytestmark = [pytest.mark.everywhere, pytest.mark.one_partition]


async def test_a_full_lane_refuses_and_changes_nothing(server: Server) -> None:
    async with open_rig(server.url, lane_cap=2) as rig:
        await rig.submit("r1", "r2")
        with pytest.raises(LaneFull) as refusal:
            await rig.broker.submit(submission("r3"), inbox="box")
        assert (refusal.value.lane, refusal.value.cap) == ("text", 2)
        assert await rig.fields("r3") == {}
        assert await rig.request_ids() == ["r1", "r2"]


async def test_a_full_lane_still_answers_for_what_it_knows(server: Server) -> None:
    async with open_rig(server.url, lane_cap=1) as rig:
        await rig.submit("r1")
        assert not (await rig.broker.submit(submission("r1"), inbox="box")).accepted
        assert await rig.inboxes("r1") == ["box"]
        with pytest.raises(Conflict):
            await rig.broker.submit(submission("r1", b"other"))


async def test_a_full_lane_does_not_fill_its_neighbour(server: Server) -> None:
    async with open_rig(server.url, lane_caps={"tiny": 1}) as rig:
        await rig.submit("r1", lane="tiny")
        await rig.submit("r2")
        assert await rig.backlog() == 1


async def test_what_runs_counts_and_what_is_settled_makes_room(server: Server) -> None:
    async with open_rig(server.url, lane_cap=2) as rig:
        entries = await rig.submit_and_take("r1", "r2")
        with pytest.raises(LaneFull):
            await rig.broker.submit(submission("r3"))
        await rig.broker.settle("worker-1", settlement(entries[0]))
        await rig.submit("r3")
        assert await rig.request_ids() == ["r2", "r3"]


async def test_each_partition_has_its_share_of_the_cap(server: Server) -> None:
    async with open_rig(server.url, lane_cap=40, partitions=4) as rig:
        await all_of([rig.broker.submit(submission(f"r{number}")) for number in range(200)])
        for partition in range(4):
            assert await rig.connection.command("XLEN", rig.keys.stream(partition, LANE)) == 10


@pytest.mark.parametrize("submitters", [37, 100])
async def test_a_hundred_racing_submitters_never_exceed_the_cap_nor_miss_room(server: Server, submitters: int) -> None:
    cap = 37
    async with open_rig(server.url) as observer:
        rigs = [Rig(server.url, lane_cap=cap) for _ in range(10)]
        lengths = []

        async def watch() -> None:
            while True:
                lengths.append(await observer.backlog())

        watcher = asyncio.create_task(watch())
        calls = [rigs[number % 10].broker.submit(submission(f"r{number}")) for number in range(submitters)]
        outcomes = await all_of(calls)
        watcher.cancel()
        lengths.append(await observer.backlog())
        accepted = [outcome.record.request_id for outcome in outcomes if isinstance(outcome, Receipt)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, LaneFull)]
        assert (len(accepted), len(refused)) == (cap, submitters - cap)
        assert max(lengths) <= cap
        assert sorted(await observer.request_ids()) == sorted(accepted)
        for rig in rigs:
            await rig.connection.close()


async def test_nothing_is_trimmed_while_a_full_lane_is_hammered(server: Server) -> None:
    async with open_rig(server.url, lane_cap=150) as rig:
        # More than one node of the stream (100 entries), as an approximate trim drops whole nodes only.
        await rig.submit(*[f"r{number}" for number in range(150)])
        for attempt in range(5):
            outcomes = await all_of([rig.broker.submit(submission(f"x{attempt}-{number}")) for number in range(50)])
            assert {type(outcome) for outcome in outcomes} == {LaneFull}
        assert await rig.request_ids() == [f"r{number}" for number in range(150)]


async def test_racing_submitters_and_workers_keep_every_accepted_task(server: Server) -> None:
    cap = 8
    async with open_rig(server.url, lane_cap=cap) as rig, open_rig(server.url, lane_cap=cap) as worker:
        accepted: list[str] = []
        settled: list[str] = []

        async def submit(request_id: str) -> None:
            while True:
                try:
                    await rig.broker.submit(submission(request_id))
                except LaneFull:
                    await asyncio.sleep(0.001)
                else:
                    accepted.append(request_id)
                    return

        async def work() -> None:
            while len(settled) < 100:
                assert await worker.backlog() <= cap
                for entry in await worker.take(5):
                    await worker.broker.settle("worker-1", settlement(entry))
                    settled.append(entry.fields[b"request_id"].decode())

        await asyncio.wait_for(asyncio.gather(work(), *(submit(f"r{number}") for number in range(100))), 20)
        assert sorted(settled) == sorted(accepted)
        assert await rig.backlog() == 0


async def test_room_is_refused_where_the_partition_of_the_id_is_full(server: Server) -> None:
    async with open_rig(server.url, lane_cap=4, partitions=2) as rig:
        names = [f"r{number}" for number in range(20)]
        here, there = ([name for name in names if rig.keys.partition_of(name) == number] for number in (0, 1))
        await rig.broker.room(LANE, here[2])
        await rig.submit(*here[:2])
        with pytest.raises(LaneFull):
            await rig.broker.room(LANE, here[2])
        await rig.broker.room(LANE, there[0])


async def test_a_server_without_memory_refuses_a_batch_as_a_whole_and_still_settles(
    private_server: EmbeddedValkey,
) -> None:
    async with open_rig(private_server.url, redis_patience_ms=1) as rig:
        first, second, third = await rig.submit_and_take("r1", "r2", "r3")
        await rig.connection.command("CONFIG", "SET", "maxmemory", "1")
        outcomes = await all_of([rig.broker.submit(submission(f"new-{number}")) for number in range(3)])
        assert [type(outcome) for outcome in outcomes] == [Overloaded] * 3
        assert [await rig.fields(f"new-{number}") for number in range(3)] == [{}, {}, {}]
        assert await rig.backlog() == 3, "what settles frees memory and must go on"
        assert await rig.broker.renew("worker-1", first)
        assert await rig.broker.lookup("r1", inbox="box") is not None
        assert await rig.broker.settle("worker-1", settlement(first)) == "settled"
        assert await rig.broker.settle("worker-1", settlement(second, state="dead_lettered")) == "settled"
        await rig.silence(third)
        _, [taken_over] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
        assert taken_over.entry_id == third.entry_id
        assert await rig.broker.settle("worker-2", settlement(taken_over)) == "settled"
        assert await rig.backlog() == 0
        await rig.connection.command("CONFIG", "SET", "maxmemory", "0")
        await rig.submit("new-1")
