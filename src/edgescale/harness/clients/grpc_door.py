"""What clients do straight at an ingestion process, whatever carries their calls."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.duration_pb2 import Duration

from edgescale.config import CHUNK_BYTES_MAX
from edgescale.harness.clients.clients import FETCH_MARGIN_MS, Answer, Door, Stage, beat_of, content_of
from edgescale.harness.clients.schedules import schedule_of
from edgescale.harness.plan import UNCUT, Request
from edgescale.v1 import ingestion_service_pb2 as api
from edgescale.v1.file_pb2 import FileMetadata
from edgescale.v1.text_pb2 import TextInput


class GrpcDoor(Door):
    """Straight to an ingestion process.

    Args:
        stage: where the clients are.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def send(self, request: Request) -> Answer:
        """As `Door.send`."""
        answer: Answer = await getattr(self, f"_{request.action}")(request)
        return answer

    @abstractmethod
    async def _call(self, request: Request, method: str, message: object, *, timeout_s: float) -> Any:
        """The response of the request's door.

        Args:
            request: whose call it is.
            method: of the service.
            message: the request message, or the messages of an upload, which end early where it is cut.
            timeout_s: the call's deadline.

        Raises:
            EdgeScaleError: as services answer, or nobody does.
            TimeoutError: the deadline passed.
        """

    async def _within(self, request: Request, method: str, message: object, *, more_ms: int = 0) -> Any:
        return await self._call(request, method, message, timeout_s=(request.deadline_ms + more_ms) / 1000)

    async def _text(self, request: Request) -> Answer:
        message = api.AnalyzeTextRequest(
            input=TextInput(text=request.script),
            request_id=request.request_id,
            respond_async=request.respond_async,
            schedule=schedule_of(request, self._stage.clock_ms()),
            ordering_key=request.ordering_key,
        )
        return Answer.of((await self._within(request, "AnalyzeText", message)).task)

    async def _heartbeat(self, request: Request) -> Answer:
        message = api.SendHeartbeatRequest(heartbeat=beat_of(request), request_id=request.request_id)
        await self._within(request, "SendHeartbeat", message)
        return Answer("queued")

    async def _fetch(self, request: Request) -> Answer:
        wait = Duration()
        wait.FromMilliseconds(request.deadline_ms)
        message = api.GetTaskRequest(request_id=request.request_id, wait=wait)
        return Answer.of((await self._within(request, "GetTask", message, more_ms=FETCH_MARGIN_MS)).task)

    async def _cancel(self, request: Request) -> Answer:
        message = api.CancelTaskRequest(request_id=request.request_id)
        return Answer.of((await self._within(request, "CancelTask", message)).task)

    async def _file(self, request: Request) -> Answer:
        return Answer.of((await self._within(request, "UploadFile", self._messages(request))).task)

    async def _messages(self, request: Request) -> AsyncIterator[api.UploadFileRequest]:
        start = api.UploadFileStart(
            metadata=FileMetadata(name=f"{request.request_id}.bin", content_type="application/octet-stream"),
            request_id=request.request_id,
            respond_async=request.respond_async,
            explicit_end=True,
        )
        yield api.UploadFileRequest(start=start)
        content = content_of(request.request_id, request.size_bytes)
        if request.cut_after_bytes != UNCUT:
            content = content[: request.cut_after_bytes]
        for at in range(0, len(content), CHUNK_BYTES_MAX):
            await asyncio.sleep(request.pause_ms / 1000)
            yield api.UploadFileRequest(chunk=content[at : at + CHUNK_BYTES_MAX])
        # A sender that breaks off is gone: grpc.aio then ends the messages, as if all had come.
        if request.cut_after_bytes == UNCUT:
            yield api.UploadFileRequest(end=api.UploadFileEnd())
