"""Tasks as HTTP answers, the same for every route that submits one."""

from typing import Any

from fastapi import Request, Response
from pydantic_core import to_json

from edgescale.config import Settings
from edgescale.errors import WaitExpired
from edgescale.gateway.documents import TASK_STATES, document
from edgescale.gateway.headers import Preferences
from edgescale.gateway.problems import note_ids, task_location
from edgescale.gateway.upstream import Ingestion, answer_timeout
from edgescale.gateway.waits import watched
from edgescale.status import task_failed
from edgescale.v1.ingestion_service_pb2 import GetTaskRequest
from edgescale.v1.task_pb2 import TASK_STATE_SUCCEEDED, Task

OK = 200
ACCEPTED = 202


def json_response(content: dict[str, Any], status: int = OK, headers: dict[str, str] | None = None) -> Response:
    """The content as JSON; numbers that JSON does not know become null."""
    return Response(to_json(content, inf_nan_mode="null"), status, headers, "application/json")


def task_document(task: Task) -> dict[str, Any]:
    """The task as a JSON object; only uploads have a file id."""
    shown = document(task)
    if not task.file_id:
        del shown["file_id"]
    return shown


def is_settled(task: Task) -> bool:
    """Whether the state is terminal: it never changes again, unless an operator replays the task's dead letter."""
    return task.state >= TASK_STATE_SUCCEEDED


async def get_task(ingestion: Ingestion, settings: Settings, request: Request, request_id: str, wait_ms: int) -> Task:
    """What is known of a task once it is settled, or once the wait is over.

    Raises:
        EdgeScaleError: ingestion's answer, or lack of one.
        Disconnected: the caller has gone.
    """
    message = GetTaskRequest(request_id=request_id)
    message.wait.FromMilliseconds(wait_ms)
    call = ingestion.unary.GetTask(message, timeout=answer_timeout(settings, wait_ms))
    return (await watched(call, request.receive)).task


def task_answer(request: Request, task: Task, prefer: Preferences) -> Response:
    """The answer to whoever submitted the task and waited for it.

    Raises:
        TaskFailed: it is settled, without a result.
        WaitExpired: it is not settled, and the caller does not take 202 for an answer.
    """
    note_ids(request, request_id=task.request_id, file_id=task.file_id)
    if not is_settled(task):
        if not prefer.respond_async:
            raise WaitExpired(task.request_id)
        headers = {"Location": task_location(task.request_id), "Preference-Applied": "respond-async"}
        return json_response(task_document(task), ACCEPTED, headers)
    if task.state != TASK_STATE_SUCCEEDED:
        state = TASK_STATES.get(task.state, str(task.state))
        raise task_failed(task.request_id, state=state, task_reason=task.error.reason, message=task.error.message)
    return json_response(task_document(task))
