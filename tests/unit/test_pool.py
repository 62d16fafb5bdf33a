"""The pool of processes for handlers: what a child that dies, raises or hangs does to its caller and to the others."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from edgescale.errors import Unavailable
from edgescale.worker.pool import HandlerPool
from tests.support import eventually

LONG_S = 60.0


@pytest.fixture
async def pool() -> AsyncIterator[HandlerPool]:
    pool = HandlerPool(1)
    yield pool
    pool.close()


async def test_the_call_runs_in_another_process_which_is_kept_for_the_next(pool: HandlerPool) -> None:
    first, second = await pool(os.getpid), await pool(os.getpid)
    assert first == second != os.getpid()


async def test_what_the_function_raises_reaches_the_caller_and_the_child_is_kept(pool: HandlerPool) -> None:
    child = await pool(os.getpid)
    with pytest.raises(FileNotFoundError):
        await pool(os.stat, "/nowhere")
    assert await pool(os.getpid) == child


async def test_a_child_that_dies_fails_its_own_call_only(pool: HandlerPool) -> None:
    child = await pool(os.getpid)
    held = asyncio.create_task(pool(time.sleep, LONG_S))
    queued = asyncio.create_task(pool(os.getpid))
    await asyncio.sleep(0)
    with capture_logs() as lines:
        os.kill(child, signal.SIGKILL)
        with pytest.raises(Unavailable):
            await held
        assert await queued not in {child, os.getpid()}
    assert [line["event"] for line in lines] == ["pool.replaced"]


async def test_the_neighbour_of_a_child_that_dies_goes_on() -> None:
    pool = HandlerPool(2)
    try:
        dying = asyncio.create_task(pool(os._exit, 3))
        neighbour = asyncio.create_task(pool(time.sleep, 0.3))
        with pytest.raises(Unavailable):
            await dying
        await neighbour
    finally:
        pool.close()


async def test_a_call_that_is_given_up_does_not_keep_its_child_from_the_next(pool: HandlerPool) -> None:
    child = await pool(os.getpid)
    hung = asyncio.create_task(pool(time.sleep, LONG_S))
    await asyncio.sleep(0)
    hung.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hung
    assert await asyncio.wait_for(pool(os.getpid), LONG_S / 2) != child
    await eventually(lambda: not psutil.pid_exists(child))


async def test_never_are_there_more_children_than_were_asked_for() -> None:
    pool = HandlerPool(2)
    try:
        assert len(set(await asyncio.gather(*(pool(os.getpid) for _ in range(8))))) <= 2
    finally:
        pool.close()


async def test_closing_ends_the_children_at_once_even_busy_ones(pool: HandlerPool) -> None:
    child = await pool(os.getpid)
    busy = asyncio.create_task(pool(time.sleep, LONG_S))
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(Unavailable):
        await busy
    await eventually(lambda: not psutil.pid_exists(child))


async def test_keywords_are_refused_before_a_process_is_started(pool: HandlerPool) -> None:
    with pytest.raises(TypeError, match="positional"):
        await pool(Path, path="x")
