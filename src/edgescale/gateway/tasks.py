"""GET /v1/tasks/{request_id}."""

from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response

from edgescale.config import Settings
from edgescale.errors import InvalidInput
from edgescale.gateway.answers import OK, get_task, json_response, task_document
from edgescale.gateway.headers import REQUEST_ID, REQUEST_ID_RULE
from edgescale.gateway.models import TaskDocument
from edgescale.gateway.openapi import responses
from edgescale.gateway.problems import note_ids
from edgescale.gateway.upstream import Ingestion

RequestId = Annotated[str, Path(description="As given in Idempotency-Key, or as answered.")]
Wait = Annotated[
    float,
    Query(ge=0, allow_inf_nan=False, description="Seconds to wait for a terminal state; the server has a limit."),
]


class TaskRoutes:
    """Tells what is known of tasks."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._settings = settings
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the route, with its documentation."""
        app.add_api_route(
            "/v1/tasks/{request_id}",
            self.get,
            methods=["GET"],
            tags=["tasks"],
            summary="Ask for a task",
            responses=responses(TaskDocument, (OK,), 404, 422, 429, 503),
        )

    async def get(self, request: Request, request_id: RequestId, wait: Wait = 0) -> Response:
        """The task in whatever state it is, once it is settled or the wait is over."""
        if not REQUEST_ID.fullmatch(request_id):
            raise InvalidInput("request_id", REQUEST_ID_RULE)
        note_ids(request, request_id=request_id)
        wait_ms = int(min(wait * 1000, self._settings.wait_max_ms))
        task = await get_task(self._ingestion, self._settings, request, request_id, wait_ms)
        return json_response(task_document(task))
