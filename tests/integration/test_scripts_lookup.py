"""lookup.lua: what is stored of a task, and attaching to one that is open."""

import asyncio

import pytest

from edgescale.broker.inbox import Inbox
from edgescale.broker.model import TaskRecord
from edgescale.errors import InternalError
from tests.servers import Server
from tests.support import Rig, all_of, open_rig, settlement, submission

pytestmark = pytest.mark.everywhere


async def test_a_task_that_nobody_submitted_is_not_there(rig: Rig) -> None:
    assert await rig.broker.lookup("r1", inbox="box") is None
    assert await rig.fields("r1") == {}, "asking leaves nothing behind"


async def test_an_open_task_is_told_as_it_was_accepted(rig: Rig) -> None:
    receipt = await rig.broker.submit(submission(file_id="f1"))
    assert await rig.broker.lookup("r1") == receipt.record


async def test_asking_with_an_inbox_attaches_to_an_open_task_once(rig: Rig) -> None:
    await rig.submit("r1")
    for _ in range(3):
        await rig.broker.lookup("r1", inbox="box")
    await rig.broker.lookup("r1")
    assert (await rig.fields("r1"))[b"inboxes"] == b"box"


async def test_asking_for_a_settled_task_attaches_nobody(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry))
    before = await rig.fields("r1")
    record = await rig.broker.lookup("r1", inbox="late")
    assert record is not None
    assert (record.state, record.result) == ("succeeded", b"result")
    assert await rig.fields("r1") == before


@pytest.mark.one_partition
async def test_lookups_share_their_round_trips_and_each_caller_gets_its_own_answer(rig: Rig) -> None:
    entries = await rig.submit_and_take("r1", "r2")
    await rig.broker.settle("worker-1", settlement(entries[1], result=b"two"))
    await rig.broker.lookup("r1")
    await rig.connection.command("CONFIG", "RESETSTAT")
    await asyncio.gather(*(rig.broker.lookup("r2") for _ in range(3)))
    assert await rig.calls("evalsha") == 1, "of what has ended all is known"
    await rig.connection.command("CONFIG", "RESETSTAT")
    records = await asyncio.gather(*(rig.broker.lookup(name, inbox="box") for name in ("r1", "none", "r2")))
    assert await rig.calls("evalsha") == 2, "of what is open it is asked whether its entry is there"
    assert [record.state if record else None for record in records] == ["queued", None, "succeeded"]
    assert (await rig.fields("r1"))[b"inboxes"] == b"box"


async def test_deliveries_are_counted_while_the_task_is_open(rig: Rig) -> None:
    receipt = await rig.broker.submit(submission())
    assert await rig.broker.deliveries(receipt.record) == 0, "there is no group yet"
    await rig.broker.ensure_group(0, "text")
    assert await rig.broker.deliveries(receipt.record) == 0, "nobody has it yet"
    [entry] = await rig.take()
    assert await rig.broker.deliveries(receipt.record) == 1
    await rig.silence(entry)
    await rig.broker.reclaim(0, "text", "worker-2", cursor="0-0", count=10)
    assert await rig.broker.deliveries(receipt.record) == 2


async def test_records_are_found_in_every_partition(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as rig:
        names = [f"r{number}" for number in range(30)]
        await rig.submit(*names)
        records = await asyncio.gather(*(rig.broker.lookup(name) for name in names))
        assert [record.request_id for record in records if record] == names


@pytest.mark.parametrize("damage", [["foreign", "field"], ["state", "queued", "attempts", "many"], ["state", b"\xff"]])
async def test_a_damaged_record_is_named_as_a_defect_and_harms_no_neighbour(
    rig: Rig, damage: list[str | bytes]
) -> None:
    await rig.submit("r1", "r2")
    await rig.connection.command("HSET", rig.keys.task("damaged"), *damage)
    records = await all_of([rig.broker.lookup(name) for name in ("r1", "damaged", "r2")])
    assert [type(record) for record in records] == [TaskRecord, InternalError, TaskRecord]


async def test_a_damaged_record_fails_its_own_waiter_only(rig: Rig, inbox: Inbox) -> None:
    with inbox.expect("damaged") as damaged, inbox.expect("r1") as sound:
        await rig.broker.submit(submission("r1"), inbox=inbox.name)
        await rig.connection.command("HSET", rig.keys.task("damaged"), "foreign", "field")
        await rig.connection.command("SPUBLISH", rig.keys.channel(0, inbox.name), "damaged")
        with pytest.raises(InternalError):
            await damaged.result(2)
        [entry] = await rig.take()
        await rig.broker.settle("worker-1", settlement(entry))
        record = await sound.result(2)
        assert record is not None
        assert record.state == "succeeded"
