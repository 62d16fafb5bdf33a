"""Workers whose tasks are cancelled: the handler is told, the slot is free, and nothing of it is stored."""

import asyncio

import pytest
from structlog.testing import capture_logs

from edgescale.broker.inbox import Inbox
from edgescale.handlers.base import Context, Outcome, Retry
from tests.parts import Deed, ask, working
from tests.servers import Server
from tests.support import Rig, eventually

# The script has tests of its own on every kind of server; here one is enough.
pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


class Told:
    """A handler's function that never comes to an end by itself, and notes that it was told to stop."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: list[str] = []

    async def __call__(self, payload: bytes, context: Context) -> Outcome:
        del payload
        self.begun.append(context.request_id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.told.append(context.request_id)
            raise
        raise AssertionError


async def test_the_handler_of_a_cancelled_task_is_told_and_the_next_task_runs_in_its_slot(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    act = Told()
    async with working(server.url, act, slots=1) as worker:
        cancelled = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: act.begun == ["r1"])
        following = asyncio.create_task(ask(rig, inbox, "r2"))
        await eventually(rig.backlog)
        assert (await rig.canceller.cancel("r1")).attempts == 1
        assert (await cancelled).state == "cancelled"
        await eventually(lambda: act.begun == ["r1", "r2"])
        assert act.told == ["r1"]
        await rig.canceller.cancel("r2")
        assert (await following).state == "cancelled"
        await eventually(lambda: len(worker.deliveries) == 0)
    assert act.told == ["r1", "r2"]
    assert (await rig.backlog(), await rig.pending()) == (0, [])


async def test_a_handler_is_told_soon_whatever_the_lease(server: Server, rig: Rig) -> None:
    act = Told()
    # A quarter of this lease would be longer than `eventually` waits.
    async with working(server.url, act, lease_ms=60_000):
        await rig.submit("r1")
        await eventually(lambda: act.begun == ["r1"])
        await rig.canceller.cancel("r1")
        await eventually(lambda: act.told == ["r1"])


async def test_what_a_handler_answers_after_the_cancellation_is_dropped(server: Server, rig: Rig) -> None:
    deed = Deed(held=True)
    with capture_logs() as lines:
        async with working(server.url, deed, lease_ms=60_000) as worker:
            await rig.submit("r1")
            await eventually(lambda: deed.running == 1)
            cancelled = await rig.canceller.cancel("r1")
            deed.gate.set()
            await eventually(lambda: len(worker.deliveries) == 0)
    assert await rig.broker.lookup("r1") == cancelled
    assert deed.ended == ["r1"]
    assert "task.superseded" in [line["event"] for line in lines]


async def test_a_task_that_fails_after_its_cancellation_is_not_tried_again(server: Server, rig: Rig) -> None:
    deed = Deed(held=True)

    async def act(payload: bytes, context: Context) -> Outcome:
        await deed(payload, context)
        return Retry("NOT_YET", "", delay_ms=0)

    async with working(server.url, act, lease_ms=60_000) as worker:
        await rig.submit("r1")
        await eventually(lambda: deed.running == 1)
        cancelled = await rig.canceller.cancel("r1")
        deed.gate.set()
        await eventually(lambda: len(worker.deliveries) == 0)
    assert await rig.broker.lookup("r1") == cancelled
    assert len(deed.begun) == 1


async def test_a_queued_task_that_is_cancelled_never_starts(server: Server, rig: Rig, inbox: Inbox) -> None:
    deed = Deed(held=True)
    async with working(server.url, deed, slots=1) as worker:
        await rig.submit("r1", "r2", "r3")
        await eventually(lambda: deed.running == 1)
        await rig.canceller.cancel("r2")
        deed.gate.set()
        await eventually(lambda: len(deed.ended) == 2)
        assert (await inbox.wait_for("r2", 1)).state == "cancelled"
        await eventually(lambda: len(worker.deliveries) == 0)
    assert deed.ended == ["r1", "r3"]


async def test_a_worker_that_drains_leaves_a_cancelled_task_alone(server: Server, rig: Rig) -> None:
    act = Told()
    async with working(server.url, act, lease_ms=60_000):
        await rig.submit("r1")
        await eventually(lambda: act.begun == ["r1"])
        cancelled = await rig.canceller.cancel("r1")
    assert act.told == ["r1"]
    assert await rig.broker.lookup("r1") == cancelled
    assert (await rig.backlog(), await rig.pending()) == (0, [])
