"""A file on its way from the HTTP request to ingestion, 64 KiB at a time.

One write is awaited before the next piece is taken from the request, so the backpressure of the blob store reaches the
sender through both connections, and the memory of an upload does not depend on its size.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request
from grpc.aio import AioRpcError, StreamUnaryCall

from edgescale.calls import SentStatus, write_all
from edgescale.errors import NotServing
from edgescale.gateway.bodies import pieces, require_room, too_large
from edgescale.gateway.declarations import from_hex, raw_metadata, refuse_body_digests
from edgescale.gateway.multipart import OVERHEAD_BYTES_MAX, FileOpened, MultipartReader
from edgescale.gateway.upstream import Ingestion, translated
from edgescale.gateway.waits import until_gone
from edgescale.uploads.reslice import Reslicer
from edgescale.v1 import file_pb2
from edgescale.v1.ingestion_service_pb2 import UploadFileEnd, UploadFileRequest, UploadFileResponse, UploadFileStart
from edgescale.v1.task_pb2 import Task

# The declaration first, then bytes of the file in pieces of any size.
Parts = AsyncGenerator[file_pb2.FileMetadata | bytes, None]
Messages = AsyncGenerator[UploadFileRequest, None]
UploadCall = StreamUnaryCall[UploadFileRequest, UploadFileResponse]


async def raw_parts(request: Request, name: str | None, bytes_max: int) -> Parts:
    """A body that is the file.

    Raises:
        EdgeScaleError: a header is wrong, or the body is too large.
        Disconnected: the sender went away.
    """
    require_room(request.headers, bytes_max)
    yield raw_metadata(request.headers, name)
    async with aclosing(pieces(request.receive)) as arriving:
        async for piece in arriving:
            yield piece


async def form_parts(request: Request, name: str | None, bytes_max: int) -> Parts:
    """A multipart/form-data body that holds the file.

    Raises:
        EdgeScaleError: the form is wrong, or too large.
        Disconnected: the sender went away.
    """
    require_room(request.headers, bytes_max + OVERHEAD_BYTES_MAX)
    refuse_body_digests(request.headers)
    reader = MultipartReader(request.headers["content-type"])
    async with aclosing(pieces(request.receive)) as arriving:
        async for piece in arriving:
            for event in reader.feed(piece):
                yield _form_metadata(event, name) if isinstance(event, FileOpened) else event
    reader.close()


def _form_metadata(opened: FileOpened, name: str | None) -> file_pb2.FileMetadata:
    digest = opened.fields.get("sha256", "")
    return file_pb2.FileMetadata(
        name=opened.fields.get("name", opened.filename if name is None else name),
        content_type=opened.content_type,
        sha256=from_hex("sha256", digest) if digest else "",
    )


async def messages(parts: Parts, start: UploadFileStart, bytes_max: int) -> Messages:
    """The messages of an upload: its start, chunks of 64 KiB, the last of them shorter, and its end.

    Args:
        parts: of the request.
        start: what the request says beside the file.
        bytes_max: of the file.

    Raises:
        TooLarge: there are more than `bytes_max` bytes.
    """
    reslicer = Reslicer()
    room = bytes_max
    async with aclosing(parts):
        async for part in parts:
            if isinstance(part, file_pb2.FileMetadata):
                # The answer comes with the acceptance, so that a caller who goes on waiting has an id by then.
                start.MergeFrom(UploadFileStart(metadata=part, respond_async=True, explicit_end=True))
                yield UploadFileRequest(start=start)
                continue
            room -= len(part)
            if room < 0:
                raise too_large(bytes_max)
            for chunk in reslicer.feed(part):
                yield UploadFileRequest(chunk=chunk)
    if rest := reslicer.flush():
        yield UploadFileRequest(chunk=rest)
    yield UploadFileRequest(end=UploadFileEnd())


async def upload(
    ingestion: Ingestion,
    request: Request,
    outgoing: Messages,
    metadata: tuple[tuple[str, str], ...],
) -> Task:
    """Send the file; the task that will look at it.

    Raises:
        EdgeScaleError: ingestion's refusal, or what is wrong with the request.
        Disconnected: the sender went away; the call is cancelled, so that ingestion drops what it has.
        NotServing: the server stops and its grace period is over.
    """
    async with aclosing(outgoing):
        # Only a request that opens well costs ingestion a call.
        start = await anext(outgoing)
        call: UploadCall = ingestion.uploads.UploadFile(metadata=metadata)
        sent = SentStatus(call)
        pump = asyncio.create_task(_pump(call, start, outgoing, request))
        try:
            return (await call).task
        except AioRpcError as error:
            raise translated(await sent.of(error)) from error
        except asyncio.CancelledError:
            # The pump cancels the call when the request goes wrong; the server cancels this at the end of its grace.
            if pump.done() and not pump.cancelled() and (failure := pump.exception()):
                raise failure from None
            raise NotServing("this gateway is about to stop; send the file again") from None
        finally:
            call.cancel()
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)


async def _pump(call: UploadCall, start: UploadFileRequest, outgoing: Messages, request: Request) -> None:
    try:
        async with aclosing(_led_by(start, outgoing)) as all_messages:
            went_out = await write_all(call, all_messages)
        if went_out:
            await until_gone(request.receive)
    except Exception:
        call.cancel()
        raise


async def _led_by(start: UploadFileRequest, outgoing: Messages) -> Messages:
    yield start
    async for message in outgoing:
        yield message
