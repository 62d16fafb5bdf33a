import pytest
from starlette.datastructures import Headers

from edgescale.config import Settings
from edgescale.gateway.headers import Preferences, idempotency_key, trace_metadata

SETTINGS = Settings(wait_default_ms=5_000, wait_max_ms=9_000)


def prefer(*values: str) -> Preferences:
    return Preferences.of(Headers(raw=[(b"prefer", value.encode()) for value in values]), SETTINGS)


@pytest.mark.parametrize(
    ("values", "respond_async", "wait_ms"),
    [
        ((), False, 5_000),
        (("respond-async",), True, 0),
        (("Respond-Async, WAIT=3",), True, 3_000),
        (("respond-async", "wait=3"), True, 3_000),
        (('wait="3"; foo=bar, handling=lenient',), False, 3_000),
        (("wait=3, wait=4",), False, 3_000),
        (("wait=100000",), False, 9_000),
        (("wait=" + "9" * 10_000,), False, 9_000),
        (("wait=-1",), False, 5_000),
        (("wait=1.5",), False, 5_000),
        (("wait=٣",), False, 5_000),
        (("wait",), False, 5_000),
        (("wait=soon, respond-async",), True, 0),
        ((",;=,",), False, 5_000),
    ],
)
def test_preferences_are_read_and_nonsense_is_passed_over(
    values: tuple[str, ...],
    respond_async: bool,  # noqa: FBT001 - a parameter of the test
    wait_ms: int,
) -> None:
    assert prefer(*values) == Preferences(respond_async=respond_async, wait_ms=wait_ms)


@pytest.mark.parametrize("key", ["a", "A-Z_0.9:~", "x" * 128])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_key_is_taken_bare_or_quoted(key: str, quote: str) -> None:
    assert idempotency_key(Headers({"Idempotency-Key": f" {quote}{key}{quote} "})) == key


@pytest.mark.parametrize(
    ("traceparent", "well_formed"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", False),
        ("", False),
    ],
)
def test_only_a_well_formed_trace_is_passed_on(
    traceparent: str,
    well_formed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    passed_on = trace_metadata(Headers({"traceparent": traceparent}))

    assert passed_on == ((("traceparent", traceparent),) if well_formed else ())
