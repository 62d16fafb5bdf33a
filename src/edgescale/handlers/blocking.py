"""Handlers that are written without `await`, and wait: each call has a thread of its own.

For what computes a process is the place (see `base.Offload`): a thread shares the interpreter with the loop.
"""

import asyncio
import contextvars
import threading  # noqa: TID251 - this is where handlers get theirs
from collections.abc import Callable

from edgescale.handlers.base import Context, Outcome
from edgescale.handlers.policy import Policy
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

Function = Callable[[bytes, Context], Outcome]


class BlockingHandler:
    """Calls a function in a thread. It is an `edgescale.handlers.base.Handler`.

    Nothing can stop a thread. A call that is cancelled, or takes longer than the policy allows, is abandoned: its task
    is tried again or ends, its slot is free, and what the thread comes to is dropped. The log tells when a call is
    abandoned, and when its thread ends after all. A worker does not wait for abandoned threads when it stops.

    Args:
        kind: the name that envelopes carry.
        function: does the work; it may see the same request id again, and even while an abandoned call still runs.
        lane: whose stream carries the kind; of the kind's name when empty.
        policy: how tasks are tried.

    Attributes:
        abandoned: threads that run on although nobody waits for them.
    """

    def __init__(self, kind: str, function: Function, *, lane: str = "", policy: Policy | None = None) -> None:
        self.kind = kind
        self.lane = lane or kind
        self.policy = policy or Policy()
        self.abandoned = 0
        self._function = function
        self._log = get_log()

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """Call the function, and wait for what it answers or raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        bound = contextvars.copy_context()

        def call() -> None:
            try:
                outcome = bound.run(self._function, payload, context)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits is to have it
                raised = _as_error(error)
                tell(lambda: answer.set_exception(raised))
            else:
                tell(lambda: answer.set_result(outcome))

        def tell(end: Callable[[], None]) -> None:
            try:
                loop.call_soon_threadsafe(self._ended, answer, end, context)
            except RuntimeError:
                # The worker has stopped, and its loop with it.
                return

        threading.Thread(target=call, name=f"{self.kind} {context.request_id}", daemon=True).start()
        try:
            return await answer
        except asyncio.CancelledError:
            self._abandon(answer, context)
            raise

    def _abandon(self, answer: asyncio.Future[Outcome], context: Context) -> None:
        if not answer.done() or answer.cancelled():
            self.abandoned += 1
            self._log.warning(Event.THREAD_ABANDONED, kind=self.kind, request_id=context.request_id)

    def _ended(self, answer: asyncio.Future[Outcome], end: Callable[[], None], context: Context) -> None:
        if answer.done():
            self.abandoned -= 1
            self._log.info(Event.THREAD_ENDED, kind=self.kind, request_id=context.request_id)
        else:
            end()


def _as_error(raised: BaseException) -> Exception:
    """What a coroutine may raise: an exit would end the worker, and the end of an iterator no future can hold."""
    if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
        return raised
    error = RuntimeError(f"the function raised {type(raised).__name__}")
    error.__cause__ = raised
    return error
