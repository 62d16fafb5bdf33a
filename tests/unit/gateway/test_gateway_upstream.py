"""Every error of the tree, over a real wire and out as a problem document."""

import grpc
import httpx
import pytest
from grpc.aio import AioRpcError, Metadata

from edgescale import errors
from edgescale.gateway.upstream import http_field, translated
from edgescale.status import error_tree
from tests.unit.gateway.gateway_fixtures import ScriptedIngestion, problem_of

SAMPLES: dict[type[errors.EdgeScaleError], errors.EdgeScaleError] = {
    errors.InvalidInput: errors.InvalidInput("input.text", "is wrong"),
    errors.LaneFull: errors.LaneFull("text", cap=1),
    errors.WaitExpired: errors.WaitExpired("r"),
    errors.TaskFailed: errors.TaskFailed("r", state="failed", task_reason="WHY", message="because"),
    errors.TaskExpired: errors.TaskExpired("r", state="expired", task_reason="EXPIRED", message="too late"),
}


def sample(kind: type[errors.EdgeScaleError]) -> errors.EdgeScaleError:
    if kind in SAMPLES:
        return SAMPLES[kind]
    if issubclass(kind, errors.InvalidInput):
        return kind("input.text", "is wrong")
    return kind("a sentence")


# Raised at start or within a worker; callers never see them.
PRIVATE = {errors.EdgeScaleError, errors.ConfigError, errors.EnvelopeError, errors.GroupMissing, errors.InternalError}
SHOWN = [kind for kind in error_tree() if kind not in PRIVATE]


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
async def test_each_error_of_the_tree_arrives_as_itself(
    kind: type[errors.EdgeScaleError], ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("ListLanes", sample(kind))

    response = await client.get("/v1/lanes")

    problem_of(response, kind.http_status, kind.reason)
    assert ("Retry-After" in response.headers) == issubclass(kind, errors.RetryLater)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.CANCELLED, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.TooManyRequests),
        (grpc.StatusCode.UNIMPLEMENTED, errors.InternalError),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
    ],
)
def test_a_status_that_ingestion_did_not_make_keeps_its_words_to_itself(
    code: grpc.StatusCode, kind: type[errors.EdgeScaleError]
) -> None:
    error = translated(AioRpcError(code, Metadata(), Metadata(), details="10.0.0.7:50051 refused"))

    assert type(error) is kind
    assert "10.0.0.7" not in str(error)


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("input.text", "text"),
        ("heartbeat.metrics.load", "metrics.load"),
        ("start.metadata.name", "name"),
        ("metadata.sha256", "sha256"),
        ("metadata.size_bytes", "Content-Length"),
        ("metadata.content_type", "Content-Type"),
        ("request_id", "Idempotency-Key"),
        ("page_size", "limit"),
        ("page_token", "page_token"),
    ],
)
def test_fields_are_called_what_the_http_caller_calls_them(field: str, name: str) -> None:
    assert http_field(field) == name
