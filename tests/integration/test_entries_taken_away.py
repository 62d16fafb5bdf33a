"""What becomes of a task whose entry somebody else takes out of its stream."""

import asyncio

import pytest

from edgescale.errors import Conflict, LaneFull, NotFound
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, serving, settlement, submission
from tests.waiting import OFTEN_MS, backlog_is, settle_all, succeeded, wait_for_accepted


async def trim(rig: Rig) -> None:
    await rig.connection.command("XTRIM", rig.keys.stream(0, "text"), "MAXLEN", 0)


async def test_a_queued_task_whose_entry_is_gone_is_not_there(rig: Rig) -> None:
    await rig.submit("r1")
    await trim(rig)
    assert await rig.broker.lookup("r1", inbox="box") is None


async def test_a_running_task_whose_entry_is_gone_is_still_there_and_is_settled(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await trim(rig)
    record = await rig.broker.lookup("r1", inbox="box")
    assert record is not None
    assert record.state == "queued"
    assert not (await rig.broker.submit(submission("r1"))).accepted
    assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert record.state == "succeeded"


@pytest.mark.parametrize("content", [b"content", b"other content"])
async def test_it_is_accepted_anew_whatever_its_content(rig: Rig, content: bytes) -> None:
    first = (await rig.broker.submit(submission("r1", b"content"), inbox="box")).record
    await trim(rig)
    receipt = await rig.broker.submit(submission("r1", content), inbox="other")
    assert receipt.accepted
    assert receipt.record.entry != first.entry
    assert await rig.inboxes("r1") == ["other"], "nothing of the old record is left"
    assert await rig.backlog() == 1


@pytest.mark.one_partition
async def test_it_is_not_forgotten_while_there_is_no_room_for_it(server: Server) -> None:
    async with open_rig(server.url, lane_cap=1) as rig:
        await rig.submit("r1")
        await trim(rig)
        await rig.submit("r2")
        before = await rig.fields("r1")
        with pytest.raises(LaneFull):
            await rig.broker.submit(submission("r1"))
        assert await rig.fields("r1") == before


async def test_a_known_task_still_conflicts(rig: Rig) -> None:
    await rig.submit("r1")
    with pytest.raises(Conflict):
        await rig.broker.submit(submission("r1", b"other content"))


async def test_a_task_of_another_lane_is_not_taken_for_one_whose_entry_is_gone(rig: Rig) -> None:
    await rig.submit("r1")
    with pytest.raises(Conflict):
        await rig.broker.submit(submission("r1", kind="file", lane="file"))
    assert (await rig.backlog(), await rig.backlog(lane="file")) == (1, 0)


async def test_what_settled_after_it_was_read_is_not_taken_for_lost(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    read = await rig.broker.lookup("r1")
    assert read is not None
    await rig.broker.settle("worker-1", settlement(entry))
    assert await rig.broker.deliveries(read) == 0
    assert (await rig.broker.lookup("r1") or read).state == "succeeded"


async def test_who_waits_for_it_has_it_submitted_again(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1"))
        await eventually(rig.backlog)
        await trim(rig)
        await eventually(lambda: backlog_is(rig, 1))
        await settle_all(rig)
        assert succeeded(await waiting)


async def test_who_only_asks_is_told_that_it_is_not_there(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        await rig.submit("r1")
        await trim(rig)
        with pytest.raises(NotFound):
            await inbox.wait_for("r1", 0)
