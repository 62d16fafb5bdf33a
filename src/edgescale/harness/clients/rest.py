"""What clients do through a gateway, whatever carries HTTP, told as `clients.py` tells it of gRPC."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value
from google.rpc import error_details_pb2, status_pb2

from edgescale.config import CHUNK_BYTES_MAX
from edgescale.errors import EdgeScaleError, InternalError
from edgescale.harness.clients.clients import FETCH_MARGIN_MS, Answer, Door, Stage, beat_of, content_of
from edgescale.harness.clients.http_call import HttpAnswer, HttpCall
from edgescale.harness.clients.schedules import schedule_of
from edgescale.harness.plan import UNCUT, Request
from edgescale.harness.recording.recorder import result_digest
from edgescale.status import DOMAIN, from_status
from edgescale.v1.task_pb2 import Schedule, TaskResult

JSON = "application/json"
SUCCESS_MAX = 299
# The caller asks the gateway to answer so long before it stops listening itself.
MARGIN_S = 0.1
# Statuses for which HTTP itself knows a reason, and the nearest gRPC status.
CODES = {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
RESULTS = {"heartbeat": "heartbeat_receipt", "text": "text_analysis", "file": "file_report"}


async def submit_text(
    call: HttpCall,
    text: str,
    *,
    request_id: str,
    deadline_s: float,
    respond_async: bool = False,
    schedule: Schedule | None = None,
    ordering_key: str = "",
) -> Answer:
    """Have a text analysed.

    Raises:
        EdgeScaleError: what the problem document says, or `Unavailable` where there was no answer.
        TimeoutError: the deadline passed.
    """
    headers = {"content-type": JSON, "idempotency-key": request_id, "prefer": _prefer(deadline_s, respond_async)}
    times = MessageToDict(schedule or Schedule(), preserving_proto_field_name=True)
    order = {"ordering_key": ordering_key} if ordering_key else {}
    body = [json.dumps({"text": text, **times, **order}).encode()]
    answer = await call("POST", "/v1/text-analyses", headers, body, timeout_s=deadline_s)
    return _task(answer)


async def send_heartbeat(
    call: HttpCall,
    beat: Mapping[str, Any],
    *,
    request_id: str,
    deadline_s: float,
) -> Answer:
    """Send a sign of life; all that is known of it then is that it is queued.

    Args:
        call: carries it.
        beat: the members of the request's JSON object.
        request_id: of the task.
        deadline_s: how long to listen.

    Raises:
        EdgeScaleError, TimeoutError: as `submit_text`.
    """
    headers = {"content-type": JSON, "idempotency-key": request_id}
    body = [json.dumps(beat).encode()]
    answer = await call("POST", "/v1/heartbeats", headers, body, timeout_s=deadline_s)
    _document(answer)
    return Answer("queued")


async def upload_file(
    call: HttpCall,
    content: bytes,
    *,
    request_id: str,
    name: str,
    deadline_s: float,
    respond_async: bool = False,
    cut_after_bytes: int | None = None,
    declare_size: bool = False,
) -> Answer:
    """Send a file as a raw body, in pieces; without its size, only its end tells that it is whole.

    Raises:
        EdgeScaleError, TimeoutError: as `submit_text`; the latter also where it was cut.
    """
    headers = {
        "content-type": "application/octet-stream",
        "idempotency-key": request_id,
        "prefer": _prefer(deadline_s, respond_async),
    }
    if declare_size:
        headers["content-length"] = str(len(content))
    pieces = (content[at : at + CHUNK_BYTES_MAX] for at in range(0, len(content), CHUNK_BYTES_MAX))
    path = f"/v1/files?name={quote(name, safe='')}"
    answer = await call("POST", path, headers, pieces, timeout_s=deadline_s, cut_after_bytes=cut_after_bytes)
    return _task(answer)


async def fetch_task(call: HttpCall, request_id: str, *, wait_s: float = 0.0, deadline_s: float) -> Answer:
    """What is known of a task once it is settled, or the wait is over.

    Raises:
        EdgeScaleError, TimeoutError: as `submit_text`.
    """
    path = f"/v1/tasks/{quote(request_id, safe=':~')}?wait={wait_s:g}"
    return _task(await call("GET", path, {}, timeout_s=deadline_s))


class HttpDoor(Door):
    """Through a gateway.

    Args:
        stage: where the clients are.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    @abstractmethod
    def _call(self, request: Request) -> HttpCall:
        """What carries HTTP to the request's door.

        Raises:
            EdgeScaleError: nothing does.
        """

    async def send(self, request: Request) -> Answer:
        """As `Door.send`."""
        answer: Answer = await getattr(self, f"_{request.action}")(request, self._call(request))
        return answer

    async def _text(self, request: Request, call: HttpCall) -> Answer:
        return await submit_text(
            call,
            request.script,
            request_id=request.request_id,
            deadline_s=request.deadline_ms / 1000,
            respond_async=request.respond_async,
            schedule=schedule_of(request, self._stage.clock_ms()),
            ordering_key=request.ordering_key,
        )

    async def _heartbeat(self, request: Request, call: HttpCall) -> Answer:
        beat = beat_of(request)
        members = {name: getattr(beat, name) for name in ("agent_id", "sequence", "boot_id", "status")}
        deadline_s = request.deadline_ms / 1000
        return await send_heartbeat(call, members, request_id=request.request_id, deadline_s=deadline_s)

    async def _file(self, request: Request, call: HttpCall) -> Answer:
        return await upload_file(
            call,
            content_of(request.request_id, request.size_bytes),
            request_id=request.request_id,
            name=f"{request.request_id}.bin",
            deadline_s=request.deadline_ms / 1000,
            respond_async=request.respond_async,
            cut_after_bytes=None if request.cut_after_bytes == UNCUT else request.cut_after_bytes,
        )

    async def _fetch(self, request: Request, call: HttpCall) -> Answer:
        wait_s = request.deadline_ms / 1000
        deadline_s = wait_s + FETCH_MARGIN_MS / 1000
        return await fetch_task(call, request.request_id, wait_s=wait_s, deadline_s=deadline_s)

    async def _cancel(self, request: Request, call: HttpCall) -> Answer:
        path = f"/v1/tasks/{quote(request.request_id, safe=':~')}"
        return _task(await call("DELETE", path, {}, timeout_s=request.deadline_ms / 1000))


# --- documents --------------------------------------------------------------------------------------------------------


def error_of(problem: Mapping[str, Any]) -> EdgeScaleError:
    """The error that a problem document was made of, as far as it tells."""
    facts = {name: value for name, value in problem.items() if isinstance(value, str)}
    status = status_pb2.Status()
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=problem.get("reason", ""), domain=DOMAIN, metadata=facts)
    )
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=fault["field"], description=fault["problem"])
        for fault in problem.get("errors", ())
    ]
    if violations:
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=violations))
    if "retry_after_ms" in problem:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(problem["retry_after_ms"])
        status.details.add().Pack(retry)
    code = CODES.get(problem.get("status", 0), "INTERNAL")
    return from_status(code, problem.get("detail", ""), status.SerializeToString())


def task_result(kind: str, shown: Any) -> TaskResult:
    """The result that a task's document shows, as the worker stored it.

    Args:
        kind: of the task; it tells which message the result is.
        shown: the member `result`; None is taken for none.
    """
    if shown is None:
        return TaskResult()
    if kind in RESULTS:
        return TaskResult(**{RESULTS[kind]: shown})
    return TaskResult(json=ParseDict(shown, Value()))


def _task(answer: HttpAnswer) -> Answer:
    task = _document(answer)
    result = task_result(task["kind"], task.get("result")).SerializeToString(deterministic=True)
    return Answer(task["state"], result_digest(result), task["attempts"], task.get("file_id", ""))


def _document(answer: HttpAnswer) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(answer.body)
    except ValueError:
        # Only the server itself answers so, when the application has failed to.
        raise InternalError(f"HTTP {answer.status} without a document") from None
    if answer.status > SUCCESS_MAX:
        raise error_of(document)
    return document


def _prefer(deadline_s: float, respond_async: bool) -> str:  # noqa: FBT001 - a member of the request
    return "respond-async" if respond_async else f"wait={max(1, int(deadline_s - MARGIN_S))}"
