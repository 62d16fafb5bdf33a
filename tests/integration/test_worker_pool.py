"""Handlers that work in other processes: children that die, hang, or outlive their worker."""

import asyncio
import os
import signal
import time

import psutil
import pytest

from edgescale.broker.inbox import Inbox
from edgescale.handlers.base import Context, Outcome
from edgescale.worker.pool import HandlerPool
from tests.parts import answer_with_attempt, ask, done, said, working
from tests.processes import alive, descendants, program
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
LONG_S = 600.0
HOLDER = f"""
import asyncio, os, time
from edgescale.worker.pool import HandlerPool

async def main():
    pool = HandlerPool(2)
    idle = await pool(os.getpid)
    busy = asyncio.ensure_future(pool(time.sleep, {LONG_S}))
    await asyncio.gather(pool(os.getpid), return_exceptions=True)
    print("children", flush=True)
    await busy

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_task_of_a_pool_child_that_is_killed_is_tried_again_and_the_others_go_on(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    pool = HandlerPool(1)

    async def act(payload: bytes, context: Context) -> Outcome:
        del payload
        if context.request_id == "big" and context.attempt == 1:
            await pool(time.sleep, LONG_S)
        child = await pool(os.getpid)
        return done(f"attempt {context.attempt} in {child}")

    child = await pool(os.getpid)
    try:
        async with working(server.url, act):
            big = asyncio.create_task(ask(rig, inbox, "big"))
            await eventually(lambda: _status(rig, "big"))
            small = asyncio.create_task(ask(rig, inbox, "small"))
            await eventually(lambda: _status(rig, "small"))
            os.kill(child, signal.SIGKILL)
            answers = [said(record) for record in await asyncio.gather(big, small)]
    finally:
        pool.close()
    assert [answer.partition(" in ")[0] for answer in answers] == ["attempt 2", "attempt 1"]
    assert all(answer.partition(" in ")[2] != str(child) for answer in answers)


async def _status(rig: Rig, request_id: str) -> bool:
    """Whether the task is in a worker's hands."""
    record = await rig.broker.lookup(request_id)
    return record is not None and await rig.broker.deliveries(record) > 0


async def test_a_pool_child_that_hangs_is_ended_with_its_attempt(server: Server, rig: Rig, inbox: Inbox) -> None:
    pool = HandlerPool(1)

    async def act(payload: bytes, context: Context) -> Outcome:
        if context.attempt == 1:
            await pool(time.sleep, LONG_S)
        await pool(os.getpid)
        return await answer_with_attempt(payload, context)

    child = await pool(os.getpid)
    try:
        async with working(server.url, act, handler_timeout_ms=1_000):
            record = await ask(rig, inbox, "r1")
        assert (record.state, record.attempts > 1) == ("succeeded", True)
        await eventually(lambda: not psutil.pid_exists(child))
    finally:
        pool.close()


async def test_the_children_of_a_killed_worker_end_idle_or_busy(shared_server: Server) -> None:
    del shared_server
    async with program("-c", HOLDER) as holder:
        await holder.line("children")
        children = descendants(holder.pid)
        assert len(children) >= 2
        holder.kill()
        await holder.process.wait()
        await eventually(lambda: not alive(children), timeout_s=10)
