"""Workers that are killed or paused: their tasks are finished by others, once, and within the promised time."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgescale.broker.inbox import Inbox
from tests import killable_worker
from tests.killable_worker import AFTER_SETTLE, DURING, HOLD, HOLD_SETTLE, STEPS
from tests.parts import LEASE_MS, SWEEP_MS, Deed, answer_with_attempt, ask, said, working
from tests.processes import Running, program
from tests.servers import Server
from tests.support import Rig, eventually

# Processes are what is tested here; one kind of server is enough.
pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
# Lease and sweep, and the second that the promise adds.
TAKEN_OVER_WITHIN_S = (LEASE_MS + SWEEP_MS) / 1000 + 1


@asynccontextmanager
async def killable(step: str, url: str, **changes: Any) -> AsyncIterator[Running]:
    """A worker process that serves, and dies at the named step."""
    settings: dict[str, Any] = {"lease_ms": LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": 200, **changes}
    async with program(killable_worker.__file__, step, redis_url=url, **settings) as running:
        await running.address()
        yield running


@pytest.mark.parametrize("step", STEPS)
async def test_the_task_of_a_worker_killed_at_any_step_is_finished_by_another(
    server: Server, rig: Rig, inbox: Inbox, step: str
) -> None:
    loop, second = asyncio.get_running_loop(), Deed()
    async with killable(step, server.url) as doomed:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        assert await doomed.status() == -signal.SIGKILL
        died = loop.time()
        async with working(server.url, second):
            record = await answer
            waited_s = loop.time() - died
            await eventually(lambda: _empty(rig))
    attempts = 1 if step == AFTER_SETTLE else 2
    assert (record.state, record.attempts, said(record)) == ("succeeded", attempts, f"r1 by attempt {attempts}")
    assert [context.attempt for context in second.begun] == ([] if step == AFTER_SETTLE else [2])
    assert waited_s < TAKEN_OVER_WITHIN_S
    assert await rig.pending() == []
    assert await ask(rig, inbox, "r1") == record


async def _empty(rig: Rig) -> bool:
    return await rig.backlog() == 0


async def test_a_task_that_kills_its_workers_is_dead_lettered_and_its_waiter_told(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    survivor = Deed()
    answer = asyncio.create_task(ask(rig, inbox, "r1"))
    for _ in range(2):
        async with killable(DURING, server.url, attempts_max=2) as doomed:
            assert await doomed.status() == -signal.SIGKILL
    async with working(server.url, survivor, attempts_max=2):
        record = await answer
    assert (record.state, record.reason) == ("dead_lettered", "ATTEMPTS_EXHAUSTED")
    assert record.message == "2 deliveries ended without an outcome"
    assert survivor.begun == []
    assert [letter[b"request_id"] for letter in await rig.dead_letters()] == [b"r1"]


async def test_a_worker_paused_past_its_lease_settles_nothing_when_it_wakes(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    await rig.connection.command("SET", HOLD_SETTLE, 1)
    async with killable("never", server.url) as zombie:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await zombie.line("settling r1")
        zombie.signal(signal.SIGSTOP)
        async with working(server.url, answer_with_attempt):
            record = await answer
            assert said(record) == "r1 by attempt 2"
            await rig.connection.command("DEL", HOLD_SETTLE)
            zombie.signal(signal.SIGCONT)
            assert await zombie.line("settle ") == "settle superseded"
    assert await ask(rig, inbox, "r1") == record
    assert await rig.backlog() == 0


async def test_a_worker_that_wakes_while_another_works_on_its_task_leaves_it_alone(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    await rig.connection.command("SET", HOLD_SETTLE, 1)
    second = Deed(held=True)
    async with killable("never", server.url) as zombie:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await zombie.line("settling r1")
        zombie.signal(signal.SIGSTOP)
        async with working(server.url, second):
            await eventually(lambda: second.running == 1)
            await rig.connection.command("DEL", HOLD_SETTLE)
            zombie.signal(signal.SIGCONT)
            assert await zombie.line("settle ") == "settle lost"
            second.gate.set()
            assert said(await answer) == "r1 by attempt 2"


async def test_the_handler_of_a_worker_that_lost_its_lease_is_stopped_when_it_wakes(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    await rig.connection.command("SET", HOLD, 1, "EX", 600)
    async with killable("never", server.url) as zombie:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await zombie.line("begun r1 1")
        zombie.signal(signal.SIGSTOP)
        async with working(server.url, answer_with_attempt):
            assert said(await answer) == "r1 by attempt 2"
            zombie.signal(signal.SIGCONT)
            await zombie.line("stopped r1")


async def test_a_worker_told_to_end_hands_its_task_to_another_at_once(server: Server, rig: Rig, inbox: Inbox) -> None:
    await rig.connection.command("SET", HOLD, 1, "EX", 600)
    answer = asyncio.create_task(ask(rig, inbox, "r1"))
    async with killable("never", server.url, lease_ms=60_000, drain_grace_ms=100) as leaving:
        await leaving.line("begun r1 1")
        leaving.terminate()
        assert await leaving.status() == 0
    async with working(server.url, answer_with_attempt, lease_ms=60_000):
        record = await answer
    # A hand-back counts as no attempt.
    assert (said(record), record.attempts) == ("r1 by attempt 1", 1)
