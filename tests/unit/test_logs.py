"""What logs say of exceptions, and what they must not say."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from edgescale.telemetry.logs import configure_logs, get_log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()


def failing(payload: str) -> None:
    raise RuntimeError(f"cannot handle {len(payload)} characters")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_told_with_its_place_and_without_the_variables_there(log_format: str) -> None:
    out = io.StringIO()
    configure_logs(service="worker", log_format=log_format, level="info", stream=out)
    try:
        failing("what a customer wrote")
    except RuntimeError:
        get_log().exception("handler.failed")

    assert "cannot handle 21 characters" in out.getvalue()
    assert "test_logs.py" in out.getvalue()
    assert "what a customer wrote" not in out.getvalue().replace('failing("what a customer wrote")', "")
    if log_format == "json":
        [line] = out.getvalue().splitlines()
        assert json.loads(line)["event"] == "handler.failed"
