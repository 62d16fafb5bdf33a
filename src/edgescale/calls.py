"""Client streams: their messages are written, and what they really ended with is told.

When a server ends a client stream early, a write under way fails, and grpc.aio then puts an INTERNAL of its own in
place of the status that the server sent; whoever awaits the call is told of a defect instead of, say, a full lane.
Source: grpc.aio's `_call.py`, where a failed write calls `set_internal_error`; on one busy core about every third early
refusal was lost. Messages are written here and not given to grpc.aio as an iterator, for then a failure to close the
stream makes it cancel the call, and whoever awaits that sees a cancellation that nobody asked for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from grpc.aio import AioRpcError, Call, InternalError, StreamUnaryCall

Message = TypeVar("Message")
CORE_ERROR = "Internal error from Core"
STATUS_WAIT_S = 1.0


async def write_all(call: StreamUnaryCall[Message, Any], messages: AsyncIterator[Message]) -> bool:
    """Write all messages, each when the one before was taken, and close the stream.

    Returns:
        Whether all went out. Otherwise the call has ended, and it alone knows why: what a write says of that is
        arbitrary.

    Raises:
        Exception: whatever the messages raised.
    """
    async for message in messages:
        if not await _went_out(call.write(message)):
            return False
    return await _went_out(call.done_writing())


async def _went_out(writing: Awaitable[None]) -> bool:
    try:
        await writing
    except (AioRpcError, InternalError, asyncio.InvalidStateError):
        return False
    return True


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
