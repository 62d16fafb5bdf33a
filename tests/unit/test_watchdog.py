"""The watchdog: a handler that blocks the loop is named while it does, and nothing else is."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from structlog.testing import capture_logs

from edgescale.telemetry.events import Event
from edgescale.worker.watchdog import Watchdog

BLOCKED_S = 0.02


def blocked(until: Callable[[], object]) -> None:
    """Holds the loop up, until something has happened in another thread."""
    waiting = threading.Event()
    for _ in range(1_000):
        if until():
            return
        waiting.wait(0.01)


def told(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] == Event.LOOP_BLOCKED]


async def test_who_blocks_the_loop_is_named_while_it_does_and_once() -> None:
    async def handler() -> None:
        blocked(lambda: told(logs))

    with capture_logs() as logs, Watchdog(blocked_s=BLOCKED_S).watching():
        await asyncio.create_task(handler(), name="text r1")
    [line] = told(logs)
    assert line["task"] == "text r1"
    assert "blocked (test_watchdog.py:" in line["at"]


async def test_each_time_that_it_blocks_is_told() -> None:
    with capture_logs() as logs, Watchdog(blocked_s=BLOCKED_S).watching():
        for count in (1, 2):
            blocked(lambda count=count: len(told(logs)) == count)  # type: ignore[misc] # as a default it is bound now
            # The loop has to come round to its next tick in between.
            await asyncio.sleep(BLOCKED_S)
    assert len(told(logs)) == 2


async def test_the_thread_ends_with_the_block() -> None:
    with Watchdog().watching():
        assert any(thread.name == "watchdog" for thread in threading.enumerate())
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
