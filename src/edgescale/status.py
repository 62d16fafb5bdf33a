"""Errors on the wire: `google.rpc.Status` with details, made from the error tree and read back into it.

Source: the gRPC guide "Error handling" (richer error model), google/rpc/error_details.proto, and OTLP's rule that a
client repeats RESOURCE_EXHAUSTED only when RetryInfo is present.
"""

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from edgescale import errors
from edgescale.errors import EdgeScaleError

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "edgescale"


def error_tree(root: type[EdgeScaleError] = EdgeScaleError) -> Iterator[type[EdgeScaleError]]:
    """Every class of the tree, parents first."""
    yield root
    for child in root.__subclasses__():
        yield from error_tree(child)


def to_status(error: EdgeScaleError) -> status_pb2.Status:
    """The status a caller is sent: code, sentence, ErrorInfo, and BadRequest or RetryInfo where they apply."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.grpc_status), message=str(error))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if isinstance(error, errors.InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.problem)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.RetryLater):
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def task_failed(request_id: str, *, state: str, task_reason: str, message: str) -> errors.TaskFailed:
    """The error for a task that ended in this state, not succeeded."""
    kind = errors.TaskExpired if state == "expired" else errors.TaskFailed
    return kind(request_id, state=state, task_reason=task_reason, message=message)


def from_status(code: str, message: str, details: bytes | None) -> EdgeScaleError:
    """The error that `to_status` was given, as far as the wire tells.

    Args:
        code: name of the gRPC status, such as `UNAVAILABLE`.
        message: the status's sentence.
        details: value of the trailing `grpc-status-details-bin`, None when there was none.
    """
    info = error_details_pb2.ErrorInfo()
    violation = error_details_pb2.BadRequest.FieldViolation()
    retry_after_ms = 1000
    for detail in _details(details):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            violation = next(iter(request.field_violations), violation)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    kind = _class_of(code, info.reason if info.domain == DOMAIN else "")
    return _revive(kind, message, dict(info.metadata), violation, retry_after_ms)


def _details(details: bytes | None) -> list[status_pb2.Status]:
    try:
        return list(status_pb2.Status.FromString(details or b"").details)
    except DecodeError:
        return []


def _class_of(code: str, reason: str) -> type[EdgeScaleError]:
    for kind in error_tree():
        if reason and kind.reason == reason and kind is not EdgeScaleError:
            return kind
    for kind in (errors.InvalidInput, errors.NotFound, errors.Conflict, errors.Overloaded, errors.Unavailable):
        if kind.grpc_status == code:
            return kind
    return errors.Unavailable if code == "CANCELLED" else errors.InternalError


def _revive(
    kind: type[EdgeScaleError],
    message: str,
    facts: dict[str, str],
    violation: error_details_pb2.BadRequest.FieldViolation,
    retry_after_ms: int,
) -> EdgeScaleError:
    if issubclass(kind, errors.InvalidInput):
        return kind(violation.field or "request", violation.description or message)
    if issubclass(kind, errors.LaneFull):
        return kind(facts.get("lane", ""), cap=int(facts.get("cap", 0)), retry_after_ms=retry_after_ms)
    if issubclass(kind, errors.RetryLater):
        return kind(message, retry_after_ms=retry_after_ms)
    if issubclass(kind, errors.WaitExpired):
        return kind(facts.get("request_id", ""))
    if issubclass(kind, errors.TaskFailed):
        return kind(
            facts.get("request_id", ""),
            state=facts.get("state", ""),
            task_reason=facts.get("task_reason", ""),
            message=message.partition(": ")[2],
        )
    return kind(message)
