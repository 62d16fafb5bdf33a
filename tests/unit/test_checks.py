"""What a request must look like: the field is named, and the sentence says what would be right."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.errors import InvalidInput, TooLarge
from edgescale.ingestion.checks import check_heartbeat, check_ids, check_request_id, check_text
from edgescale.v1.heartbeat_pb2 import Heartbeat
from edgescale.v1.text_pb2 import TextInput


def beat(**fields: object) -> Heartbeat:
    """A good heartbeat, changed."""
    return Heartbeat(**{"agent_id": "pier-1", "sequence": 1, **fields})  # type: ignore[arg-type]


def refusal(check: Callable[[], None]) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check()
    return caught.value


@pytest.mark.parametrize("request_id", ["", "a", "A-z.0_9:~", "x" * 128])
def test_a_request_id_of_harmless_characters_is_taken(request_id: str) -> None:
    check_request_id(request_id)


@pytest.mark.parametrize("request_id", ["x" * 129, "a b", "a/b", "a\n", "ä", "a{b}", "\x00", " "])
def test_a_request_id_with_other_characters_is_refused(request_id: str) -> None:
    assert refusal(lambda: check_request_id(request_id)).field == "request_id"


def test_who_must_name_a_task_is_not_told_that_its_id_may_be_absent() -> None:
    assert refusal(lambda: check_request_id("a b")).problem.endswith(", or absent")
    assert not refusal(lambda: check_request_id("a b", required=True)).problem.endswith(", or absent")


@pytest.mark.parametrize(
    ("request_id", "ordering_key"),
    [("", ""), ("", "A-z.0_9~"), ("", "x" * 64), ("k:1", "k"), ("k:1:2", "k"), ("j:1", "")],
)
def test_an_ordering_key_goes_with_no_id_or_one_that_begins_with_it(request_id: str, ordering_key: str) -> None:
    check_ids(request_id, ordering_key)


@pytest.mark.parametrize("ordering_key", ["x" * 65, "a:b", "a b", "a{b}", "ä", "a\n", "*"])
def test_an_ordering_key_with_other_characters_is_refused_even_where_the_id_begins_with_it(ordering_key: str) -> None:
    for request_id in ("", f"{ordering_key}:1"):
        refused = refusal(lambda given=request_id: check_ids(given, ordering_key))  # type: ignore[misc]
        assert (refused.field, str(refused)) == (
            "ordering_key",
            "ordering_key: must be 1 to 64 of A-Z a-z 0-9 . _ ~ -, or absent",
        )


@pytest.mark.parametrize("request_id", ["1", "k", "k1:1", "j:1", "kk:1"])
def test_an_id_that_does_not_begin_with_the_ordering_key_is_refused_with_an_example(request_id: str) -> None:
    assert str(refusal(lambda: check_ids(request_id, "k"))) == (
        'request_id: must begin with the ordering key and a colon, such as "customer-5:letter-17", or be absent'
    )


def test_a_full_heartbeat_is_taken() -> None:
    full = beat(
        agent_id="ä" * 128,
        sequence=2**53 - 1,
        boot_id="b" * 128,
        status="s" * 256,
        metrics={f"m{number:063d}": -1e308 for number in range(64)},
        sent_time={"seconds": 253_402_300_799, "nanos": 999_999_999},
    )
    check_heartbeat(full)
    check_heartbeat(beat(sequence=0))


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("heartbeat.agent_id", beat(agent_id="")),
        ("heartbeat.agent_id", beat(agent_id="x" * 129)),
        ("heartbeat.agent_id", beat(agent_id="pier\x00one")),
        ("heartbeat.agent_id", beat(agent_id="pier\n1")),
        ("heartbeat.agent_id", beat(agent_id="\x7f")),
        ("heartbeat.agent_id", beat(agent_id="a\u0085")),
        ("heartbeat.agent_id", beat(agent_id="a\u2028")),
        ("heartbeat.boot_id", beat(boot_id="x" * 129)),
        ("heartbeat.boot_id", beat(boot_id="\t")),
        ("heartbeat.status", beat(status="x" * 257)),
        ("heartbeat.status", beat(status="\x1b[31m")),
        ("heartbeat.sequence", beat(sequence=2**53)),
        ("heartbeat.sent_time", beat(sent_time={"seconds": 253_402_300_800})),
        ("heartbeat.sent_time", beat(sent_time={"seconds": -62_135_596_801})),
        ("heartbeat.sent_time", beat(sent_time={"nanos": 1_000_000_000})),
        ("heartbeat.sent_time", beat(sent_time={"nanos": -1})),
        ("heartbeat.metrics", beat(metrics={f"m{number}": 1.0 for number in range(65)})),
        ("heartbeat.metrics", beat(metrics={"": 1.0})),
        ("heartbeat.metrics", beat(metrics={"x" * 65: 1.0})),
        ("heartbeat.metrics", beat(metrics={"lo\x00ad": 1.0})),
        ("heartbeat.metrics.load", beat(metrics={"load": float("nan")})),
        ("heartbeat.metrics.load", beat(metrics={"load": float("inf")})),
    ],
)
def test_a_wrong_field_of_a_heartbeat_is_named(field: str, wrong: Heartbeat) -> None:
    assert refusal(lambda: check_heartbeat(wrong)).field == field


@given(st.text())
def test_whatever_an_agent_calls_itself_the_check_ends_well_or_with_invalid_input(name: str) -> None:
    try:
        check_heartbeat(beat(agent_id=name))
    except InvalidInput:
        return
    assert 1 <= len(name) <= 128
    assert not any(ord(character) < 32 for character in name)


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_a_text_of_nothing_is_refused(text: str) -> None:
    assert refusal(lambda: check_text(TextInput(text=text), text_bytes_max=10)).field == "input.text"


def test_the_length_of_a_text_is_counted_in_bytes() -> None:
    check_text(TextInput(text="ä" * 5), text_bytes_max=10)
    error = refusal(lambda: check_text(TextInput(text="ä" * 5 + "x"), text_bytes_max=10))
    assert isinstance(error, TooLarge)
    assert error.problem == "must be at most 10 bytes of UTF-8, not 11"


def test_more_terms_than_the_limit_are_refused() -> None:
    check_text(TextInput(text="x", top_terms=100), text_bytes_max=10)
    assert refusal(lambda: check_text(TextInput(text="x", top_terms=101), text_bytes_max=10)).field == "input.top_terms"
