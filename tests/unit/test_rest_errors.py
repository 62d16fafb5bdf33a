"""A problem document is read back into the error that it was made of."""

import json

import pytest
from starlette.requests import Request

from edgescale import errors
from edgescale.errors import EdgeScaleError, InternalError, Unavailable
from edgescale.gateway.problems import Problems
from edgescale.harness.clients.rest import error_of
from edgescale.status import error_tree
from tests.support import SeededChance
from tests.unit.test_errors import example

# A class that shares its parent's reason comes back as the parent; the root and a wrong setting never leave a process.
KINDS = [kind for kind in error_tree() if kind not in {EdgeScaleError, errors.GroupMissing, InternalError}]


async def problem_of(error: EdgeScaleError) -> dict[str, object]:
    request = Request({"type": "http", "path": "/v1/tasks/r", "headers": [], "query_string": b""})
    response = await Problems(SeededChance()).on_error(request, error)
    document: dict[str, object] = json.loads(bytes(response.body))
    return document


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_an_error_is_told_by_its_problem_document(kind: type[EdgeScaleError]) -> None:
    error = example(kind)

    told = error_of(await problem_of(error))

    assert (type(told), str(told), told.metadata) == (kind, str(error), error.metadata)
    for fact in ("retry_after_ms", "field", "problem", "lane", "cap", "state", "task_reason", "request_id"):
        assert getattr(told, fact, None) == getattr(error, fact, None)


def test_what_the_router_refuses_is_an_error_of_the_nearest_kind() -> None:
    assert type(error_of({"status": 404, "reason": "NOT_FOUND", "detail": "Not Found"})) is errors.NotFound
    assert type(error_of({"status": 405, "reason": "METHOD_NOT_ALLOWED"})) is InternalError
    assert type(error_of({"status": 503})) is Unavailable
