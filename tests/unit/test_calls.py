"""The status that a server sent reaches the caller, whatever happens to a write that was under way."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any, cast

import pytest
from grpc import StatusCode, aio

from edgescale.calls import write_all
from edgescale.client import Client
from edgescale.client.wire import upload
from edgescale.errors import LaneFull, Unavailable
from edgescale.status import DETAILS_KEY, to_status
from edgescale.v1.ingestion_service_pb2 import UploadFileRequest, UploadFileResponse, UploadFileStart
from edgescale.v1.ingestion_service_pb2_grpc import (
    IngestionServiceServicer,
    add_IngestionServiceServicer_to_server,
)

REFUSALS = 200
CHUNKS_TAKEN = 10


class Refusing(IngestionServiceServicer):
    """Takes a few chunks, then says that the lane is full."""

    async def UploadFile(  # noqa: N802 - named by the contract
        self, request_iterator: AsyncIterator[UploadFileRequest], context: aio.ServicerContext[object, object]
    ) -> UploadFileResponse:
        for _ in range(CHUNKS_TAKEN):
            await anext(request_iterator)
        details = to_status(LaneFull("file", cap=7, retry_after_ms=250)).SerializeToString()
        await context.abort(StatusCode.RESOURCE_EXHAUSTED, "full", ((DETAILS_KEY, details),))
        raise AssertionError


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def test_an_early_refusal_is_never_lost_to_a_write_under_way() -> None:
    server = aio.server()
    add_IngestionServiceServicer_to_server(Refusing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen: list[Exception] = []

    async with Client(f"127.0.0.1:{port}") as client:
        for _ in range(REFUSALS):
            try:
                await client.upload_file(endless(), name="endless")
            except Exception as error:  # noqa: BLE001 - the error is what is looked at
                seen.append(error)
    await server.stop(0)

    assert [type(error) for error in seen] == [LaneFull] * REFUSALS
    assert {(error.cap, error.retry_after_ms) for error in seen if isinstance(error, LaneFull)} == {(7, 250)}


class Written:
    """A call that takes some messages and then fails to, or to be closed.

    Attributes:
        messages: that were taken.
    """

    def __init__(self, error: Exception | None = None, *, takes: int = 9) -> None:
        self.messages: list[str] = []
        self._error = error
        self._takes = takes

    async def write(self, message: str) -> None:
        if len(self.messages) == self._takes and self._error is not None:
            raise self._error
        self.messages.append(message)

    async def done_writing(self) -> None:
        if self._error is not None:
            raise self._error


async def said(*messages: str, error: Exception | None = None) -> AsyncIterator[str]:
    for message in messages:
        yield message
    if error is not None:
        raise error


async def test_messages_are_written_in_order_until_the_stream_is_closed() -> None:
    call = Written()

    assert await write_all(cast("Any", call), said("a", "b"))
    assert call.messages == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        asyncio.InvalidStateError("RPC already finished"),
        aio.InternalError("SendCloseFromClient"),
        aio.AioRpcError(StatusCode.INTERNAL, aio.Metadata(), aio.Metadata()),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("takes", [1, 9])
async def test_a_call_that_has_ended_takes_no_more_and_says_no_more(error: Exception, takes: int) -> None:
    call = Written(error, takes=takes)

    assert not await write_all(cast("Any", call), said("a", "b"))
    assert call.messages == ["a", "b"][:takes]


async def test_what_is_wrong_with_the_messages_is_told() -> None:
    wrong = asyncio.InvalidStateError("of whoever makes them")
    with pytest.raises(asyncio.InvalidStateError, match="of whoever makes them"):
        await write_all(cast("Any", Written()), said("a", error=wrong))


class Expiring(Written):
    """A call whose deadline comes as its stream is closed; it is cancelled by whoever asks for that, as grpc.aio's."""

    def __init__(self) -> None:
        super().__init__(aio.InternalError("SendCloseFromClient"))
        self._closing = asyncio.Event()
        self._cancelled = False

    def add_done_callback(self, callback: object) -> None:
        del callback

    def cancel(self) -> bool:
        self._cancelled = True
        return True

    async def done_writing(self) -> None:
        self._closing.set()
        await super().done_writing()

    def __await__(self) -> Generator[Any, None, None]:
        return self._ended().__await__()

    async def _ended(self) -> None:
        await self._closing.wait()
        # Whoever failed to close it has had time to do something about that.
        await asyncio.sleep(0.01)
        if self._cancelled:
            raise asyncio.CancelledError
        raise aio.AioRpcError(StatusCode.DEADLINE_EXCEEDED, aio.Metadata(), aio.Metadata())


async def test_a_deadline_that_comes_as_the_stream_is_closed_is_told_like_any_other() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(Unavailable, match="no answer came in time"):
        await upload(cast("Any", Expiring()), UploadFileStart(), chunks())
