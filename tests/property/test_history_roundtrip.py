"""Any history survives its file, and no line of JSON breaks the reader in an unforeseen way."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgescale.harness.history import Bounds, Event, Header, History, HistoryError, Terms

COUNTS = st.integers(0, 2**62)
NAMES = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES
EVENTS = st.builds(
    Event,
    index=st.just(0),
    time_ns=COUNTS,
    actor=NAMES,
    operation=NAMES,
    phase=st.sampled_from(["invoke", "ok", "fail", "info"]),
    call=st.none() | COUNTS,
    request_id=NAMES,
    fields=st.dictionaries(NAMES, SCALARS, max_size=4),
)
HEADERS = st.builds(
    Header,
    seed=st.integers(),
    plan=NAMES,
    commit=NAMES,
    versions=st.dictionaries(NAMES, NAMES, max_size=3),
    terms=st.builds(Terms, caps=st.dictionaries(NAMES, COUNTS, max_size=3), durability=st.just("none") | COUNTS),
    bounds=st.builds(Bounds, answer_ms=COUNTS),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
FIELDS = ["index", "time_ns", "actor", "operation", "phase", "call", "request_id", "fields"]


@given(HEADERS, st.lists(EVENTS, max_size=5))
def test_any_history_survives_its_lines(header: Header, events: list[Event]) -> None:
    history = History.ordered(header, events)
    lines = list(history.lines())

    assert all("\n" not in line for line in lines)
    assert History.parse(lines) == history
    assert list(History.parse(lines).lines()) == lines


@given(JSON | st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_a_line_is_an_event_or_an_error(record: Any) -> None:
    lines = [next(History.ordered(Header(), []).lines()), json.dumps(record)]
    try:
        history = History.parse(lines)
    except HistoryError:
        return

    assert History.parse(history.lines()) == history
