"""P2, one result: whoever asks for a request id, however often, gets one and the same answer, and gets it in time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import (
    Answer,
    Call,
    answer_of,
    client_calls,
    may_have_died,
    settlements,
    submissions,
    way_of,
)
from edgescale.harness.checkers.entries import Entries
from edgescale.harness.checkers.faults import Lives
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.replays import DEAD, Replays
from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.history import NS_PER_MS, Event, History

PROMISE, TITLE = "P2", "one result"


@dataclass(slots=True)
class Value:
    """One thing that was seen of a request id; what was seen first and last of it.

    Attributes:
        first: of all that saw it, the span that ended first.
        last: the one that began last.
        event: shows the first.
        told_ns: by when somebody had been told of it; None when only Redis saw it.
    """

    first: Span
    last: Span
    event: Event
    told_ns: int | None = None

    def seen(self, span: Span, event: Event, *, told: bool) -> None:
        """It was seen again."""
        if span.end_ns < self.first.end_ns:
            self.first, self.event = span, event
        if span.start_ns > self.last.start_ns:
            self.last = span
        if told:
            self.told_ns = span.end_ns if self.told_ns is None else min(self.told_ns, span.end_ns)

    def undone(self, losses: Losses, later: Span) -> bool:
        """Whether it may be gone at some moment of `later`, all who were told of it notwithstanding."""
        if not losses.undone(self.first, later, told=False):
            return False
        return self.told_ns is None or losses.undone(Span(self.first.start_ns, self.told_ns), later)


# Request id, what was seen, when, the event that shows it, and whether it is more than Redis's own.
Sighting = tuple[str, object, Span, Event, bool]


def check(history: History) -> Verdict:
    """Judge P2.

    Two answers are allowed where the first one was lost within the durability that the header declares, was wiped on
    purpose, or has expired, or where the task was dead-lettered and rightly replayed.
    """
    case = Case(history, PROMISE, TITLE)
    _agree(case, history, "two_results", "was answered with", _answers(history))
    _agree(case, history, "two_contents", "was accepted with content", _contents(history))
    _own_content(case, history)
    _false_conflicts(case, history)
    _queued_twice(case, history)
    _calls_end_once(case, history)
    _late(case, history)
    if not case.counts["answers"]:
        case.doubt("no terminal answer was seen")
    return case.verdict()


def _answers(history: History) -> Iterator[Sighting]:
    """Every sighting of a terminal answer, on every path by which one can be read."""
    for call in history.view(client_calls):
        if call.answer is not None and call.end is not None:
            yield call.request_id, call.answer, call.span, call.end, True
    for call in history.view(settlements):
        if call.end is not None and call.end.text("status") == "settled":
            answer = answer_of(call.end) or answer_of(call.start)
            if answer is not None:
                yield call.request_id, answer, call.span, call.end, True
    for event in history.named("store", "final"):
        answer = answer_of(event)
        if answer is not None:
            yield event.request_id, answer, Span(event.time_ns, event.time_ns), event, False


def _contents(history: History) -> Iterator[Sighting]:
    for call in history.view(submissions):
        digest = call.start.text("digest")
        if call.accepted and digest and call.end is not None:
            yield call.request_id, digest, call.span, call.end, True


def _agree(case: Case, history: History, rule: str, verb: str, sightings: Iterator[Sighting]) -> None:
    """One value for each request id, unless the earlier one may have been undone before the later one."""
    replays = history.view(Replays)
    values: dict[str, dict[object, Value]] = {}
    for request_id, content, span, event, told in sightings:
        case.counts["answers"] += isinstance(content, Answer)
        known = values.setdefault(request_id, {})
        known.setdefault(content, Value(span, span, event)).seen(span, event, told=told)
    losses = history.view(Losses)
    for request_id, known in values.items():
        ordered = sorted(known.items(), key=lambda item: item[1].first.end_ns)
        for (one, earlier), (two, later) in pairwise(ordered):
            returned = earlier.last.start_ns > later.first.end_ns
            undone = earlier.undone(losses, later.first)
            if isinstance(one, Answer) and one.state == DEAD:
                undone = undone or replays.between(request_id, earlier.first, later.first)
            if not undone or (returned and not later.undone(losses, earlier.last)):
                sentence = f"{request_id} {verb} {_told(one)}, and with {_told(two)}"
                case.find(rule, sentence, earlier.event, later.event)


def _told(content: object) -> str:
    return " ".join(content).strip() if isinstance(content, Answer) else str(content)


def _own_content(case: Case, history: History) -> None:
    """Whoever sent other content is not given the same result, whatever Redis forgot in between."""
    given: dict[tuple[str, str], Call] = {}
    for call in history.view(submissions):
        result = call.end.text("result_digest") if call.end is not None else ""
        if not result or call.end is None:
            continue
        first = given.setdefault((call.request_id, result), call)
        if first.start.text("digest") != call.start.text("digest"):
            sentence = f"two who sent different contents as {call.request_id} were both given the result {result}"
            case.find("others_result", sentence, first.end, call.end)


def _false_conflicts(case: Case, history: History) -> None:
    """Nobody is told of a conflict when all sent the same."""
    digests: dict[str, set[str]] = {}
    for call in history.view(submissions):
        digests.setdefault(call.request_id, set()).add(call.start.text("digest"))
    for call in history.view(submissions):
        if call.reason == "REQUEST_ID_CONFLICT" and len(digests[call.request_id]) == 1:
            sentence = f"{call.request_id} was refused as a conflict, and nobody ever sent other content"
            case.find("false_conflict", sentence, call.start, call.end)


def _queued_twice(case: Case, history: History) -> None:
    """One entry for each request id."""
    losses = history.view(Losses)
    told = {(event.request_id, event.text("entry")) for event in history.named("accept")}
    made: dict[str, list[Event]] = {}
    for entry in list(history.view(Entries)):
        if entry.began is not None and not entry.injected:
            made.setdefault(entry.request_id, []).append(entry.began)
    for request_id, unordered in made.items():
        began = sorted(unordered, key=lambda event: event.index)
        for one, two in pairwise(began):
            spans = [Span(event.time_ns, event.time_ns) for event in (one, two)]
            known = (request_id, one.text("entry")) in told
            if not losses.undone(*spans, told=known) and not history.view(Replays).made(two):
                sentence = f"{request_id} has two entries, {one.text('entry')} and {two.text('entry')}"
                case.find("queued_twice", sentence, one, two)


def _calls_end_once(case: Case, history: History) -> None:
    crashes = history.view(Lives).crashes
    finished = bool(history.named("final"))
    for call in history.view(client_calls):
        case.counts["calls"] += 1
        if call.repeats:
            case.find("answered_twice", f"one call for {call.request_id} ended twice", call.end, *call.repeats)
        if call.end is None and finished and call.start.actor not in crashes:
            case.find("never_answered", f"a call for {call.request_id} never ended", call.start)


def _late(case: Case, history: History) -> None:
    """A stored result reaches whoever waits for it within the bound, in calm time."""
    stores = history.view(Entries).stores
    for call in history.view(client_calls):
        if call.end is None:
            continue
        for since_ns, store in _waited(history, call, stores.get(call.request_id, ())):
            case.counts["waits"] += 1
            deadline_ns = way_of(history, call).deadline(since_ns, history.header.bounds.answer_ms * NS_PER_MS)
            if deadline_ns < call.end.time_ns and not may_have_died(history, call):
                waited_ms = (call.end.time_ns - since_ns) // NS_PER_MS
                sentence = f"{call.request_id} had its result, and a caller waited for it for another {waited_ms} ms"
                case.find("late", sentence, store, call.start, call.end)
                break


def _waited(history: History, call: Call, stores: Sequence[Event]) -> Iterator[tuple[int, Event]]:
    """From when on the call waited for a result that was there, with the writing of that result.

    A caller who sends a file waits only once the file is in, which its acceptance tells.
    """
    in_ns = call.span.start_ns
    if call.start.operation == "upload":
        accepted = [event.time_ns for event in history.about(call.request_id) if event.operation == "accept"]
        in_ns = max((moment for moment in accepted if in_ns <= moment <= call.span.end_ns), default=FOREVER)
    losses, replays = history.view(Losses), history.view(Replays)
    for store in stores:
        since_ns, there = max(store.time_ns, in_ns), Span(store.time_ns, call.span.end_ns)
        # A replayed task is open again: there is nothing to wait for but its next end.
        gone = losses.any_in(there) or replays.any_in(call.request_id, there)
        if since_ns <= call.span.end_ns and not gone:
            yield since_ns, store
