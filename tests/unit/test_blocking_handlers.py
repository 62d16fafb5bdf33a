"""Handlers in threads: what they answer, and what becomes of those that nobody can stop."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from edgescale.handlers.base import Context, Outcome, Rejected
from edgescale.handlers.blocking import BlockingHandler
from edgescale.handlers.policy import Policy
from edgescale.telemetry.events import Event
from tests.parts import done
from tests.support import eventually

CONTEXT = Context("r1", "report", attempt=1, attempts_max=3, accepted_ms=0)


async def test_a_function_is_called_beside_the_loop_and_its_outcome_is_the_handlers() -> None:
    def function(payload: bytes, context: Context) -> Outcome:
        return done(f"{payload.decode()} {context.request_id} {threading.current_thread().name}")

    assert await BlockingHandler("report", function).handle(b"hello", CONTEXT) == done("hello r1 report r1")


async def test_the_loop_goes_on_while_a_function_waits() -> None:
    waits = threading.Event()

    def function(payload: bytes, context: Context) -> Outcome:
        del payload, context
        assert waits.wait(10)
        return Rejected("DONE", "")

    handling = asyncio.create_task(BlockingHandler("report", function).handle(b"", CONTEXT))
    await asyncio.sleep(0.01)
    waits.set()
    assert await handling == Rejected("DONE", "")


@pytest.mark.parametrize(
    ("raised", "expected"), [(KeyError("k"), KeyError), (SystemExit(3), RuntimeError), (StopIteration(), RuntimeError)]
)
async def test_what_a_function_raises_the_handler_raises_and_never_an_exit(
    raised: BaseException, expected: type[Exception]
) -> None:
    def function(payload: bytes, context: Context) -> Outcome:
        del payload, context
        raise raised

    with pytest.raises(expected) as told:
        async with asyncio.timeout(10):
            await BlockingHandler("report", function).handle(b"", CONTEXT)
    assert raised in {told.value, told.value.__cause__}


async def test_a_call_that_nobody_waits_for_any_more_is_abandoned_and_reported_until_its_thread_ends() -> None:
    begun, waits = threading.Event(), threading.Event()

    def function(payload: bytes, context: Context) -> Outcome:
        del payload, context
        begun.set()
        assert waits.wait(10)
        return done("too late")

    handler = BlockingHandler("report", function, policy=Policy(timeout_ms=20))
    with capture_logs() as logs:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await handler.handle(b"", CONTEXT)
        assert handler.abandoned == 1
        waits.set()
        await eventually(lambda: handler.abandoned == 0)
    assert begun.is_set()
    assert [line["event"] for line in logs] == [Event.THREAD_ABANDONED, Event.THREAD_ENDED]
    assert all(line["request_id"] == "r1" for line in logs)


def test_a_kind_has_a_lane_of_its_own_unless_it_names_one() -> None:
    def function(payload: bytes, context: Context) -> Outcome:
        raise NotImplementedError

    assert (BlockingHandler("report", function).lane, BlockingHandler("report", function, lane="slow").lane) == (
        "report",
        "slow",
    )
