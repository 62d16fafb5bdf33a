"""Errors as problem documents (source: RFC 9457). Every answer that is no success leaves through here."""

import math
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from edgescale.chance import Chance
from edgescale.errors import (
    EdgeScaleError,
    InternalError,
    InvalidInput,
    RetryLater,
    UploadStalled,
    WaitExpired,
)
from edgescale.gateway.waits import Disconnected
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:edgescale:error:"
OCCURRENCE_PREFIX = "urn:edgescale:occurrence:"
IDS_KEY = "edgescale.ids"
CLIENT_CLOSED_REQUEST = 499


def note_ids(request: Request, **ids: str) -> None:
    """Remember what this request is about, so that its problem document and log line can name it.

    Args:
        request: the request.
        ids: any of request_id, agent_id, file_id; empty ones are left out.
    """
    request.scope.setdefault(IDS_KEY, {}).update({name: value for name, value in ids.items() if value})


def task_location(request_id: str) -> str:
    """Where the task can be asked for."""
    return f"/v1/tasks/{quote(request_id, safe=':~')}"


def problem(request: Request, status: int, reason: str, detail: str, **members: Any) -> dict[str, Any]:
    """The document's members.

    Args:
        request: what failed; names the instance unless `members` does.
        status: the HTTP status.
        reason: stable, in UPPER_SNAKE_CASE; type and title follow from it.
        detail: a sentence for the caller.
        members: more members.
    """
    return {
        "type": TYPE_PREFIX + reason.lower().replace("_", "-"),
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": quote(request.scope["path"]),
        "reason": reason,
        **request.scope.get(IDS_KEY, {}),
        **members,
    }


def respond(document: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """The document as a response with its own status."""
    return Response(to_json(document), document["status"], headers, MEDIA_TYPE)


class Problems:
    """The handlers of everything that a route can raise.

    Args:
        chance: names each occurrence of a defect, so that the caller's report finds the log line.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._log = get_log()

    def install(self, app: FastAPI) -> None:
        """Make them the app's handlers."""
        handlers: dict[type[Exception], Any] = {
            EdgeScaleError: self.on_error,
            RequestValidationError: self.on_invalid,
            HTTPException: self.on_http_error,
            Disconnected: self.on_disconnected,
            Exception: self.on_defect,
        }
        for kind, handler in handlers.items():
            app.add_exception_handler(kind, handler)

    async def on_error(self, request: Request, error: EdgeScaleError) -> Response:
        """An error of the tree: its own status, reason and facts."""
        if isinstance(error, InternalError):
            return await self.on_defect(request, error)
        members: dict[str, Any] = dict(error.metadata)
        headers: dict[str, str] = {}
        if isinstance(error, InvalidInput):
            members["errors"] = [{"field": error.field, "problem": error.problem}]
        if isinstance(error, RetryLater):
            members["retry_after_ms"] = error.retry_after_ms
            headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1000))
        if isinstance(error, UploadStalled):
            headers["Connection"] = "close"  # the rest of the body will hardly come
        if isinstance(error, WaitExpired) and error.request_id:
            headers["Location"] = task_location(error.request_id)
        return respond(problem(request, error.http_status, error.reason, str(error), **members), headers)

    async def on_invalid(self, request: Request, error: RequestValidationError) -> Response:
        """Fields of the body or of the query that do not validate; all of them are named."""
        faults = [_fault(fault) for fault in error.errors()]
        detail = "; ".join(f"{fault['field']}: {fault['problem']}" for fault in faults)
        return respond(
            problem(request, InvalidInput.http_status, InvalidInput.reason, detail, errors=faults),
        )

    async def on_http_error(self, request: Request, error: HTTPException) -> Response:
        """What the router refuses: no such path, not this method."""
        reason = HTTPStatus(error.status_code).name
        return respond(problem(request, error.status_code, reason, error.detail), dict(error.headers or {}))

    async def on_disconnected(self, request: Request, error: Disconnected) -> Response:
        """Nobody is left to read it; the server drops it."""
        del request, error
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def on_defect(self, request: Request, error: Exception) -> Response:
        """A defect: logged with its traceback, and the caller is told no more than where to look."""
        occurrence = self._chance.new_id()
        ids = request.scope.get(IDS_KEY, {})
        self._log.error(Event.REQUEST_FAILED, occurrence=occurrence, path=request.url.path, exc_info=error, **ids)
        sentence = str(InternalError())
        document = problem(request, 500, InternalError.reason, sentence, instance=OCCURRENCE_PREFIX + occurrence)
        return respond(document)


# Pydantic's words where they would puzzle somebody who does not know it.
SENTENCES = {
    "extra_forbidden": "is not known here",
    "missing": "is required",
    "finite_number": "must be a finite number",
    "model_type": "must be a JSON object",
    **dict.fromkeys(
        (
            "datetime_from_date_parsing",
            "datetime_object_invalid",
            "datetime_parsing",
            "datetime_type",
            "timezone_aware",
        ),
        "must be a time as RFC 3339 has it, with its offset, such as 2030-01-01T06:00:00Z",
    ),
}


def _fault(fault: dict[str, Any]) -> dict[str, str]:
    place, *path = fault["loc"]
    message: str = SENTENCES.get(fault["type"], fault["msg"])
    return {"field": ".".join(map(str, path)) or str(place), "problem": message}
