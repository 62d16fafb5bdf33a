"""Cancellations: somebody asked for them, they leave nothing to be started, and they reach who works on the task.

P1 and P6 judge by these rules; a cancelled task is a terminal answer like others, so that P2 judges it, too.
"""

from collections.abc import Iterator, Sequence

from edgescale.harness.checkers.base import Case
from edgescale.harness.checkers.calls import Call, client_calls, paired
from edgescale.harness.checkers.entries import Delivery, Entries
from edgescale.harness.checkers.faults import REDIS, STORE, Lives, Unrests
from edgescale.harness.checkers.given import given_ns
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.history import NS_PER_MS, Event, History

CANCELLED = "cancelled"


def asked_for(case: Case, history: History) -> None:
    """No task is cancelled that nobody wanted to be."""
    asked: dict[str, int] = {}
    for call in history.view(client_calls):
        if call.start.operation == "cancel":
            case.counts["cancels"] += 1
            asked.setdefault(call.request_id, call.start.index)
    for event in history.named("store", "final"):
        if event.text("state") == CANCELLED and asked.get(event.request_id, FOREVER) > event.index:
            case.find("cancelled_unasked", f"{event.request_id} was cancelled, and nobody had asked for it", event)


def leaves_nothing(case: Case, history: History) -> None:
    """With the state goes the entry, both at once: as long as it is there, somebody may be given it."""
    for store in _cancellations(history):
        case.counts["cancelled"] += 1
        for added in _present(history.about(store.request_id), store.time_ns):
            sentence = f"{store.request_id} was cancelled, and its entry {added.text('entry')} stayed in the stream"
            case.find("cancelled_but_queued", sentence, added, store)


def _cancellations(history: History) -> Iterator[Event]:
    return (event for event in history.named("store") if event.text("state") == CANCELLED)


def _present(events: Sequence[Event], moment_ns: int) -> Sequence[Event]:
    """The entries that were in a stream when this moment was over, by the events that added them."""
    present: dict[tuple[str, str], Event] = {}
    for event in events:
        place = event.text("lane"), event.text("entry")
        if event.operation == "add" and event.text("why") != "injected" and event.time_ns <= moment_ns:
            present[place] = event
        elif event.operation == "delete" and event.time_ns <= moment_ns:
            present.pop(place, None)
    return list(present.values())


def never_starts(case: Case, history: History) -> None:
    """What its caller was told to be cancelled is not given to anybody, and so never starts."""
    for call in history.view(client_calls):
        answer = call.answer
        if call.start.operation != "cancel" or call.end is None or answer is None or answer.state != CANCELLED:
            continue
        for started, held in _starts(history, call.request_id):
            if given_ns(history, held) > call.span.end_ns and not _lost(history, call.span, started):
                sentence = f"{call.request_id} was confirmed to be cancelled, and later {started.actor} began with it"
                case.find("cancelled_but_started", sentence, call.end, held.event, started)


def _starts(history: History, request_id: str) -> Iterator[tuple[Event, Delivery]]:
    """When a handler began with the task, and by which delivery."""
    for event in history.about(request_id):
        entry = history.view(Entries).find(event) if (event.operation, event.phase) == ("handle", "invoke") else None
        held = [
            delivery
            for delivery in (entry.deliveries if entry else ())
            if delivery.actor == event.actor and delivery.event.index < event.index
        ]
        if held:
            yield event, held[-1]


def is_told(case: Case, history: History) -> None:
    """A handler whose task is cancelled ends within the bound, whatever it does."""
    cancelled: dict[str, list[Event]] = {}
    for store in _cancellations(history):
        cancelled.setdefault(store.request_id, []).append(store)
    for call in paired(event for request_id in cancelled for event in history.about(request_id) if _handles(event)):
        ended_ns = min(call.span.end_ns, _gone_ns(history, call.start.actor), history.end_ns)
        for store in cancelled[call.request_id]:
            since_ns = max(store.time_ns, call.start.time_ns)
            if since_ns >= ended_ns or _lost(history, Span(store.time_ns, store.time_ns), call.start):
                continue
            case.counts["told_to_stop"] += 1
            if ended_ns > _told_by(history, call, since_ns):
                late_ms = (ended_ns - since_ns) // NS_PER_MS
                sentence = f"{call.start.actor} went on with {call.request_id} for {late_ms} ms after it was cancelled"
                case.find("cancelled_but_running", sentence, store, call.start, call.end)


def _handles(event: Event) -> bool:
    return event.operation == "handle"


def _gone_ns(history: History, actor: str) -> int:
    """When the incarnation crashed; FOREVER when it did not."""
    crash = history.view(Lives).crashes.get(actor)
    return FOREVER if crash is None else crash.time_ns


def _told_by(history: History, call: Call, since_ns: int) -> int:
    """By when the handler must have ended; a worker that has just met an outage may need the time to recover."""
    bounds = history.header.bounds
    bound_ns, recovery_ns = bounds.cancel_ms * NS_PER_MS, bounds.recovery_ms * NS_PER_MS
    names = REDIS, STORE, call.start.name
    unrest = history.view(Unrests).of(*names)
    deadline_ns = unrest.deadline(since_ns, bound_ns)
    # That the worker itself has just been started is nothing to recover from.
    if history.view(Unrests).of(*names, even_if_down=True).meets(Span(since_ns - recovery_ns, deadline_ns)):
        deadline_ns = unrest.deadline(since_ns, bound_ns + recovery_ns)
    return deadline_ns


def _lost(history: History, cancelled: Span, later: Event) -> bool:
    """Whether Redis may have forgotten the cancellation before this, so that the task has a second life."""
    return history.view(Losses).undone(cancelled, Span(later.time_ns, later.time_ns), told=False)
