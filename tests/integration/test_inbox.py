"""The inbox: a stored result reaches everyone who waits, whatever becomes of the notification."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from edgescale.broker.inbox import Inbox
from edgescale.errors import NotFound
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, serving, submission
from tests.waiting import (
    NEVER_MS,
    OFTEN_MS,
    HeldBroker,
    backlog_is,
    publish,
    settle_all,
    subscriptions,
    succeeded,
    wait_for_accepted,
)

pytestmark = pytest.mark.everywhere


@pytest.fixture
async def told(server: Server) -> AsyncIterator[Rig]:
    """Waiters depend on notifications and reconnections alone."""
    async with open_rig(server.url, inbox_recheck_ms=NEVER_MS) as rig:
        yield rig


async def test_a_result_reaches_its_waiter_by_notification(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await told.broker.submit(submission(), inbox=inbox.name)
            await settle_all(told)
            assert succeeded(await wait.result(2))
        assert inbox.open_requests == 0


async def test_results_of_all_partitions_reach_one_inbox(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=NEVER_MS, partitions=3) as rig, serving(rig.inbox()) as inbox:
        waits = [asyncio.create_task(wait_for_accepted(rig, inbox, f"r{number}")) for number in range(12)]
        await eventually(lambda: backlog_is(rig, 12))
        await settle_all(rig)
        assert all(succeeded(record) for record in await asyncio.gather(*waits))


async def test_a_result_that_is_there_already_is_answered_at_once(told: Rig) -> None:
    await told.submit("r1")
    await settle_all(told)
    async with serving(told.inbox()) as inbox:
        assert succeeded(await inbox.wait_for("r1", 5))


async def test_a_second_process_that_asks_is_told_too(told: Rig) -> None:
    async with serving(told.inbox()) as one, serving(told.inbox()) as other:
        await told.broker.submit(submission(), inbox=one.name)
        waits = [asyncio.create_task(inbox.wait_for("r1", 5)) for inbox in (one, other)]
        await eventually(lambda: lists_inboxes(told, one, other))
        await settle_all(told)
        assert all(succeeded(record) for record in await asyncio.gather(*waits))


async def lists_inboxes(rig: Rig, *inboxes: Inbox) -> bool:
    known = (await rig.fields("r1"))[b"inboxes"].decode().split(",")
    return {inbox.name for inbox in inboxes} <= set(known)


async def test_everyone_in_a_process_who_waits_for_an_id_gets_the_same_answer(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        await told.broker.submit(submission(), inbox=inbox.name)
        with inbox.expect("r1") as one, inbox.expect("r1") as other, inbox.expect("r1") as third:
            assert inbox.open_requests == 1
            assert await third.result(0) is None
            await settle_all(told)
            first = await one.result(2)
            assert succeeded(first)
            assert await other.result(2) is first


async def test_one_who_leaves_does_not_take_the_others_along(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        await told.broker.submit(submission(), inbox=inbox.name)
        with inbox.expect("r1") as patient:
            with inbox.expect("r1") as hasty:
                assert await hasty.result(0.01) is None
            leaver = asyncio.create_task(inbox.wait_for("r1", 5))
            await asyncio.sleep(0)
            leaver.cancel()
            await asyncio.gather(leaver, return_exceptions=True)
            await settle_all(told)
            assert succeeded(await patient.result(2))


async def test_asking_without_time_to_wait_tells_what_is_known(told: Rig) -> None:
    inbox = told.inbox()
    with pytest.raises(NotFound, match="no task 'r1'"):
        await inbox.wait_for("r1", 0)
    await told.submit("r1")
    assert (await inbox.wait_for("r1", 0)).state == "queued"
    assert (await told.fields("r1"))[b"inboxes"] == b"", "nobody stays to be told"


async def test_a_wait_that_runs_out_tells_the_open_task(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        await told.submit("r1")
        assert (await inbox.wait_for("r1", 0.01)).state == "queued"
        assert inbox.open_requests == 0


async def test_without_any_notification_the_slow_timer_finds_the_result(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        await rig.submit("r1")
        with inbox.expect("r1") as wait:
            await rig.connection.command("HSET", rig.keys.task("r1"), "state", "succeeded", "result", "result")
            assert succeeded(await wait.result(5))
            await rig.connection.command("DEL", rig.keys.task("r1"))


async def test_a_notification_that_comes_while_results_are_read_is_not_forgotten(told: Rig) -> None:
    held = HeldBroker(told)
    held.gate.clear()
    async with serving(held.inbox()) as inbox:
        stale = inbox._stale[told.keys.partition_of("r1")]
        # In the same partition, whatever their number.
        with inbox.expect("r1") as wait, inbox.expect("r1:marker"):
            await told.broker.submit(submission(), inbox=inbox.name)
            await publish(told, inbox, "r1")
            await asyncio.wait_for(held.was_read.wait(), 2)
            # The record was read while the task was open, and the reply is on its way.
            await settle_all(told)
            await publish(told, inbox, "r1:marker")
            await eventually(lambda: "r1:marker" in stale._request_ids)
            held.gate.set()
            assert succeeded(await wait.result(2))


async def test_senseless_notifications_are_harmless(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await told.broker.submit(submission(), inbox=inbox.name)
            for message in ("nobody", "", b"\xff\xfe", "r1"):
                await publish(told, inbox, message)
            await settle_all(told)
            assert succeeded(await wait.result(2))


@pytest.mark.one_server("it counts the connections of one server")
async def test_a_stopped_inbox_leaves_no_connection_behind(rig: Rig) -> None:
    async with serving(rig.inbox()):
        assert await subscriptions(rig) == 1
    await eventually(lambda: no_subscriptions(rig))


async def no_subscriptions(rig: Rig) -> bool:
    return await subscriptions(rig) == 0
