"""The inbox: a stored result reaches everyone who waits, whatever becomes of the notification."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from edgescale.broker.broker import Broker
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import TaskRecord
from edgescale.broker.reconnect import BASE_MS
from edgescale.errors import Conflict, NotFound
from edgescale.local.valkey import EmbeddedValkey
from edgescale.telemetry.events import Event
from tests.proxy import proxied
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, serving, settlement, submission

# So long that a result within a test's patience cannot be owed to the slow timer.
NEVER_MS = 3_600_000
OFTEN_MS = 100


@pytest.fixture
async def told(server: Server) -> AsyncIterator[Rig]:
    """Waiters depend on notifications and reconnections alone."""
    async with open_rig(server.url, inbox_recheck_ms=NEVER_MS) as rig:
        yield rig


class HeldBroker(Broker):
    """Sends lookups at once, and keeps their replies while the gate is closed."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.connection, rig.keys, rig.settings, rig.chance)
        self.rig = rig
        self.was_read = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def inbox(self) -> Inbox:
        return Inbox(self.rig.connection, self, self.rig.keys, self.rig.settings, self.rig.chance)

    async def lookup(self, request_id: str, *, inbox: str = "") -> TaskRecord | None:
        record = await super().lookup(request_id, inbox=inbox)
        self.was_read.set()
        await self.gate.wait()
        return record


async def settle_all(rig: Rig, *, consumer: str = "worker-1") -> None:
    """A worker's round: take what is queued, settle it."""
    for entry in await rig.take(1_000, consumer=consumer):
        await rig.broker.settle(consumer, settlement(entry))


async def wait_for_accepted(rig: Rig, inbox: Inbox, request_id: str, timeout_s: float = 5) -> TaskRecord | None:
    """What a service does with a request."""
    given = submission(request_id)
    with inbox.expect(request_id) as wait:
        await rig.broker.submit(given, inbox=inbox.name)
        wait.accepted(given)
        return await wait.result(timeout_s)


async def backlog_is(rig: Rig, expected: int) -> bool:
    return await rig.backlog() == expected


async def kill_subscriptions(rig: Rig) -> None:
    await rig.connection.command("CLIENT", "KILL", "TYPE", "pubsub")


async def publish(rig: Rig, inbox: Inbox, message: str | bytes) -> None:
    await rig.connection.command("SPUBLISH", rig.keys.channel(0, inbox.name), message)


def succeeded(record: TaskRecord | None) -> bool:
    return record is not None and record.state == "succeeded" and record.result == b"result"


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


async def test_a_result_stored_while_redis_could_not_be_reached_is_found(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        open_rig(proxy.url, inbox_recheck_ms=NEVER_MS) as rig,
        open_rig(server.url) as worker,
        serving(rig.inbox()) as inbox,
    ):
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission(), inbox=inbox.name)
            proxy.refuses = True
            proxy.sever()
            await asyncio.wait_for(inbox.lost.wait(), 5)
            await settle_all(worker)
            assert await wait.result(0) is None
            proxy.refuses = False
            assert succeeded(await wait.result(5))


async def test_a_subscription_that_is_half_open_is_noticed_and_replaced(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        open_rig(proxy.url, inbox_recheck_ms=200, redis_timeout_ms=200) as rig,
        open_rig(server.url) as worker,
        serving(rig.inbox()) as inbox,
    ):
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission(), inbox=inbox.name)
            proxy.darken()
            await asyncio.wait_for(inbox.lost.wait(), 2)
            await settle_all(worker)
            assert succeeded(await wait.result(5))
            await asyncio.wait_for(inbox.ready.wait(), 5)


async def test_without_any_notification_the_slow_timer_finds_the_result(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        await rig.submit("r1")
        with inbox.expect("r1") as wait:
            await rig.connection.command("HSET", rig.keys.task("r1"), "state", "succeeded", "result", "result")
            assert succeeded(await wait.result(5))


async def test_a_notification_that_comes_while_results_are_read_is_not_forgotten(told: Rig) -> None:
    held = HeldBroker(told)
    held.gate.clear()
    async with serving(held.inbox()) as inbox:
        with inbox.expect("r1") as wait, inbox.expect("marker"):
            await told.broker.submit(submission(), inbox=inbox.name)
            await publish(told, inbox, "r1")
            await asyncio.wait_for(held.was_read.wait(), 2)
            # The record was read while the task was open, and the reply is on its way.
            await settle_all(told)
            await publish(told, inbox, "marker")
            await eventually(lambda: "marker" in inbox._stale)
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


async def test_a_task_lost_by_a_flush_is_submitted_again_and_answered(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1"))
        await eventually(rig.backlog)
        await rig.connection.command("FLUSHALL")
        await eventually(rig.backlog)
        await settle_all(rig)
        assert succeeded(await waiting)


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


async def called_more_than(rig: Rig, calls: int) -> bool:
    return await rig.calls("evalsha") > calls


async def test_a_waiter_who_knows_the_id_only_submits_nothing(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=50) as rig, serving(rig.inbox()) as inbox:
        await rig.submit("r1")
        waiting = asyncio.create_task(inbox.wait_for("r1", 0.4))
        await eventually(lambda: inbox.open_requests)
        await rig.connection.command("FLUSHALL")
        assert (await waiting).state == "queued"
        assert await rig.backlog() == 0


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


async def test_a_server_that_restarts_with_its_data_keeps_its_waiters(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1", 10))
        await eventually(rig.backlog)
        await private_server.stop()
        await asyncio.wait_for(inbox.lost.wait(), 5)
        await private_server.start()
        await asyncio.wait_for(inbox.ready.wait(), 5)
        await settle_all(rig)
        assert succeeded(await waiting)


async def test_a_result_survives_the_death_of_its_server(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig:
        await rig.connection.command("CONFIG", "SET", "appendfsync", "always")
        async with serving(rig.inbox()) as inbox:
            with inbox.expect("r1") as wait:
                await rig.broker.submit(submission(), inbox=inbox.name)
                await kill_subscriptions(rig)
                await settle_all(rig)
                await private_server.kill()
                await private_server.start()
                assert succeeded(await wait.result(10))


async def test_tasks_of_a_server_that_restarts_empty_are_submitted_again(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1", 10))
        await eventually(rig.backlog)
        await rig.connection.command("CONFIG", "SET", "appendonly", "no")
        await private_server.kill()
        for path in (private_server.log_path.parent / "appendonlydir").iterdir():
            path.unlink()
        await private_server.start()
        await eventually(rig.backlog)
        await settle_all(rig)
        assert succeeded(await waiting)


async def test_a_stopped_inbox_leaves_no_connection_behind(rig: Rig) -> None:
    async with serving(rig.inbox()):
        assert await subscriptions(rig) == 1
    await eventually(lambda: no_subscriptions(rig))


async def subscriptions(rig: Rig) -> int:
    return len((await rig.connection.command("CLIENT", "LIST", "TYPE", "pubsub")).splitlines())


async def no_subscriptions(rig: Rig) -> bool:
    return await subscriptions(rig) == 0
