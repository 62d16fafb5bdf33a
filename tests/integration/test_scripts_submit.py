"""submit.lua: accepted, known, conflict, full; the cap; nothing twice, nothing trimmed."""

import asyncio

import pytest

from edgescale.broker.model import Receipt
from edgescale.envelope import Envelope
from edgescale.errors import Conflict, LaneFull
from tests.servers import Server
from tests.support import LANE, Rig, all_of, open_rig, settlement, submission

pytestmark = pytest.mark.everywhere


async def test_an_accepted_task_is_in_its_stream_and_on_record(rig: Rig) -> None:
    given = submission("r1", bytes(range(256)), file_id="f1")
    receipt = await rig.broker.submit(given, inbox="box")
    [entry] = await rig.take()
    assert Envelope.decode(entry.fields) == given.envelope
    stored = await rig.fields("r1")
    assert stored == {
        b"state": b"queued",
        b"kind": b"text",
        b"lane": b"text",
        b"digest": given.digest.encode(),
        b"file_id": b"f1",
        b"entry": entry.entry_id.encode(),
        b"inboxes": b"box",
        b"accepted_ms": b"%d" % entry.accepted_ms,
    }
    assert receipt == Receipt(accepted=True, record=given.record(entry.entry_id))


async def test_the_time_of_acceptance_is_the_same_for_everyone_who_asks(rig: Rig) -> None:
    # A clock that stepped back: ids go on from the last one, so an entry's time may be ahead of the clock.
    ahead = f"{await rig.now_ms() + 3_600_000}-0"
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), ahead, "request_id", "r0")
    receipt = await rig.broker.submit(submission("r1"))
    [_, entry] = await rig.take()
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert record.accepted_ms == receipt.record.accepted_ms == entry.accepted_ms


async def test_a_task_that_is_open_does_not_expire(rig: Rig) -> None:
    await rig.submit_and_take("r1")
    assert await rig.connection.command("PTTL", rig.keys.task("r1")) == -1


@pytest.mark.one_partition
async def test_a_batch_shares_one_round_trip_and_each_caller_gets_its_own_answer(server: Server) -> None:
    async with open_rig(server.url, lane_caps={"tiny": 1}) as rig:
        await rig.submit("old", "warm")
        await rig.connection.command("CONFIG", "RESETSTAT")
        outcomes = await all_of(
            [
                rig.broker.submit(submission("new")),
                rig.broker.submit(submission("old")),
                rig.broker.submit(submission("old", b"other content")),
                rig.broker.submit(submission("first", lane="tiny")),
                rig.broker.submit(submission("second", lane="tiny")),
                rig.broker.submit(submission("last")),
            ]
        )
        assert await rig.calls("evalsha") == 1
        assert [type(outcome) for outcome in outcomes] == [Receipt, Receipt, Conflict, Receipt, LaneFull, Receipt]
        assert [outcome.accepted for outcome in outcomes if isinstance(outcome, Receipt)] == [True, False, True, True]
        assert [outcome.record.request_id for outcome in outcomes if isinstance(outcome, Receipt)] == [
            "new",
            "old",
            "first",
            "last",
        ]
        assert await rig.request_ids() == ["old", "warm", "new", "last"]
        assert await rig.request_ids("tiny") == ["first"]


async def test_a_known_open_task_is_attached_to_and_not_queued_again(rig: Rig) -> None:
    await rig.broker.submit(submission(), inbox="one")
    before = await rig.fields("r1")
    receipt = await rig.broker.submit(submission(), inbox="two")
    assert not receipt.accepted
    assert receipt.record.state == "queued"
    assert await rig.fields("r1") == {**before, b"inboxes": b"one,two"}
    assert await rig.request_ids() == ["r1"]


async def test_a_known_settled_task_is_answered_with_its_result(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry, result=b"the result"))
    before = await rig.fields("r1")
    receipt = await rig.broker.submit(submission(), inbox="late")
    assert (receipt.accepted, receipt.record.state, receipt.record.result) == (False, "succeeded", b"the result")
    assert await rig.fields("r1") == before, "nobody will be told any more, so nobody is noted"
    assert await rig.backlog() == 0


@pytest.mark.parametrize("settled", [False, True])
async def test_other_content_under_a_known_id_changes_nothing(rig: Rig, settled: bool) -> None:  # noqa: FBT001 - a case
    [entry] = await rig.submit_and_take("r1")
    if settled:
        await rig.broker.settle("worker-1", settlement(entry))
    before = await rig.fields("r1"), await rig.backlog()
    with pytest.raises(Conflict, match="'r1' is taken by a request with other content"):
        await rig.broker.submit(submission("r1", b"other"), inbox="box")
    assert (await rig.fields("r1"), await rig.backlog()) == before


async def test_the_same_id_twice_in_a_batch_is_one_entry(rig: Rig) -> None:
    receipts = await asyncio.gather(*(rig.broker.submit(submission()) for _ in range(5)))
    assert [receipt.accepted for receipt in receipts] == [True, False, False, False, False]
    assert await rig.request_ids() == ["r1"]


async def test_the_same_id_from_two_processes_at_once_is_one_entry(server: Server) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        for number in range(20):
            receipts = await asyncio.gather(
                one.broker.submit(submission(f"r{number}"), inbox="one"),
                other.broker.submit(submission(f"r{number}"), inbox="other"),
            )
            assert sorted(receipt.accepted for receipt in receipts) == [False, True]
            assert sorted(await one.inboxes(f"r{number}")) == ["one", "other"]
        assert await one.backlog() == 20


async def test_a_repeated_submission_is_one_entry_however_often(rig: Rig) -> None:
    for _ in range(10):
        await rig.broker.submit(submission(), inbox="box")
    assert await rig.request_ids() == ["r1"]
    assert await rig.inboxes("r1") == ["box"], "an inbox is told once per notification"


async def test_an_inbox_whose_name_is_part_of_another_is_still_attached(rig: Rig) -> None:
    for name in ("abc", "b", "ab", "bc"):
        await rig.broker.submit(submission(), inbox=name)
    assert await rig.inboxes("r1") == ["abc", "b", "ab", "bc"]


async def test_sixteen_inboxes_are_told_and_further_ones_depend_on_their_timer(rig: Rig) -> None:
    for number in range(20):
        await rig.broker.submit(submission(), inbox=f"box-{number}")
    assert await rig.inboxes("r1") == [f"box-{number}" for number in range(16)]


async def test_a_submission_that_nobody_waits_for_names_no_inbox(rig: Rig) -> None:
    await rig.broker.submit(submission())
    assert (await rig.fields("r1"))[b"inboxes"] == b""
    await rig.broker.submit(submission(), inbox="late")
    assert await rig.inboxes("r1") == ["late"]


async def test_a_record_that_a_settlement_made_anew_answers_any_submission(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    await rig.broker.settle("worker-1", settlement(entry, result=b"kept"))
    receipt = await rig.broker.submit(submission("r1", b"content that cannot be compared any more"))
    assert (receipt.accepted, receipt.record.result) == (False, b"kept")


async def test_a_large_number_of_submissions_goes_out_in_few_calls(rig: Rig) -> None:
    await rig.submit("warm")
    await rig.connection.command("CONFIG", "RESETSTAT")
    await rig.submit(*[f"r{number}" for number in range(600)])
    assert await rig.calls("evalsha") == 3
    assert await rig.backlog() == 601


@pytest.mark.one_partition
async def test_large_payloads_do_not_go_out_in_one_call(rig: Rig) -> None:
    await rig.submit("warm")
    await rig.connection.command("CONFIG", "RESETSTAT")
    payload = bytes(3_000_000)
    await asyncio.gather(*(rig.broker.submit(submission(f"r{number}", payload)) for number in range(3)))
    assert await rig.calls("evalsha") == 3
    assert [len(Envelope.decode(entry.fields).payload) for entry in await rig.take()][1:] == [3_000_000] * 3
