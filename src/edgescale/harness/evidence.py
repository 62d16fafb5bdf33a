"""What a history shows of something rare having really happened to callers and services."""

from collections.abc import Callable, Collection
from itertools import pairwise

from edgescale.harness.checkers.calls import Call, client_calls, may_have_died, submissions
from edgescale.harness.checkers.entries import Entries
from edgescale.harness.history import History, Phase

Evidence = Callable[[History], int]


def told(history: History) -> int:
    """Nothing that the history itself shows: only its actor sees it, and says so with a `marker` event."""
    del history
    return 0


def events(operation: str, phase: Phase = "ok", **fields: object) -> Evidence:
    """Events of this operation and phase with these fields."""

    def count(history: History) -> int:
        return sum(
            event.phase == phase and all(event.fields.get(name) == value for name, value in fields.items())
            for event in history.named(operation)
        )

    return count


def refused(*reasons: str, operations: Collection[str] = ("submit", "upload")) -> Evidence:
    """Submissions and uploads, or one of them, that were refused for one of these reasons."""

    def count(history: History) -> int:
        calls = [call for call in history.view(submissions) if call.start.operation in operations]
        return sum(call.refused and call.reason in reasons for call in calls)

    return count


def unclear(*reasons: str) -> Evidence:
    """Submissions that ended in the dark, for one of these reasons if any is named, and whose task was done."""

    def count(history: History) -> int:
        dark = [call for call in history.view(submissions) if call.phase == "info" and not call.accepted]
        return sum(was_stored(history, call.request_id) for call in dark if call.reason in reasons or not reasons)

    return count


def doors_died(history: History) -> int:
    """Submissions that ended in the dark as a service on their way crashed, and whose task was done."""
    dark = [call for call in history.view(submissions) if call.phase in {"info", "open"} and not call.accepted]
    return sum(may_have_died(history, call) and was_stored(history, call.request_id) for call in dark)


def was_stored(history: History, request_id: str, state: str = "") -> bool:
    """Whether a terminal state of the task was written, or this one."""
    stores = history.view(Entries).stores.get(request_id, ())
    return any(state in {"", event.text("state")} for event in stores)


def repeated_after_lost_reply(history: History) -> int:
    """Tasks that were queued by a submission whose reply was lost: the first reply calls them known."""
    added: set[str] = set()
    replied: set[str] = set()
    count = 0
    for event in history.named("add", "accept"):
        if event.operation == "add":
            added.add(event.request_id)
        elif event.request_id not in replied:
            replied.add(event.request_id)
            count += event.request_id in added and not event.flag("new")
    return count


def two_doors(history: History) -> int:
    """Tasks that came in through more than one ingestion process."""
    doors: dict[str, set[str]] = {}
    for event in history.named("accept"):
        doors.setdefault(event.request_id, set()).add(event.actor)
    return sum(len(actors) > 1 for actors in doors.values())


def fetched_after_wait(history: History) -> int:
    """Results that were fetched after a caller had stopped waiting for them."""
    expired: dict[str, int] = {}
    for call in history.view(submissions):
        if call.end is not None and call.reason == "WAIT_EXPIRED":
            expired.setdefault(call.request_id, call.end.index)
    return sum(
        call.start.operation == "fetch"
        and call.answer is not None
        and call.start.index > expired.get(call.request_id, call.start.index)
        for call in history.view(client_calls)
    )


def shared_results(history: History) -> int:
    """Results that answered more than one caller who waited at the same time."""
    answered: dict[str, list[Call]] = {}
    for call in history.view(submissions):
        if call.answer is not None:
            answered.setdefault(call.request_id, []).append(call)
    return sum(any(one.span.meets(two.span) for one, two in pairwise(calls)) for calls in answered.values())


def answered_across(*operations: str) -> Evidence:
    """Calls that were open when this happened to Redis, and were answered with a terminal state after it."""

    def count(history: History) -> int:
        times = [event.time_ns for event in history.named(*operations)]
        spans = [call.span for call in history.view(client_calls) if call.answer is not None]
        return sum(any(span.start_ns < time_ns < span.end_ns for time_ns in times) for span in spans)

    return count


def followed(operation: str, by: str, *, same_service: bool = False, **fields: object) -> Evidence:
    """Events of this operation, with these fields, that were followed by another operation, at any time.

    Args:
        operation: what came first.
        by: what came later.
        same_service: of the same service, whatever its incarnation.
        fields: of the first.
    """

    def count(history: History) -> int:
        last = {"": -1} | {event.name: event.index for event in history.named(by)}
        last[""] = max(last.values())
        return sum(
            event.index < last.get(event.name if same_service else "", -1)
            for event in history.named(operation)
            if all(event.fields.get(name) == value for name, value in fields.items())
        )

    return count


def sleepers_woken(history: History) -> int:
    """Pauses after whose end the same incarnation was heard of again."""
    last = {event.actor: event.index for event in history.events}
    return sum(last.get(event.text("node"), -1) > event.index for event in history.named("resume"))


def at_cap(history: History) -> int:
    """Samples that found a lane exactly at its cap."""
    caps = history.header.terms.caps
    samples = history.named("sample")
    return sum(
        event.number("backlog") == (event.number("cap") or caps.get(event.text("lane"), -1)) for event in samples
    )


def uploads(*, accepted: bool, cut: bool = False) -> Evidence:
    """Uploads by how they were sent and how they ended."""

    def count(history: History) -> int:
        calls = [call for call in history.view(submissions) if call.start.operation == "upload"]
        return sum((call.accepted, call.start.flag("cut")) == (accepted, cut) for call in calls if call.end is not None)

    return count
