"""What a streaming call really ended with.

When a server ends a client stream early, a write under way fails, and grpc.aio then puts an INTERNAL of its own in
place of the status that the server sent; whoever awaits the call is told of a defect instead of, say, a full lane.
Source: grpc.aio's `_call.py`, where a failed write calls `set_internal_error`; on one busy core about every third early
refusal was lost.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from grpc.aio import AioRpcError, Call

CORE_ERROR = "Internal error from Core"
STATUS_WAIT_S = 1.0


class SentStatus:
    """Remembers the status that the server sent; make one before the call's first write.

    Args:
        call: a streaming call that has just been made.
    """

    def __init__(self, call: Call) -> None:
        self._sent: AioRpcError | None = None
        self._came = asyncio.Event()
        # Called each time that the status is set, before anything else can set it again.
        call.add_done_callback(self._note)

    async def of(self, error: AioRpcError) -> AioRpcError:
        """The server's own status where there was one, else the error as it is."""
        if self._sent is None and error.details() == CORE_ERROR:
            # The write may have failed before the status was read.
            with suppress(TimeoutError):
                async with asyncio.timeout(STATUS_WAIT_S):
                    await self._came.wait()
        return self._sent or error

    def _note(self, call: Call) -> None:
        details = _at_once(call.details())
        if details != CORE_ERROR:
            self._sent = AioRpcError(
                _at_once(call.code()),
                _at_once(call.initial_metadata()),
                _at_once(call.trailing_metadata()),
                details=details,
            )
            self._came.set()


def _at_once(getter: Coroutine[Any, Any, Any]) -> Any:
    """The value of a coroutine that has nothing to wait for: the call is done."""
    try:
        getter.send(None)
    except StopIteration as end:
        return end.value
    finally:
        getter.close()
    raise AssertionError("the status of a call that is done was not there")
