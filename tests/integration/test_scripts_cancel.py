"""cancel.lua: what is open ends for good wherever it is, what has ended stays as it was, and everyone is told."""

import asyncio
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from edgescale.broker.keys import GROUP
from edgescale.broker.model import GiveBack, TaskRecord, TerminalState
from edgescale.errors import NotFound
from tests.servers import Server
from tests.support import LANE, Rig, all_of, listening, open_rig, settlement, submission

pytestmark = pytest.mark.everywhere


async def test_a_queued_task_is_cancelled_on_record_and_out_of_its_stream(rig: Rig) -> None:
    receipt = await rig.broker.submit(submission(file_id="f1"))
    record = await rig.canceller.cancel("r1")
    assert record == await rig.broker.lookup("r1")
    assert (record.state, record.reason, record.message) == ("cancelled", "CANCELLED", "a caller asked for it")
    assert (record.kind, record.lane, record.file_id, record.attempts) == ("text", LANE, "f1", 0)
    assert (record.digest, record.accepted_ms) == (receipt.record.digest, receipt.record.accepted_ms)
    assert record.entry == "", "an entry id here would be asked for its deliveries"
    assert 0 <= record.settled_ms - record.accepted_ms < 5_000
    assert await rig.backlog() == 0
    assert await rig.take() == []


async def test_a_cancelled_task_expires(server: Server) -> None:
    async with open_rig(server.url, result_ttl_ms=500_000) as rig:
        await rig.submit("r1")
        await rig.canceller.cancel("r1")
        assert 490_000 < await rig.connection.command("PTTL", rig.keys.task("r1")) <= 500_000


async def test_a_running_task_is_cancelled_and_leaves_the_pending_list(rig: Rig) -> None:
    await rig.submit_and_take("r1")
    record = await rig.canceller.cancel("r1")
    assert (record.state, record.attempts) == ("cancelled", 1)
    assert (await rig.backlog(), await rig.pending()) == (0, [])


async def test_the_worker_of_a_cancelled_task_keeps_settles_and_returns_nothing(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    cancelled = await rig.canceller.cancel("r1")
    assert not await rig.broker.renew("worker-1", entry)
    assert not await rig.broker.give_back("worker-1", GiveBack(entry, "r1", 0, 1, "WHY", "because"))
    assert await rig.broker.settle("worker-1", settlement(entry)) == "superseded"
    dead = settlement(entry, state="dead_lettered", reason="WHY")
    assert await rig.broker.settle("worker-1", dead) == "superseded"
    assert await rig.broker.lookup("r1") == cancelled
    assert await rig.dead_letters() == []
    assert (await rig.backlog(), await rig.pending()) == (0, [])


@pytest.mark.parametrize("delay_ms", [0, 3_600_000])
async def test_a_task_that_waits_for_its_next_try_never_gets_one(rig: Rig, delay_ms: int) -> None:
    [entry] = await rig.submit_and_take("r1")
    assert await rig.broker.give_back("worker-1", GiveBack(entry, "r1", delay_ms, 2, "WHY", "because"))
    record = await rig.canceller.cancel("r1")
    assert (record.state, record.reason, record.attempts) == ("cancelled", "CANCELLED", 2)
    assert await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10) == ("0-0", [])
    assert await rig.connection.command("EXISTS", rig.keys.schedule(0, LANE)) == 0


@pytest.mark.one_partition
async def test_no_cancelled_entry_is_reclaimed_or_adopted(rig: Rig) -> None:
    silent, orphan, other = await rig.submit_and_take("r1", "r2", "r3")
    for entry in (silent, other):
        await rig.silence(entry)
    await rig.connection.command("XACK", rig.keys.stream(0, LANE), GROUP, orphan.entry_id)
    await asyncio.gather(rig.canceller.cancel("r1"), rig.canceller.cancel("r2"))
    _, taken = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
    assert [entry.entry_id for entry in taken] == [other.entry_id]
    assert await rig.request_ids() == ["r3"]


@pytest.mark.one_partition
async def test_a_group_that_is_made_anew_does_not_bring_a_cancelled_task_back(rig: Rig) -> None:
    await rig.submit_and_take("r1", "r2")
    await rig.canceller.cancel("r1")
    await rig.connection.command("XGROUP", "DESTROY", rig.keys.stream(0, LANE), GROUP)
    assert [entry.fields[b"request_id"] for entry in await rig.take(consumer="worker-2")] == [b"r2"]


async def test_where_no_group_was_made_yet_a_task_is_cancelled_all_the_same(rig: Rig) -> None:
    await rig.submit("r1")
    assert await rig.connection.command("XINFO", "GROUPS", rig.keys.stream(0, LANE)) == []
    assert (await rig.canceller.cancel("r1")).state == "cancelled"
    assert await rig.backlog() == 0


@pytest.mark.parametrize("state", get_args(TerminalState))
async def test_what_has_ended_stays_as_it_is(rig: Rig, state: TerminalState) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry, state=state, reason="WHY", message="because"))
    before = await rig.fields("r1")
    record = await rig.canceller.cancel("r1")
    assert (record.state, record.reason) == (state, "WHY")
    assert await rig.fields("r1") == before


async def test_to_cancel_what_has_ended_is_to_read_it(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry))
    before = await rig.calls("evalsha")
    await rig.canceller.cancel("r1")
    assert await rig.calls("evalsha") - before == 1


async def test_a_task_that_is_in_another_lane_by_now_is_read_again_and_cancelled_there(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.submit("r1")
    read = (await rig.broker.submit(submission("r1"))).record
    await rig.connection.command("DEL", rig.keys.task("r1"), rig.keys.stream(0, LANE))
    await rig.submit("r1", lane="file")
    assert (await rig.canceller._end(0, [read]))["r1"] == [], "nothing was changed"
    assert await rig.backlog(lane="file") == 1
    end, calls = rig.canceller._end, []

    async def outdated_once(partition: int, records: Sequence[TaskRecord]) -> dict[str, Any]:
        calls.append(records)
        return await end(partition, [read] if len(calls) == 1 else records)

    monkeypatch.setattr(rig.canceller, "_end", outdated_once)
    record = await rig.canceller.cancel("r1")
    assert (record.state, record.lane, len(calls)) == ("cancelled", "file", 2)
    assert await rig.backlog(lane="file") == 0


async def test_a_task_that_was_lost_after_it_was_read_is_not_there(rig: Rig) -> None:
    await rig.submit("r1")
    read = (await rig.broker.submit(submission("r1"))).record
    await rig.connection.command("FLUSHALL")
    assert await rig.canceller._end(0, [read]) == {"r1": []}
    assert await rig.connection.command("DBSIZE") == 0


async def test_an_unknown_task_cannot_be_cancelled_and_leaves_no_trace(rig: Rig) -> None:
    with pytest.raises(NotFound):
        await rig.canceller.cancel("r1")
    assert await rig.connection.command("DBSIZE") == 0


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_cancelling_again_changes_nothing(rig: Rig) -> None:
    await rig.broker.submit(submission("r1"), inbox="box")
    first = await rig.canceller.cancel("r1")
    before = await rig.fields("r1")
    async with listening(rig, "box") as heard:
        assert await rig.canceller.cancel("r1") == first
        assert await heard() == []
    assert await rig.fields("r1") == before


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_everyone_who_waits_is_told(rig: Rig) -> None:
    async with listening(rig, "box-1") as first, listening(rig, "box-2") as second:
        await rig.broker.submit(submission("r1"), inbox="box-1")
        await rig.broker.lookup("r1", inbox="box-2")
        await rig.canceller.cancel("r1")
        assert (await first(), await second()) == ([b"r1"], [b"r1"])


async def test_who_submits_a_cancelled_task_again_is_given_its_end_and_nothing_is_queued(rig: Rig) -> None:
    await rig.submit("r1")
    cancelled = await rig.canceller.cancel("r1")
    receipt = await rig.broker.submit(submission("r1"), inbox="box")
    assert (receipt.accepted, receipt.record) == (False, cancelled)
    assert await rig.backlog() == 0


async def test_a_task_whose_entry_was_taken_away_by_hand_is_cancelled_too(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)
    record = await rig.canceller.cancel("r1")
    assert record.state == "cancelled"
    assert await rig.broker.lookup("r1") == record
    assert not (await rig.broker.submit(submission("r1"))).accepted


async def test_a_batch_is_read_and_cancelled_in_a_round_trip_each_and_each_caller_gets_its_own_answer(
    server: Server,
) -> None:
    async with open_rig(server.url, partitions=2) as rig:
        names = [f"r{number}" for number in range(8)]
        entries = await rig.submit_and_take(*names)
        await rig.broker.settle("worker-1", settlement(entries[3]))
        await rig.canceller.cancel("r0")
        before = await rig.calls("evalsha")
        answers = await all_of([rig.canceller.cancel(name) for name in [*names, "nobody"]])
        assert await rig.calls("evalsha") - before <= 4, "two in each partition"
    assert isinstance(answers.pop(), NotFound)
    assert [answer.request_id for answer in answers] == names
    assert [answer.state for answer in answers] == ["cancelled"] * 3 + ["succeeded"] + ["cancelled"] * 4
