"""Histories: what is written is read again, and what is no history is not taken for one."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgescale.harness import history as vocabulary
from edgescale.harness.history import Event, Header, History, HistoryError, Terms

EVENT: dict[str, Any] = {
    "index": 0,
    "time_ns": 5,
    "actor": "client-1",
    "operation": "submit",
    "phase": "invoke",
    "call": 3,
    "request_id": "r1",
    "fields": {"kind": "text", "deadline_ns": None, "attempts": 2, "repeated": False, "share": 0.5},
}
HEADER: dict[str, Any] = {"format": 1, "seed": 7, "terms": {"lease_ms": 500, "caps": {"text": 3}}}


def lines(*records: object) -> Sequence[str]:
    return [json.dumps(record) for record in records]


def test_a_dumped_history_is_loaded_as_it_was(tmp_path: Path) -> None:
    header = Header(seed=7, plan="abc", versions={"redis": "7.2"}, terms=Terms(durability=1_000, slots={"text": 2}))
    history = History.ordered(header, [Event.parse(EVENT), Event(0, 9, "redis", "away")])

    history.dump(tmp_path / "run.jsonl")

    assert History.load(tmp_path / "run.jsonl") == history
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 3


def test_what_the_header_leaves_out_has_its_default() -> None:
    header = History.parse(lines(HEADER)).header

    assert header.terms == Terms(lease_ms=500, caps={"text": 3})
    assert header.bounds.answer_ms == 5_000


def test_events_of_several_recorders_are_put_in_the_order_of_their_times() -> None:
    worker = [Event(0, 10, "worker-1#1", "deliver"), Event(1, 30, "worker-1#1", "handle")]
    redis = [Event(0, 10, "redis", "add"), Event(1, 20, "redis", "store")]

    history = History.ordered(Header(), [*redis, *worker])

    assert [event.operation for event in history.events] == ["add", "deliver", "store", "handle"]
    assert [event.index for event in history.events] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "perhaps"},
        {"time_ns": 1.5},
        {"time_ns": True},
        {"actor": None},
        {"call": "3"},
        {"fields": {"nested": {}}},
        {"fields": {"several": [1]}},
        {"fields": []},
        {"colour": "red"},
    ],
)
def test_a_line_that_is_no_event_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(HistoryError, match="line 2"):
        History.parse(lines(HEADER, EVENT | change))


@pytest.mark.parametrize("missing", ["index", "time_ns", "actor", "operation"])
def test_a_line_without_what_every_event_has_is_named(missing: str) -> None:
    with pytest.raises(HistoryError, match="line 2"):
        History.parse(lines(HEADER, {name: value for name, value in EVENT.items() if name != missing}))


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "format": 2},
        {**HEADER, "sed": 7},
        {**HEADER, "terms": {"leas_ms": 500}},
        {**HEADER, "terms": {"lease_ms": "500"}},
        {**HEADER, "terms": {"caps": {"text": None}}},
        {**HEADER, "terms": {"durability": "some"}},
        {**HEADER, "terms": []},
        {**HEADER, "bounds": {"answer_ms": True}},
        [],
    ],
)
def test_a_header_that_cannot_be_judged_by_is_refused(header: object) -> None:
    with pytest.raises(HistoryError, match="line 1"):
        History.parse(lines(header))


def test_an_empty_file_is_no_history() -> None:
    with pytest.raises(HistoryError, match="header"):
        History.parse([])


def test_a_line_cut_short_is_named() -> None:
    with pytest.raises(HistoryError, match="line 2"):
        History.parse([*lines(HEADER), json.dumps(EVENT)[:-5]])


def test_events_out_of_order_are_refused() -> None:
    with pytest.raises(HistoryError, match="line 3"):
        History.parse(lines(HEADER, EVENT, EVENT | {"index": 1, "time_ns": 4}))
    with pytest.raises(HistoryError, match="line 3"):
        History.parse(lines(HEADER, EVENT, EVENT))


def test_the_digest_is_of_the_events_alone() -> None:
    events = [Event.parse(EVENT)]
    one, same = History.ordered(Header(seed=1), events), History.ordered(Header(seed=2), events)
    other = History.ordered(Header(seed=1), [*events, Event(0, 9, "redis", "away")])

    assert one.digest() == same.digest() != other.digest()


def test_events_are_found_by_operation_and_by_request() -> None:
    operations = ["submit", "store", "submit", "away"]
    events = [Event(0, place, "x", name, request_id="r1") for place, name in enumerate(operations)]
    history = History.ordered(Header(), events)

    assert [event.index for event in history.named("submit", "store")] == [0, 1, 2]
    assert [event.index for event in history.about("r1")] == [0, 1, 2, 3]
    assert list(history.about("r2")) == list(history.named("fetch")) == []


def test_a_view_is_made_once() -> None:
    history = History.ordered(Header(), [])
    made: list[History] = []

    def view(asked: History) -> int:
        made.append(asked)
        return len(made)

    assert (history.view(view), history.view(view)) == (1, 1)


def test_another_process_is_given_the_events_and_makes_its_own_views() -> None:
    history = History.parse(lines(HEADER, EVENT))
    assert history.view(lambda seen: len(seen.events)) == 1

    assert pickle.loads(pickle.dumps(history)) == history  # noqa: S301 - our own


def test_fields_of_another_type_count_as_left_out() -> None:
    event = Event(0, 0, "x", "y", fields={"a": 1, "b": "one", "c": True, "d": None})

    assert (event.number("a"), event.number("b", 9), event.number("c", 9), event.number("d", 9)) == (1, 9, 9, 9)
    assert (event.text("b"), event.text("a", "none"), event.text("e")) == ("one", "none", "")
    assert (event.flag("c"), event.flag("a")) == (True, False)


def test_the_table_of_the_vocabulary_is_well_formed() -> None:
    rows = [line.strip() for line in (vocabulary.__doc__ or "").splitlines() if line.strip().startswith("|")]

    assert {row.count("|") for row in rows} == {5}
    assert len(rows) > 40
