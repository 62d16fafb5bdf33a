"""The inbox when Redis loses connections, tasks, or itself: everyone who waits is answered all the same."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from edgescale.broker.inbox import Inbox
from edgescale.broker.reconnect import BASE_MS
from edgescale.errors import Conflict, NotFound
from edgescale.harness.chaos.fault_proxy import proxied
from edgescale.harness.chaos.toxics import Refused
from edgescale.telemetry.events import Event
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, serving, submission
from tests.waiting import (
    NEVER_MS,
    OFTEN_MS,
    HeldBroker,
    backlog_is,
    called_more_than,
    kill_subscriptions,
    publish,
    settle_all,
    succeeded,
    wait_for_accepted,
)


@pytest.fixture
async def told(server: Server) -> AsyncIterator[Rig]:
    """Waiters depend on notifications and reconnections alone."""
    async with open_rig(server.url, inbox_recheck_ms=NEVER_MS) as rig:
        yield rig


async def test_a_result_stored_while_the_subscription_was_cut_is_found_on_reconnecting(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await told.broker.submit(submission(), inbox=inbox.name)
            await kill_subscriptions(told)
            await settle_all(told)
            assert succeeded(await wait.result(5))


async def test_the_subscription_comes_back_however_often_it_is_cut(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        for number in range(5):
            with inbox.expect(f"r{number}") as wait:
                await told.broker.submit(submission(f"r{number}"), inbox=inbox.name)
                await kill_subscriptions(told)
                await asyncio.wait_for(inbox.lost.wait(), 5)
                await asyncio.wait_for(inbox.ready.wait(), 5)
                await settle_all(told)
                assert succeeded(await wait.result(5))


@pytest.mark.one_partition
async def test_every_loss_of_the_subscription_is_told_and_the_next_one_is_not_waited_for_longer(told: Rig) -> None:
    with capture_logs() as lines:
        async with serving(told.inbox()) as inbox:
            for _ in range(4):
                await kill_subscriptions(told)
                await asyncio.wait_for(inbox.lost.wait(), 5)
                await asyncio.wait_for(inbox.ready.wait(), 5)
    losses = [line for line in lines if line["event"] == Event.BROKER_LOST]
    assert len(losses) == 4
    assert [line["retry_in_ms"] <= BASE_MS for line in losses] == [True] * 4
    assert [line["event"] for line in lines if line["event"] == Event.BROKER_FOUND] == [Event.BROKER_FOUND] * 4


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_result_stored_while_redis_could_not_be_reached_is_found(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        open_rig(proxy.url, inbox_recheck_ms=NEVER_MS) as rig,
        open_rig(server.url) as worker,
        serving(rig.inbox()) as inbox,
    ):
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission(), inbox=inbox.name)
            async with proxy.toxic(Refused()):
                await asyncio.wait_for(inbox.lost.wait(), 5)
                await settle_all(worker)
                assert await wait.result(0) is None
            assert succeeded(await wait.result(5))


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_result_whose_reading_failed_is_read_again(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        open_rig(proxy.url, inbox_recheck_ms=NEVER_MS) as rig,
        open_rig(server.url) as worker,
        serving(rig.inbox()) as inbox,
    ):
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission(), inbox=inbox.name)
            await rig.broker.lookup("r1")
            proxy.lose_reply(b"EVALSHA", times=2)
            await settle_all(worker)
            assert succeeded(await wait.result(5))
            assert proxy.replies_lost == 2


async def test_a_waiter_is_told_of_the_task_that_somebody_else_submitted_again(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await told.broker.submit(submission(), inbox=inbox.name)
            await told.connection.command("FLUSHALL")
            await told.broker.submit(submission(), inbox="another process")
            await publish(told, inbox, "r1")
            await eventually(lambda: knows(told, inbox))
            await settle_all(told)
            assert succeeded(await wait.result(2))


async def knows(rig: Rig, inbox: Inbox) -> bool:
    """Whether the task will tell the inbox."""
    return inbox.name in await rig.inboxes("r1")


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_subscription_that_is_half_open_is_noticed_and_replaced(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        open_rig(proxy.url, inbox_recheck_ms=200, redis_timeout_ms=300) as rig,
        open_rig(server.url) as worker,
        serving(rig.inbox()) as inbox,
    ):
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission(), inbox=inbox.name)
            proxy.darken()
            await asyncio.wait_for(inbox.lost.wait(), 5)
            await settle_all(worker)
            assert succeeded(await wait.result(5))
            await asyncio.wait_for(inbox.ready.wait(), 5)


async def test_a_task_lost_by_a_flush_is_submitted_again_and_answered(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1"))
        await eventually(rig.backlog)
        await rig.connection.command("FLUSHALL")
        await eventually(rig.backlog)
        await settle_all(rig)
        assert succeeded(await waiting)


async def test_a_task_that_is_submitted_again_tells_its_waiter(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        given = submission()
        with inbox.expect("r1") as wait:
            await told.broker.submit(given, inbox=inbox.name)
            wait.accepted(given)
            await told.connection.command("FLUSHALL")
            await publish(told, inbox, "r1")
            await eventually(told.backlog)
            assert await told.inboxes("r1") == [inbox.name]
            await settle_all(told)
            assert succeeded(await wait.result(2))


async def test_many_tasks_lost_by_a_flush_are_all_answered(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        waits = [asyncio.create_task(wait_for_accepted(rig, inbox, f"r{number}", 20)) for number in range(300)]
        await eventually(lambda: backlog_is(rig, 300))
        await rig.connection.command("FLUSHALL")
        await eventually(lambda: backlog_is(rig, 300))
        await settle_all(rig)
        assert all(succeeded(record) for record in await asyncio.gather(*waits))
        assert inbox.open_requests == 0


async def test_a_request_that_was_never_accepted_is_never_submitted_again(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=50) as rig, serving(rig.inbox()) as inbox:
        with inbox.expect("refused") as wait:
            await rig.connection.command("CONFIG", "RESETSTAT")
            await eventually(lambda: rig.calls("evalsha"))
            lookups = await rig.calls("evalsha")
            await eventually(lambda: called_more_than(rig, lookups + 3))
            assert await rig.backlog() == 0
            assert await wait.result(0) is None


async def test_who_only_asks_for_a_task_is_told_when_redis_has_lost_it(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        await rig.submit("r1")
        await rig.connection.command("CONFIG", "RESETSTAT")
        asking = asyncio.create_task(inbox.wait_for("r1", 20))
        # Its own look, and the first of the slow timer.
        await eventually(lambda: called_more_than(rig, 1))
        with inbox.expect("r1") as about_to_submit:
            await rig.connection.command("FLUSHALL")
            with pytest.raises(NotFound, match="'r1' is not there any more"):
                await asyncio.wait_for(asking, 5)
            assert await rig.backlog() == 0
            await rig.broker.submit(submission(), inbox=inbox.name)
            await settle_all(rig)
            assert succeeded(await about_to_submit.result(5)), "and who submits it is told nothing of the sort"


async def test_a_lost_task_whose_id_was_taken_by_other_content_ends_as_a_conflict(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        given = submission()
        with inbox.expect("r1") as wait:
            await told.broker.submit(given, inbox=inbox.name)
            wait.accepted(given)
            await told.connection.command("FLUSHALL")
            await told.broker.submit(submission("r1", b"other content"))
            await settle_all(told)
            await publish(told, inbox, "r1")
            with pytest.raises(Conflict):
                await wait.result(2)


async def test_a_lost_task_whose_id_is_taken_at_that_moment_ends_as_a_conflict(told: Rig) -> None:
    held = HeldBroker(told)
    async with serving(held.inbox()) as inbox:
        given = submission()
        with inbox.expect("r1") as wait:
            await told.broker.submit(given, inbox=inbox.name)
            wait.accepted(given)
            await told.connection.command("FLUSHALL")
            held.gate.clear()
            await publish(told, inbox, "r1")
            await asyncio.wait_for(held.was_read.wait(), 2)
            await told.broker.submit(submission("r1", b"other content"))
            held.gate.set()
            with pytest.raises(Conflict):
                await wait.result(2)


@pytest.mark.parametrize("first", [0, 1])
async def test_two_who_wait_for_one_id_and_mean_other_content_are_each_told_the_truth(told: Rig, first: int) -> None:
    """Redis lost the first one's task, and a second one, at the same door, was given its id."""
    contents = [submission(), submission("r1", b"other content")]
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as one, inbox.expect("r1") as other:
            waits = [one, other] if first == 0 else [other, one]
            await told.broker.submit(contents[0], inbox=inbox.name)
            waits[0].accepted(contents[0])
            await told.connection.command("FLUSHALL")
            await told.broker.submit(contents[1], inbox=inbox.name)
            waits[1].accepted(contents[1])
            await settle_all(told)
            assert succeeded(await waits[1].result(2))
            with pytest.raises(Conflict):
                await waits[0].result(2)


async def test_what_is_heard_before_the_task_is_known_to_be_accepted_must_be_of_its_content(told: Rig) -> None:
    async with serving(told.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await told.broker.submit(submission("r1", b"other content"), inbox=inbox.name)
            await settle_all(told)
            await publish(told, inbox, "r1")
            await eventually(lambda: wait.over)
            wait.accepted(submission())
            with pytest.raises(Conflict):
                await wait.result(2)


@pytest.mark.one_partition
async def test_a_lost_task_is_submitted_again_once_there_is_room(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=50, lane_cap=1) as rig:
        held = HeldBroker(rig)
        async with serving(held.inbox()) as inbox:
            waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1"))
            await eventually(rig.backlog)
            held.gate.clear()
            await rig.connection.command("FLUSHALL")
            await rig.submit("other")
            await rig.connection.command("CONFIG", "RESETSTAT")
            held.gate.set()
            await eventually(lambda: called_more_than(rig, 4))
            assert await rig.fields("r1") == {}
            await settle_all(rig)
            await eventually(lambda: rig.fields("r1"))
            await settle_all(rig)
            assert succeeded(await waiting)
