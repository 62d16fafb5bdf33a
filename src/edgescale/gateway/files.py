"""POST /v1/files."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from pydantic import AwareDatetime

from edgescale.config import Settings
from edgescale.errors import NotFound, Overloaded, Unavailable, UnsupportedMediaType
from edgescale.gateway.answers import ACCEPTED, OK, get_task, is_settled, task_answer
from edgescale.gateway.headers import Preferences, idempotency_key, ordering_key, require_plain_coding, trace_metadata
from edgescale.gateway.models import TaskDocument
from edgescale.gateway.openapi import FILE_BODY, FILE_HEADERS, responses
from edgescale.gateway.problems import note_ids
from edgescale.gateway.schedules import EXPIRE_TIME, NOT_BEFORE, schedule_of
from edgescale.gateway.uploads import Parts, form_parts, messages, raw_parts, upload
from edgescale.gateway.upstream import Ingestion
from edgescale.v1.ingestion_service_pb2 import UploadFileStart
from edgescale.v1.task_pb2 import Task

NotBefore = Annotated[AwareDatetime | None, Query(description=NOT_BEFORE)]
ExpireTime = Annotated[AwareDatetime | None, Query(description=EXPIRE_TIME)]
Name = Annotated[str | None, Query(description="The file's name; goes before the one in Content-Disposition.")]


class FileRoutes:
    """Takes files in and answers with what was found in them."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._settings = settings
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the route, with its documentation."""
        app.add_api_route(
            "/v1/files",
            self.receive,
            methods=["POST"],
            tags=["files"],
            summary="Upload a file",
            responses=responses(TaskDocument, (OK, ACCEPTED), 408, 409, 413, 415, 422, 429, 503, 504),
            openapi_extra=FILE_BODY | FILE_HEADERS,
        )

    async def receive(
        self, request: Request, name: Name = None, not_before: NotBefore = None, expire_time: ExpireTime = None
    ) -> Response:
        """The body is the file, or a form that holds it. Either is passed on while it arrives.

        In a form, the fields `sha256` and `name` are optional and come before the part `file`, whose bytes go straight
        to the store.
        """
        prefer = Preferences.of(request.headers, self._settings)
        key = idempotency_key(request.headers)
        note_ids(request, request_id=key)
        start = UploadFileStart(request_id=key, ordering_key=ordering_key(request.headers))
        start.schedule.CopyFrom(schedule_of(not_before, expire_time))
        outgoing = messages(self._parts(request, name), start, self._settings.upload_bytes_max)
        task = await upload(self._ingestion, request, outgoing, trace_metadata(request.headers))
        note_ids(request, request_id=task.request_id, file_id=task.file_id)
        if prefer.wait_ms and not is_settled(task):
            task = await self._awaited(request, task, prefer.wait_ms)
        return task_answer(request, task, prefer)

    async def _awaited(self, request: Request, task: Task, wait_ms: int) -> Task:
        """The task once it is settled, or as it was accepted."""
        try:
            return await get_task(self._ingestion, self._settings, request, task.request_id, wait_ms)
        except Overloaded:
            # Who is refused a place to wait in is not refused: the task was accepted.
            return task
        except NotFound as lost:
            raise Unavailable("the file's task was lost before it was settled; send the file again") from lost

    def _parts(self, request: Request, name: str | None) -> Parts:
        require_plain_coding(request.headers)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == "multipart/form-data":
            return form_parts(request, name, self._settings.upload_bytes_max)
        if media_type.startswith("multipart/"):
            raise UnsupportedMediaType("Content-Type", "the only multipart type read here is multipart/form-data")
        return raw_parts(request, name, self._settings.upload_bytes_max)
