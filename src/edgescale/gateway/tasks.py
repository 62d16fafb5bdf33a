"""GET and DELETE /v1/tasks/{request_id}."""

from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response

from edgescale.config import Settings
from edgescale.errors import InvalidInput
from edgescale.gateway.answers import OK, get_task, json_response, task_document
from edgescale.gateway.headers import REQUEST_ID, REQUEST_ID_RULE
from edgescale.gateway.models import TaskDocument
from edgescale.gateway.openapi import responses
from edgescale.gateway.problems import note_ids
from edgescale.gateway.upstream import Ingestion, answer_timeout
from edgescale.gateway.waits import watched
from edgescale.v1.ingestion_service_pb2 import CancelTaskRequest

RequestId = Annotated[str, Path(description="As given in Idempotency-Key, or as answered.")]
Wait = Annotated[
    float,
    Query(ge=0, allow_inf_nan=False, description="Seconds to wait for a terminal state; the server has a limit."),
]


class TaskRoutes:
    """Tells what is known of tasks, and cancels them."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._settings = settings
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the routes, with their documentation."""
        app.add_api_route(
            "/v1/tasks/{request_id}",
            self.get,
            methods=["GET"],
            tags=["tasks"],
            summary="Ask for a task",
            responses=responses(TaskDocument, (OK,), 404, 422, 429, 503),
        )
        app.add_api_route(
            "/v1/tasks/{request_id}",
            self.cancel,
            methods=["DELETE"],
            tags=["tasks"],
            summary="Cancel a task",
            responses=responses(TaskDocument, (OK,), 404, 422, 429, 503),
        )

    async def get(self, request: Request, request_id: RequestId, wait: Wait = 0) -> Response:
        """The task in whatever state it is, once it is settled or the wait is over."""
        _note(request, request_id)
        wait_ms = int(min(wait * 1000, self._settings.wait_max_ms))
        task = await get_task(self._ingestion, self._settings, request, request_id, wait_ms)
        return json_response(task_document(task))

    async def cancel(self, request: Request, request_id: RequestId) -> Response:
        """The task as it stands then: `cancelled`, or as it had ended before. A queued task never starts."""
        _note(request, request_id)
        call = self._ingestion.unary.CancelTask(
            CancelTaskRequest(request_id=request_id), timeout=answer_timeout(self._settings)
        )
        return json_response(task_document((await watched(call, request.receive)).task))


def _note(request: Request, request_id: str) -> None:
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidInput("request_id", REQUEST_ID_RULE)
    note_ids(request, request_id=request_id)
