"""Between the client's methods and the wire: requests are built, files are sent, errors are revived."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import grpc
from grpc import aio

from edgescale.calls import SentStatus, write_all
from edgescale.config import CHUNK_BYTES_MAX
from edgescale.errors import InvalidInput, TooLarge, Unavailable
from edgescale.status import DETAILS_KEY, from_status
from edgescale.v1.ingestion_service_pb2 import UploadFileEnd, UploadFileRequest, UploadFileResponse, UploadFileStart

UploadCall = aio.StreamUnaryCall[UploadFileRequest, UploadFileResponse]


@contextmanager
def built(field: str) -> Iterator[None]:
    """A block in which a request is put together from what the caller gave.

    Raises:
        InvalidInput: a value is of the right type, but no message can carry it: a number out of range, half a
            surrogate pair.
    """
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, f"cannot be sent: {error}") from error


@contextmanager
def translated() -> Iterator[None]:
    """Turns gRPC's error into one of the tree, the cause kept."""
    try:
        yield
    except aio.AioRpcError as error:
        trailing = dict(error.trailing_metadata() or ())
        details = trailing.get(DETAILS_KEY)
        code: grpc.StatusCode = error.code()
        message = error.details() or ""
        if not isinstance(details, bytes):
            _raise_own(code, message, error)
        raise from_status(code.name, message, details if isinstance(details, bytes) else None) from error


def _raise_own(code: grpc.StatusCode, message: str, error: aio.AioRpcError) -> None:
    """What the gRPC library itself says where no server answered."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise Unavailable("no answer came in time; whether the request was accepted is unknown") from error
    # RESOURCE_EXHAUSTED, and yet the same request can never succeed.
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
        raise TooLarge("request", "is larger than a message may be") from error


async def upload(call: UploadCall, start: UploadFileStart, chunks: AsyncIterator[bytes]) -> UploadFileResponse:
    """Send a file over a call that was just made, no faster than it is taken.

    The chunks are closed at the end, also when the server refuses while they have none to give.

    Raises:
        EdgeScaleError: the server's refusal.
        Exception: whatever the chunks raised; the call is cancelled, so that the server keeps nothing.
    """
    sent = SentStatus(call)
    pump = asyncio.create_task(_pump(call, start, chunks))
    try:
        with translated():
            try:
                return await call
            except aio.AioRpcError as error:
                raise await sent.of(error) from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and not task.cancelling() and pump.done() and (failure := pump.exception()) is not None:
            raise failure from None
        raise
    finally:
        call.cancel()
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def _pump(call: UploadCall, start: UploadFileStart, chunks: AsyncIterator[bytes]) -> None:
    try:
        async with aclosing(_messages(start, chunks)) as messages:
            await write_all(call, messages)
    except Exception:
        call.cancel()
        raise
    finally:
        if (close := getattr(chunks, "aclose", None)) is not None:
            await close()


async def _messages(start: UploadFileStart, chunks: AsyncIterator[bytes]) -> AsyncGenerator[UploadFileRequest, None]:
    yield UploadFileRequest(start=start)
    async for chunk in chunks:
        yield UploadFileRequest(chunk=chunk)
    yield UploadFileRequest(end=UploadFileEnd())


async def read(path: Path) -> AsyncIterator[bytes]:
    """The bytes of a local file, in chunks.

    Raises:
        OSError: it cannot be read.
    """
    # Reads of 64 KiB from a local file take microseconds; a thread each would cost more than it frees.
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES_MAX):
            yield chunk
