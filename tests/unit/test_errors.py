"""The tree of errors: as it is drawn, on the wire, and unambiguous."""

import re

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from edgescale import errors
from edgescale.errors import EdgeScaleError
from edgescale.status import DOMAIN, error_tree, from_status, to_status

TREE = list(error_tree())


def example(kind: type[EdgeScaleError]) -> EdgeScaleError:
    """One error of this class, with all that it can carry."""
    if issubclass(kind, errors.InvalidInput):
        return kind("heartbeat.agent_id", "must have 1 to 128 characters")
    if issubclass(kind, errors.LaneFull):
        return kind("text", cap=500, retry_after_ms=250)
    if issubclass(kind, errors.RetryLater):
        return kind("not now", retry_after_ms=1_250)
    if issubclass(kind, errors.WaitExpired):
        return kind("r1")
    if issubclass(kind, errors.TaskFailed):
        return kind("r1", state="dead_lettered", task_reason="HANDLER_ERROR", message="it broke: twice")
    return kind("a sentence")


def drawn() -> dict[str, str]:
    """Each class in the drawing of the module's docstring, with the class that it hangs from."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^( {4}[│ ]*(?:[├└]── )?)([A-Z]\w+)(?: {2,}|$)", line)
        if found is None:
            continue
        column, name = len(found[1]), found[2]
        while path and path[-1][0] >= column:
            path.pop()
        parents[name] = path[-1][1] if path else ""
        path.append((column, name))
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    real = {kind.__name__: "" if kind is EdgeScaleError else kind.__bases__[0].__name__ for kind in TREE}
    assert drawn() == real


def test_every_error_of_the_package_hangs_in_the_tree() -> None:
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert declared == set(TREE)


def test_each_class_has_one_parent() -> None:
    for kind in TREE[1:]:
        assert len(kind.__bases__) == 1, kind


@pytest.mark.parametrize("kind", TREE)
def test_statuses_exist(kind: type[EdgeScaleError]) -> None:
    assert kind.grpc_status in code_pb2.Code.keys()  # noqa: SIM118 - an enum wrapper, not a dict
    assert kind.grpc_status != "OK"
    assert 400 <= kind.http_status <= 599


@pytest.mark.parametrize("kind", TREE)
def test_a_reason_is_in_upper_snake_case(kind: type[EdgeScaleError]) -> None:
    # Source: google/rpc/error_details.proto, ErrorInfo.reason.
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+[A-Z0-9]", kind.reason)
    assert len(kind.reason) <= 63


def test_a_reason_names_one_class() -> None:
    owners = [kind for kind in TREE if "reason" in vars(kind)]
    assert len({kind.reason for kind in owners}) == len(owners)
    inheriting = {kind.__name__ for kind in TREE if "reason" not in vars(kind)}
    # GroupMissing never leaves the broker; InternalError shares the root's reason on purpose.
    assert inheriting == {"GroupMissing", "InternalError"}


def test_what_may_be_repeated_says_when() -> None:
    for kind in TREE:
        if issubclass(kind, errors.RetryLater):
            assert kind.retryable, kind


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind.retryable])
def test_a_retryable_error_has_a_status_that_clients_repeat(kind: type[EdgeScaleError]) -> None:
    # Source: RFC 9110, RFC 6585, and the gRPC status codes' documentation.
    assert kind.grpc_status in {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
    assert kind.http_status in {408, 429, 503}


@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_the_wire(kind: type[EdgeScaleError]) -> None:
    error = example(kind)
    status = to_status(error)
    assert status.code == code_pb2.Code.Value(error.grpc_status)
    revived = from_status(error.grpc_status, status.message, status.SerializeToString())
    expected = {errors.GroupMissing: errors.BrokerUnavailable, EdgeScaleError: errors.InternalError}.get(kind, kind)
    assert type(revived) is expected
    assert str(revived) == str(error)
    assert revived.metadata == error.metadata
    for fact in ("retry_after_ms", "field", "problem", "request_id", "state", "task_reason", "lane", "cap"):
        assert getattr(revived, fact, None) == getattr(error, fact, None), fact


@pytest.mark.parametrize("kind", TREE)
def test_every_status_names_its_reason(kind: type[EdgeScaleError]) -> None:
    info = error_details_pb2.ErrorInfo()
    assert to_status(example(kind)).details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.reason, DOMAIN)


def test_retry_info_stands_where_the_caller_may_repeat_after_a_while() -> None:
    for kind in TREE:
        details = to_status(example(kind)).details
        has_info = any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
        assert has_info == issubclass(kind, errors.RetryLater), kind


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNAVAILABLE", errors.Unavailable),
        ("RESOURCE_EXHAUSTED", errors.Overloaded),
        ("INVALID_ARGUMENT", errors.InvalidInput),
        ("NOT_FOUND", errors.NotFound),
        ("ALREADY_EXISTS", errors.Conflict),
        ("CANCELLED", errors.Unavailable),
        ("DATA_LOSS", errors.InternalError),
        ("UNKNOWN", errors.InternalError),
    ],
)
@pytest.mark.parametrize("details", [None, b"", b"\xff\xff no status"])
def test_a_status_of_somebody_else_becomes_the_nearest_error(
    code: str, expected: type[EdgeScaleError], details: bytes | None
) -> None:
    assert type(from_status(code, "a proxy's words", details)) is expected


def test_a_reason_of_another_domain_is_not_ours() -> None:
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="TASK_NOT_FOUND", domain="googleapis.com"))
    assert type(from_status("UNAVAILABLE", "words", status.SerializeToString())) is errors.Unavailable


def test_a_defect_says_nothing_of_its_cause() -> None:
    status = to_status(errors.InternalError())
    assert status.message == "internal error; the log has the cause"
