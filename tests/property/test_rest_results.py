"""A result that was read from a gateway's JSON has the digest of the bytes that the worker stored."""

import json
import math
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from edgescale.gateway.answers import json_response, task_document
from edgescale.harness.clients.rest import RESULTS, task_result
from edgescale.harness.recording.recorder import result_digest
from edgescale.v1.file_pb2 import FileReport
from edgescale.v1.heartbeat_pb2 import HeartbeatReceipt
from edgescale.v1.task_pb2 import Task, TaskResult
from edgescale.v1.text_pb2 import TextAnalysis
from tests.property.test_protobuf_roundtrip import messages

BUILT_IN: dict[str, type[Message]] = {"text": TextAnalysis, "file": FileReport, "heartbeat": HeartbeatReceipt}


def finite(message: Message) -> bool:
    """Whether no number in it is infinite: JSON has no word for those, and no handler makes them."""
    parts = [part for _, value in message.ListFields() for part in (value if isinstance(value, list) else [value])]
    return all(
        finite(part) if isinstance(part, Message) else not isinstance(part, float) or math.isfinite(part)
        for part in parts
    )


def through_json(kind: str, result: TaskResult) -> TaskResult:
    task = Task(request_id="r", kind=kind, result=result)
    shown: dict[str, Any] = json.loads(bytes(json_response(task_document(task)).body))
    return task_result(kind, shown["result"])


def digest_of(result: TaskResult) -> str | None:
    return result_digest(result.SerializeToString(deterministic=True))


def test_every_built_in_kind_is_known() -> None:
    assert RESULTS.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("kind", BUILT_IN)
@given(data=st.data())
def test_results_of_built_in_kinds_keep_their_digest(kind: str, data: st.DataObject) -> None:
    value: Any = data.draw(messages(BUILT_IN[kind].DESCRIPTOR).filter(finite))
    result = TaskResult(**{RESULTS[kind]: value})

    assert digest_of(through_json(kind, result)) == digest_of(result)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_survives_to_the_last_bit(number: float) -> None:
    result = TaskResult(text_analysis=TextAnalysis(reading_time_seconds=number))

    assert digest_of(through_json("text", result)) == digest_of(result)


@given(value=st.one_of(st.booleans(), st.text(max_size=20), st.integers(-(2**53), 2**53)))
def test_results_of_other_kinds_keep_their_digest(value: bool | str | int) -> None:  # noqa: FBT001 - any JSON value
    shown = {"answer": [value, None, {"x": value}]}
    result = TaskResult(json=Value())
    result.json.struct_value.update(shown)

    assert digest_of(through_json("custom", result)) == digest_of(result)


def test_no_result_has_no_digest() -> None:
    assert digest_of(task_result("text", None)) is None
