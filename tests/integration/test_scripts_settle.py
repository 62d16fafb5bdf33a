"""settle.lua: who may settle, the first outcome wins, everyone is told again, the dead are kept."""

import asyncio
from dataclasses import replace
from typing import Any, get_args

import pytest

from edgescale.broker.keys import GROUP
from edgescale.broker.model import Entry, TerminalState
from tests.servers import Server
from tests.support import LANE, Rig, eventually, listening, open_rig, settlement, submission

pytestmark = pytest.mark.everywhere


async def take_twice(rig: Rig) -> tuple[Entry, Entry]:
    """Two entries of one request: its record was lost in between, and the caller submitted again."""
    [first] = await rig.submit_and_take("r1", consumer="worker-1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    [second] = await rig.submit_and_take("r1", consumer="worker-2")
    return first, second


async def test_an_entry_whose_id_was_given_a_second_time_is_not_settled_by_the_first_ones_outcome(rig: Rig) -> None:
    # Redis lost data, and its clock was set back: ids come again, and may come to the same worker.
    [first] = await rig.submit_and_take("r1")
    stream = rig.keys.stream(first.partition, LANE)
    await rig.connection.command("DEL", stream)
    await rig.connection.command("DEL", rig.keys.task("r1"))
    fields = [word for field in first.fields.items() for word in field]
    fields[fields.index(b"request_id") + 1] = b"r2"
    await rig.connection.command("XADD", stream, first.entry_id, *fields)
    await rig.broker.ensure_group(first.partition, LANE)
    second = (await rig.take())[0]
    assert second.entry_id == first.entry_id
    assert await rig.broker.settle("worker-1", settlement(first)) == "lost"
    assert await rig.backlog() == 1
    assert await rig.broker.settle("worker-1", settlement(second, request_id="r2")) == "settled"


@pytest.mark.parametrize("state", get_args(TerminalState))
async def test_a_settled_task_is_on_record_and_out_of_its_stream(rig: Rig, state: TerminalState) -> None:
    receipt = await rig.broker.submit(submission(file_id="f1"), inbox="box")
    [entry] = await rig.take()
    done = settlement(entry, state=state, reason="WHY", message="because")
    assert await rig.broker.settle("worker-1", done) == "settled"
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert record.terminal
    assert (record.state, record.result) == (state, done.result)
    assert (record.reason, record.message) == ("WHY", "because")
    assert (record.kind, record.lane, record.file_id, record.attempts) == ("text", LANE, "f1", 1)
    assert (record.digest, record.accepted_ms) == (receipt.record.digest, receipt.record.accepted_ms)
    assert record.entry == "", "an entry id here would be asked for its deliveries"
    assert 0 <= record.settled_ms - record.accepted_ms < 5_000
    assert (await rig.backlog(), await rig.pending()) == (0, [])


async def test_a_settled_task_expires_and_an_open_one_does_not(server: Server) -> None:
    async with open_rig(server.url, result_ttl_ms=500_000) as rig:
        first, _ = await rig.submit_and_take("r1", "r2")
        await rig.broker.settle("worker-1", settlement(first))
        assert 490_000 < await rig.connection.command("PTTL", rig.keys.task("r1")) <= 500_000
        assert await rig.connection.command("PTTL", rig.keys.task("r2")) == -1


async def test_a_task_that_nobody_was_given_cannot_be_settled(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.broker.ensure_group(0, LANE)
    record = await rig.broker.lookup("r1")
    assert record is not None
    entry = Entry(0, LANE, record.entry, 1, {})
    assert await rig.broker.settle("worker-1", settlement(entry, "r1")) == "lost"
    assert await rig.broker.lookup("r1") == record
    assert await rig.backlog() == 1


async def test_somebody_else_cannot_settle(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    before = await rig.fields("r1")
    assert await rig.broker.settle("worker-2", settlement(entry)) == "lost"
    assert await rig.fields("r1") == before
    assert await rig.pending() == [(entry.entry_id, "worker-1", 1)]


async def test_a_worker_that_lost_its_lease_can_no_longer_settle(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    await rig.silence(entry)
    _, [taken_over] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"too late")) == "lost"
    assert await rig.broker.settle("worker-2", settlement(taken_over, result=b"in time")) == "settled"
    assert (await rig.fields("r1"))[b"result"] == b"in time"


async def test_an_attempt_that_lost_its_lease_cannot_settle_when_its_worker_has_the_entry_anew(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    taken_over = entry
    for owner, consumer in (("worker-1", "worker-2"), ("worker-2", "worker-1")):
        await rig.silence(taken_over, owner=owner)
        _, [taken_over] = await rig.broker.reclaim(0, LANE, consumer, cursor="0-0", count=10)
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"too late")) == "lost"
    assert await rig.pending() == [(entry.entry_id, "worker-1", 3)]
    assert await rig.broker.settle("worker-1", settlement(taken_over, result=b"in time")) == "settled"
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"too late")) == "superseded"


async def test_a_late_outcome_does_not_replace_the_first(rig: Rig) -> None:
    first, second = await take_twice(rig)
    assert await rig.broker.settle("worker-1", settlement(first, result=b"first")) == "settled"
    before = await rig.fields("r1")
    late = settlement(second, state="dead_lettered", reason="LATE")
    assert await rig.broker.settle("worker-2", late) == "superseded"
    assert await rig.fields("r1") == before
    assert await rig.dead_letters() == [], "a task that succeeded is not dead"
    assert await rig.backlog() == 0, "the second entry is done with"
    assert await rig.pending() == []


async def test_a_worker_that_was_given_the_same_request_twice_settles_it_once(rig: Rig) -> None:
    [first] = await rig.submit_and_take("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    [second] = await rig.submit_and_take("r1")
    assert await rig.broker.settle("worker-1", settlement(first, result=b"first")) == "settled"
    assert await rig.broker.settle("worker-1", settlement(second, result=b"second")) == "superseded"
    assert (await rig.fields("r1"))[b"result"] == b"first"
    assert await rig.backlog() == 0


async def test_a_worker_whose_entry_was_settled_by_another_is_superseded(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    await rig.silence(entry)
    _, [taken_over] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
    assert await rig.broker.settle("worker-2", settlement(taken_over, result=b"in time")) == "settled"
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"too late")) == "superseded"
    assert (await rig.fields("r1"))[b"result"] == b"in time"


async def test_the_second_result_of_a_worker_that_was_given_its_entry_again_is_superseded(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    again = replace(entry, deliveries=2)
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"first")) == "settled"
    assert await rig.broker.settle("worker-1", settlement(again, result=b"second")) == "superseded"
    assert await rig.broker.settle("worker-1", settlement(entry, result=b"first")) == "settled"


@pytest.mark.parametrize("second", [{"state": "expired", "reason": "EXPIRED"}, {"result": b"another"}])
async def test_a_second_outcome_of_the_same_attempt_is_superseded(rig: Rig, second: dict[str, Any]) -> None:
    """A failover can undo a delivery, so that the entry comes again as the attempt that it was."""
    [entry] = await rig.submit_and_take("r1")
    first = settlement(entry)
    assert await rig.broker.settle("worker-1", first) == "settled"
    assert await rig.broker.settle("worker-1", settlement(entry, **second)) == "superseded"
    assert await rig.broker.settle("worker-1", first) == "settled"


async def test_a_superseded_worker_that_no_longer_owns_its_entry_leaves_it_alone(rig: Rig) -> None:
    first, second = await take_twice(rig)
    await rig.broker.settle("worker-1", settlement(first))
    assert await rig.broker.settle("worker-3", settlement(second)) == "superseded"
    assert await rig.pending() == [(second.entry_id, "worker-2", 1)]


@pytest.mark.parametrize("state", get_args(TerminalState))
async def test_settling_again_after_a_lost_reply_says_settled_and_changes_nothing(
    rig: Rig, state: TerminalState
) -> None:
    [entry] = await rig.submit_and_take("r1")
    done = settlement(entry, state=state)
    assert await rig.broker.settle("worker-1", done) == "settled"
    before = await rig.fields("r1"), await rig.dead_letters()
    for _ in range(3):
        assert await rig.broker.settle("worker-1", done) == "settled"
    assert (await rig.fields("r1"), await rig.dead_letters()) == before
    assert len(before[1]) == (1 if state == "dead_lettered" else 0)


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_everyone_who_waits_is_told(rig: Rig) -> None:
    async with listening(rig, "one") as heard_one, listening(rig, "two") as heard_two:
        await rig.broker.submit(submission(), inbox="one")
        await rig.broker.lookup("r1", inbox="two")
        [entry] = await rig.take()
        await rig.broker.settle("worker-1", settlement(entry))
        assert await heard_one() == [b"r1"]
        assert await heard_two() == [b"r1"]


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_settling_again_tells_everyone_again(rig: Rig) -> None:
    # A worker may die between the script and its reply; a waiter must not be left behind.
    async with listening(rig, "box") as heard:
        await rig.broker.submit(submission(), inbox="box")
        [entry] = await rig.take()
        for _ in range(2):
            await rig.broker.settle("worker-1", settlement(entry))
            assert await heard() == [b"r1"]


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_a_superseded_settlement_tells_everyone_again(rig: Rig) -> None:
    first, second = await take_twice(rig)
    await rig.broker.lookup("r1", inbox="box")
    async with listening(rig, "box") as heard:
        await rig.broker.settle("worker-1", settlement(first))
        assert await heard() == [b"r1"]
        await rig.broker.settle("worker-2", settlement(second))
        assert await heard() == [b"r1"]


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_a_lost_settlement_tells_nobody(rig: Rig) -> None:
    async with listening(rig, "box") as heard:
        await rig.broker.submit(submission(), inbox="box")
        [entry] = await rig.take(consumer="worker-1")
        await rig.broker.settle("worker-2", settlement(entry))
        assert await heard() == []


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_the_result_is_stored_before_anybody_is_told(rig: Rig) -> None:
    async with listening(rig, "box") as heard:
        await rig.broker.submit(submission(), inbox="box")
        [entry] = await rig.take()
        settling = asyncio.create_task(rig.broker.settle("worker-1", settlement(entry)))
        await eventually(heard)
        assert (await rig.fields("r1"))[b"state"] == b"succeeded"
        await settling


async def test_a_task_whose_record_is_gone_is_settled_all_the_same(server: Server) -> None:
    async with open_rig(server.url, result_ttl_ms=500_000) as rig:
        [entry] = await rig.submit_and_take("r1")
        await rig.connection.command("DEL", rig.keys.task("r1"))
        assert await rig.broker.settle("worker-1", settlement(entry, result=b"kept")) == "settled"
        record = await rig.broker.lookup("r1")
        assert record is not None
        assert (record.state, record.result, record.digest) == ("succeeded", b"kept", "")
        assert await rig.connection.command("PTTL", rig.keys.task("r1")) > 490_000
        assert await rig.backlog() == 0


async def test_a_settlement_after_a_flush_is_lost_and_leaves_nothing(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("FLUSHALL")
    assert await rig.broker.settle("worker-1", settlement(entry)) == "lost"
    assert await rig.connection.command("DBSIZE") == 0


@pytest.mark.one_partition
async def test_a_batch_shares_one_round_trip_and_each_caller_gets_its_own_answer(rig: Rig) -> None:
    first, second = await take_twice(rig)
    mine, dead, others = await rig.submit_and_take("mine", "dead", "others")
    await rig.broker.settle("worker-1", settlement(first))
    await rig.connection.command("CONFIG", "RESETSTAT")
    outcomes = await asyncio.gather(
        rig.broker.settle("worker-1", settlement(mine, result=b"m")),
        rig.broker.settle("worker-2", settlement(others)),
        rig.broker.settle("worker-2", settlement(second)),
        rig.broker.settle("worker-1", settlement(dead, state="dead_lettered")),
        rig.broker.settle("worker-1", settlement(first)),
        rig.broker.settle("worker-1", settlement(mine, result=b"m")),
    )
    assert list(outcomes) == ["settled", "lost", "superseded", "settled", "settled", "settled"]
    assert await rig.calls("evalsha") == 1
    assert await rig.pending() == [(others.entry_id, "worker-1", 1)]
    assert [dead[b"request_id"] for dead in await rig.dead_letters()] == [b"dead"]


@pytest.mark.one_partition
async def test_two_owners_in_turn_settle_once(rig: Rig) -> None:
    """A race of two workers for one entry, in one batch: whoever owns it wins, whatever the order."""
    for number in range(10):
        [entry] = await rig.submit_and_take(f"r{number}", consumer="worker-1")
        await rig.silence(entry)
        _, [reclaimed] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
        own = {"worker-1": entry, "worker-2": reclaimed}
        contenders = ["worker-1", "worker-2"] if number % 2 else ["worker-2", "worker-1"]
        outcomes = await asyncio.gather(
            *(rig.broker.settle(name, settlement(own[name], result=name.encode())) for name in contenders)
        )
        winner = dict(zip(contenders, outcomes, strict=True))
        assert winner["worker-2"] == "settled"
        assert winner["worker-1"] in {"lost", "superseded"}
        assert (await rig.fields(f"r{number}"))[b"result"] == b"worker-2"


async def test_a_message_that_is_no_unicode_is_stored_all_the_same(rig: Rig) -> None:
    # json.loads('"\\ud800"') is a lone surrogate: a handler that quotes its input brings it here.
    entries = await rig.submit_and_take("r1", "r2")
    outcomes = await asyncio.gather(
        rig.broker.settle("worker-1", settlement(entries[0], state="failed", reason="BAD", message="no \ud800")),
        rig.broker.settle("worker-1", settlement(entries[1])),
    )
    assert list(outcomes) == ["settled", "settled"]
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert record.message == "no ?"


async def test_the_group_of_an_emptied_lane_is_still_there(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry))
    groups = await rig.connection.command("XINFO", "GROUPS", rig.keys.stream(0, LANE))
    assert [row[1].decode() for row in groups] == [GROUP]
