"""What OpenAPI cannot learn from signatures, because bodies and headers are read by hand here."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from edgescale.gateway.dead_letter_models import ReplayRequest
from edgescale.gateway.models import HeartbeatRequest, Problem, TextAnalysisRequest
from edgescale.gateway.schedules import ORDERING_KEY

SCHEMAS = "#/components/schemas/"
JSON_BODIES: tuple[type[BaseModel], ...] = (HeartbeatRequest, TextAnalysisRequest, ReplayRequest)
PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": SCHEMAS + Problem.__name__}}}
SENTENCES = {
    404: "Nothing is known under this id.",
    408: "The sender has stalled.",
    409: "The request id is taken, by other content or by another life of the task.",
    413: "The body is over its limit.",
    415: "The body is of a type, or in a coding, that is not read here.",
    422: "A field is wrong, or the task ended without a result.",
    429: "There is no room now; try again after Retry-After.",
    503: "A part that is needed is away; try again after Retry-After.",
    504: "The result did not come in time; the task goes on, at Location.",
}


def responses(model: type[BaseModel], successes: tuple[int, ...], *problems: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a route.

    Args:
        model: what a success looks like.
        successes: its statuses.
        problems: statuses whose body is a problem document.
    """
    documented: dict[int | str, dict[str, Any]] = {status: {"model": model} for status in successes}
    for status in problems:
        documented[status] = {"description": SENTENCES[status], "content": PROBLEM_CONTENT}
    return documented


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that reads JSON."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + model.__name__}}},
        }
    }


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema, "example": example}


_SUBMISSION = [
    _header(
        "Idempotency-Key", "Names the request, so that it can be sent again. An id is made without it.", "order-17"
    ),
    _header("traceparent", "W3C trace context.", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
]
_TASK = [*_SUBMISSION, _header("Prefer", "respond-async, wait=seconds, or both (RFC 7240).", "respond-async, wait=5")]
_FILE = [
    *_TASK,
    _header("Ordering-Key", ORDERING_KEY, "customer-5"),
    _header("Content-Disposition", "The file's name (RFC 6266), for raw bodies.", 'attachment; filename="a.png"'),
    _header("Repr-Digest", "SHA-256 to check against (RFC 9530), for raw bodies.", "sha-256=:base64:"),
    _header("X-Content-SHA256", "The same in hexadecimal digits.", "0" * 64),
]
SUBMISSION_HEADERS = {"parameters": _SUBMISSION}
TASK_HEADERS = {"parameters": _TASK}
FILE_HEADERS = {"parameters": _FILE}

FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "sha256": {"type": "string", "description": "64 hexadecimal digits; before the file."},
                        "name": {"type": "string", "description": "Goes before the file's own; before the file."},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            },
        },
    }
}


def complete_openapi(app: FastAPI) -> None:
    """Add the schemas that only hand-written parts refer to; after this the document is fixed."""
    schema = app.openapi()
    models = [(model, "validation") for model in (*JSON_BODIES, Problem)]
    _, definitions = models_json_schema(models, ref_template=SCHEMAS + "{model}")  # type: ignore[arg-type]
    schema["components"]["schemas"].update(definitions["$defs"])
