"""renew.lua, give_back.lua and reclaim.lua: who owns an entry, until when, and how it changes hands."""

import asyncio

import pytest

from edgescale.broker.model import Entry, GiveBack
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, settlement

pytestmark = pytest.mark.everywhere

LEASE_MS = 30_000


async def reclaim(rig: Rig, consumer: str, *, count: int = 100) -> list[Entry]:
    """All that can be taken over now."""
    taken: list[Entry] = []
    cursor = "0-0"
    while True:
        cursor, entries = await rig.broker.reclaim(0, LANE, consumer, cursor=cursor, count=count)
        taken += entries
        if cursor == "0-0":
            return taken


def handed(entry: Entry, *, delay_ms: int = 0, deliveries: int = 0, reason: str = "", message: str = "") -> GiveBack:
    return GiveBack(entry, entry.fields[b"request_id"].decode(), delay_ms, deliveries, reason, message)


async def test_a_renewed_lease_starts_anew_and_counts_no_delivery(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.silence(entry, idle_ms=LEASE_MS - 1_000)
    assert await rig.broker.renew("worker-1", entry)
    assert await rig.idle_ms(entry) < 5_000
    assert await rig.pending() == [(entry.entry_id, "worker-1", 1)]


async def test_a_renewed_lease_is_never_reclaimed(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.silence(entry)
    assert await rig.broker.renew("worker-1", entry)
    assert await reclaim(rig, "worker-2") == []


async def test_renewing_never_takes_an_entry_back(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.silence(entry)
    await reclaim(rig, "worker-2")
    await rig.silence(entry, owner="worker-2", idle_ms=5_000)
    assert not await rig.broker.renew("worker-1", entry)
    assert [owner for _, owner, _ in await rig.pending()] == ["worker-2"]
    assert await rig.idle_ms(entry) >= 5_000, "nor does it renew the new owner's lease"


@pytest.mark.one_partition
async def test_what_is_settled_deleted_or_flushed_cannot_be_renewed(rig: Rig) -> None:
    settled, deleted, flushed = await rig.submit_and_take("r1", "r2", "r3")
    await rig.broker.settle("worker-1", settlement(settled))
    await rig.connection.command("XDEL", rig.keys.stream(0, LANE), deleted.entry_id)
    await rig.connection.command("XACK", rig.keys.stream(0, LANE), "workers", deleted.entry_id)
    assert not await rig.broker.renew("worker-1", settled)
    assert not await rig.broker.renew("worker-1", deleted)
    await rig.connection.command("FLUSHALL")
    assert not await rig.broker.renew("worker-1", flushed)
    assert await rig.connection.command("DBSIZE") == 0


@pytest.mark.one_partition
async def test_renewals_share_one_round_trip_and_each_caller_gets_its_own_answer(rig: Rig) -> None:
    entries = await rig.submit_and_take("r1", "r2", "r3")
    await rig.broker.settle("worker-1", settlement(entries[1]))
    await rig.broker.renew("worker-1", entries[0])
    await rig.connection.command("CONFIG", "RESETSTAT")
    calls = [rig.broker.renew("worker-1", entry) for entry in entries]
    answers = await asyncio.gather(*calls, rig.broker.renew("worker-2", entries[0]))
    assert answers == [True, False, True, False]
    assert await rig.calls("evalsha") == 1


async def test_an_entry_given_back_can_be_claimed_at_once(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    assert await rig.broker.give_back("worker-1", handed(entry, deliveries=0))
    [taken] = await reclaim(rig, "worker-2")
    assert (taken.entry_id, taken.deliveries, taken.fields) == (entry.entry_id, 1, entry.fields)


async def test_an_entry_given_back_with_a_delay_is_claimed_after_it(server: Server) -> None:
    async with open_rig(server.url, lease_ms=2_500) as rig:
        [entry] = await rig.submit_and_take("r1")
        assert await rig.broker.give_back("worker-1", handed(entry, delay_ms=800, deliveries=1))
        begun_s = asyncio.get_running_loop().time()
        assert await reclaim(rig, "worker-2") == []
        [taken] = await eventually(lambda: reclaim(rig, "worker-2"))
        assert asyncio.get_running_loop().time() - begun_s > 0.6
        assert taken.deliveries == 2


async def test_an_entry_that_waits_for_longer_than_a_lease_is_claimed_when_it_is_due_and_not_before(
    server: Server,
) -> None:
    async with open_rig(server.url, lease_ms=300, sweep_ms=100) as rig:
        [entry] = await rig.submit_and_take("r1")
        schedule = rig.keys.schedule(0, "text")
        due_ms = await rig.now_ms() + 1_500
        assert await rig.broker.give_back("worker-1", handed(entry, delay_ms=1_500, deliveries=1))
        assert float(await rig.connection.command("ZSCORE", schedule, entry.entry_id)) >= due_ms
        [taken] = await eventually(lambda: reclaim(rig, "worker-2"))
        assert await rig.now_ms() >= due_ms
        assert taken.deliveries == 2, "claims that came too early do not count"
        assert await rig.connection.command("EXISTS", schedule) == 0


async def test_what_waits_is_put_back_whoever_claims_it_and_belongs_to_the_backlog(server: Server) -> None:
    async with open_rig(server.url, lease_ms=1_000, sweep_ms=100) as rig:
        [entry] = await rig.submit_and_take("r1")
        assert await rig.broker.give_back("worker-1", handed(entry, delay_ms=3_600_000, deliveries=1))
        for consumer in ("worker-2", "worker-3"):
            await rig.silence(entry, owner=consumer)
            assert await reclaim(rig, "worker-4") == []
            assert await rig.pending() == [(entry.entry_id, "worker-4", 1)]
            assert await rig.idle_ms(entry) < 500, "it is looked at again after a lease"
        assert await rig.backlog() == 1


async def test_what_waits_and_is_settled_by_hand_leaves_nothing_behind(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    assert await rig.broker.give_back("worker-1", handed(entry, delay_ms=3_600_000, deliveries=1))
    assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"
    assert await rig.connection.command("EXISTS", rig.keys.schedule(0, "text")) == 0


async def test_what_waits_and_is_taken_out_of_the_stream_leaves_nothing_behind(server: Server) -> None:
    async with open_rig(server.url, lease_ms=200, sweep_ms=100) as rig:
        [entry] = await rig.submit_and_take("r1")
        assert await rig.broker.give_back("worker-1", handed(entry, delay_ms=3_600_000, deliveries=1))
        await rig.connection.command("XTRIM", rig.keys.stream(0, "text"), "MAXLEN", 0)

        async def is_clean() -> bool:
            await reclaim(rig, "worker-2")
            return int(await rig.connection.command("EXISTS", rig.keys.schedule(0, "text"))) == 0

        await eventually(is_clean)
        assert await rig.pending() == []


@pytest.mark.parametrize("deliveries", [0, 1, 4])
async def test_an_entry_goes_back_with_the_given_count(rig: Rig, deliveries: int) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.give_back("worker-1", handed(entry, deliveries=deliveries))
    assert await rig.pending() == [(entry.entry_id, "worker-1", deliveries)]


async def test_somebody_else_cannot_give_an_entry_back(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    before = await rig.fields("r1")
    assert not await rig.broker.give_back("worker-2", handed(entry, reason="WHY", message="because"))
    assert await rig.pending() == [(entry.entry_id, "worker-1", 1)]
    assert await rig.fields("r1") == before
    assert await reclaim(rig, "worker-3") == []


async def test_giving_back_again_after_a_lost_reply_is_harmless(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    for _ in range(3):
        assert await rig.broker.give_back("worker-1", handed(entry, deliveries=0))
    [taken] = await reclaim(rig, "worker-2")
    assert taken.deliveries == 1
    assert not await rig.broker.give_back("worker-1", handed(entry)), "somebody took it meanwhile, and keeps it"
    assert [owner for _, owner, _ in await rig.pending()] == ["worker-2"]


async def test_a_call_that_was_held_up_does_not_give_back_what_its_worker_was_given_anew(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.silence(entry)
    [again] = await reclaim(rig, "worker-1")
    assert again.deliveries == 2
    assert not await rig.broker.give_back("worker-1", handed(entry, deliveries=1))
    assert await rig.pending() == [(entry.entry_id, "worker-1", 2)]
    assert await reclaim(rig, "worker-2") == []
    assert await rig.broker.give_back("worker-1", handed(again, deliveries=2))
    assert [taken.deliveries for taken in await reclaim(rig, "worker-2")] == [3]


async def test_reason_and_message_of_a_failed_attempt_are_on_record_while_the_task_is_open(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.give_back("worker-1", handed(entry, reason="TIMEOUT", message="took too long \ud800"))
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert (record.state, record.reason, record.message) == ("queued", "TIMEOUT", "took too long ?")


async def test_giving_back_makes_no_record_where_there_is_none(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    assert await rig.broker.give_back("worker-1", handed(entry, reason="TIMEOUT"))
    assert await rig.fields("r1") == {}


@pytest.mark.one_partition
async def test_entries_given_back_share_one_round_trip(rig: Rig) -> None:
    entries = await rig.submit_and_take("r1", "r2", "r3")
    await rig.broker.give_back("worker-1", handed(entries[0]))
    await rig.connection.command("CONFIG", "RESETSTAT")
    answers = await asyncio.gather(
        rig.broker.give_back("worker-1", handed(entries[0])),
        rig.broker.give_back("worker-2", handed(entries[1])),
        rig.broker.give_back("worker-1", handed(entries[2], deliveries=5)),
    )
    assert list(answers) == [True, False, True]
    assert await rig.calls("evalsha") == 1
    assert [deliveries for _, _, deliveries in await rig.pending()] == [0, 1, 5]


@pytest.mark.one_partition
async def test_only_the_silent_lose_their_entries(rig: Rig) -> None:
    silent, fresh = await rig.submit_and_take("r1", "r2")
    await rig.silence(silent, idle_ms=LEASE_MS)
    await rig.silence(fresh, idle_ms=LEASE_MS - 5_000)
    assert [entry.entry_id for entry in await reclaim(rig, "worker-2")] == [silent.entry_id]
    assert {entry: owner for entry, owner, _ in await rig.pending()} == {
        silent.entry_id: "worker-2",
        fresh.entry_id: "worker-1",
    }


async def test_reclaiming_counts_each_delivery_and_starts_the_lease_anew(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    for deliveries in (2, 3, 4):
        await rig.silence(entry, owner=f"worker-{deliveries - 1}")
        [entry] = await reclaim(rig, f"worker-{deliveries}")
        assert entry.deliveries == deliveries
        assert await rig.idle_ms(entry) < 5_000
        assert await reclaim(rig, "another") == []


@pytest.mark.one_partition
async def test_a_sweep_is_taken_in_bites_that_follow_the_cursor(rig: Rig) -> None:
    entries = await rig.submit_and_take(*[f"r{number}" for number in range(25)])
    for entry in entries:
        await rig.silence(entry)
    sizes, taken, cursor = [], [], "0-0"
    while True:
        cursor, bite = await rig.broker.reclaim(0, LANE, "worker-2", cursor=cursor, count=10)
        sizes.append(len(bite))
        taken += bite
        if cursor == "0-0":
            break
    assert sizes == [10, 10, 5]
    assert [entry.entry_id for entry in taken] == [entry.entry_id for entry in entries]
    assert [entry.fields for entry in taken] == [entry.fields for entry in entries]


@pytest.mark.one_partition
async def test_entries_that_somebody_deleted_are_dropped_on_the_way(rig: Rig) -> None:
    entries = await rig.submit_and_take("r1", "r2", "r3")
    for entry in entries:
        await rig.silence(entry)
    await rig.connection.command("XDEL", rig.keys.stream(0, LANE), entries[1].entry_id)
    taken = await reclaim(rig, "worker-2")
    assert [entry.entry_id for entry in taken] == [entries[0].entry_id, entries[2].entry_id]
    assert len(await rig.pending()) == 2, "a pending id that points at nothing would be swept for ever"


@pytest.mark.one_partition
async def test_two_sweepers_never_take_the_same_entry(server: Server) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        entries = await one.submit_and_take(*[f"r{number}" for number in range(60)])
        for entry in entries:
            await one.silence(entry)
        shares = await asyncio.gather(reclaim(one, "worker-2", count=7), reclaim(other, "worker-3", count=7))
        taken = [entry.entry_id for share in shares for entry in share]
        assert sorted(taken) == sorted(entry.entry_id for entry in entries)


async def test_reclaiming_from_a_lane_that_is_gone_makes_its_group_anew(rig: Rig) -> None:
    assert await rig.broker.reclaim(0, LANE, "worker-1", cursor="5-0", count=10) == ("0-0", [])
    await rig.submit("r1")
    assert len(await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10)) == 1


@pytest.mark.one_partition
async def test_what_a_deleted_consumer_held_is_found_again(rig: Rig) -> None:
    stream = rig.keys.stream(0, LANE)
    first, second = await rig.submit_and_take("r1", "r2")
    await rig.broker.settle("worker-1", settlement(first))
    await rig.submit("r3")
    assert await rig.connection.command("XGROUP", "DELCONSUMER", stream, "workers", "worker-1") == 1

    [found] = await reclaim(rig, "worker-2")
    assert found == second
    assert await rig.pending() == [(second.entry_id, "worker-2", 1)], (
        "and what nobody was given yet is left to the readers"
    )
    assert not await rig.broker.renew("worker-1", second)
    assert await reclaim(rig, "worker-3") == []


@pytest.mark.one_partition
async def test_no_more_orphans_are_claimed_than_were_asked_for(rig: Rig) -> None:
    entries = await rig.submit_and_take(*(f"r{number}" for number in range(5)))
    await rig.connection.command("XGROUP", "DELCONSUMER", rig.keys.stream(0, LANE), "workers", "worker-1")

    _, bite = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=2)
    assert bite == entries[:2]
    assert await reclaim(rig, "worker-3") == entries[2:]
