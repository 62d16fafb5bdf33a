"""P6, drain: who is asked to stop takes nothing more, ends in time, leaves nothing behind; what is done stays done.

A worker may be asked to stop as a whole, or by its task being cancelled.
"""

from collections.abc import Mapping, Sequence

from edgescale.harness.checkers import cancels
from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import Call, settlements, submissions
from edgescale.harness.checkers.capacity import Capacity
from edgescale.harness.checkers.entries import Delivery, Entries, Entry
from edgescale.harness.checkers.faults import REDIS, Lives, Unrests, clock_jumped
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.replays import Replays
from edgescale.harness.checkers.spans import Span, Unrest
from edgescale.harness.history import NS_PER_MS, Event, History

PROMISE, TITLE = "P6", "drain"


def check(history: History) -> Verdict:
    """Judge P6."""
    case = Case(history, PROMISE, TITLE)
    held = _held(history)
    stopped = {event.actor: event for event in history.named("stopped")}
    asked = history.view(_asked)
    for stopping in asked.values():
        case.counts["drains"] += 1
        _takes_nothing(case, history, stopping, held.get(stopping.actor, ()))
        if stopping.actor in stopped:
            _leaves_nothing(case, history, stopping, stopped[stopping.actor], held.get(stopping.actor, ()))
    for actor, event in {**history.view(Lives).stops, **asked}.items():
        _ends(case, history, actor, event, stopped.get(actor))
    for entry in list(history.view(Entries)):
        for delivery in entry.deliveries:
            _handed_over(case, history, entry, delivery)
            _costs_nothing(case, history, delivery)
            _done_stays_done(case, history, delivery)
    _settled_once(case, history)
    cancels.never_starts(case, history)
    cancels.is_told(case, history)
    return case.verdict()


def _asked(history: History) -> Mapping[str, Event]:
    """A view: when each service was asked to stop, for the first time where it was asked more than once."""
    asked: dict[str, Event] = {}
    for event in history.named("stopping"):
        asked.setdefault(event.actor, event)
    return asked


def _held(history: History) -> Mapping[str, Sequence[tuple[Entry, Delivery]]]:
    held: dict[str, list[tuple[Entry, Delivery]]] = {}
    for entry in list(history.view(Entries)):
        for delivery in entry.deliveries:
            held.setdefault(delivery.actor, []).append((entry, delivery))
    return held


def _calm(history: History, event: Event) -> Unrest:
    """What disturbs this worker, other than its own stop."""
    return history.view(Unrests).of(REDIS, event.name, even_if_down=True)


def _takes_nothing(case: Case, history: History, stopping: Event, held: Sequence[tuple[Entry, Delivery]]) -> None:
    """A read that waits at the server may still bring something; nothing does after it."""
    bound_ns = (history.header.terms.block_ms + history.header.bounds.reply_ms) * NS_PER_MS
    deadline_ns = _calm(history, stopping).deadline(stopping.time_ns, bound_ns)
    for _, delivery in held:
        if delivery.event.time_ns > deadline_ns:
            late_ms = (delivery.event.time_ns - stopping.time_ns) // NS_PER_MS
            sentence = f"{stopping.actor} took {delivery.event.request_id} {late_ms} ms after it was asked to stop"
            case.find("took_after_stop", sentence, stopping, delivery.event)


def _ends(case: Case, history: History, actor: str, asked: Event, stopped: Event | None) -> None:
    """Whoever is asked to stop has stopped within the grace and a bound, if nobody killed it."""
    name = actor.partition("#")[0]
    if actor in history.view(Lives).crashes or name == REDIS:
        return
    bound_ns = (history.header.terms.drain_grace_ms + history.header.bounds.stop_ms) * NS_PER_MS
    deadline_ns = history.view(Unrests).of(REDIS, name, even_if_down=True).deadline(asked.time_ns, bound_ns)
    ended_ns = history.end_ns if stopped is None else stopped.time_ns
    if ended_ns > deadline_ns:
        sentence = f"{actor} had not stopped {bound_ns // NS_PER_MS} ms after it was asked to"
        case.find("stops_late", sentence, asked, stopped)


def _leaves_nothing(
    case: Case, history: History, stopping: Event, stopped: Event, held: Sequence[tuple[Entry, Delivery]]
) -> None:
    """What it held is settled or handed back when it has stopped, if Redis was there to hear of it."""
    if _calm(history, stopping).meets(Span(stopping.time_ns, stopped.time_ns)):
        return
    for entry, delivery in held:
        following = entry.after(delivery)
        taken = following is not None and following.event.index < stopped.index
        gone = history.view(Losses).any_in(Span(delivery.event.time_ns, stopped.time_ns))
        if not delivery.ended and not taken and not gone and delivery.event.index < stopped.index:
            sentence = f"{stopping.actor} stopped in good order with {entry.request_id} in its hands"
            case.find("left_behind", sentence, delivery.event, stopped)


def _handed_over(case: Case, history: History, entry: Entry, delivery: Delivery) -> None:
    """What was handed back without an attempt being counted can be taken at once; what is not due, when it is."""
    returned = delivery.returned
    if returned is None or returned.end is None or returned.phase != "ok" or not delivery.drained:
        return
    case.counts["handed_back"] += 1
    waits = entry.request_id in history.view(_for_later)
    if waits and clock_jumped(history, Span(returned.start.time_ns, history.end_ns)):
        # Its schedule is by that clock.
        return
    delay_ns = returned.start.number("delay_ms") * NS_PER_MS if waits else 0
    bound_ns = history.view(Capacity).claimed_late(entry, delivery, returned.end.time_ns, delay_ns)
    if bound_ns is not None:
        sentence = f"{entry.request_id} was handed back, and nobody took it within {bound_ns // NS_PER_MS} ms"
        case.find("not_handed_over", sentence, delivery.event, returned.end)


def _for_later(history: History) -> frozenset[str]:
    """A view: the tasks that were not to be started at once."""
    return frozenset(call.request_id for call in history.view(submissions) if call.start.number("not_before_ms"))


def _costs_nothing(case: Case, history: History, delivery: Delivery) -> None:
    """What is handed back although nothing failed has used up no attempt, and waits only where it is not due."""
    request_id = delivery.event.request_id
    for call in delivery.returns:
        if call.start.fields.get("reason", "unknown") != "":
            continue
        if call.start.number("deliveries", delivery.attempt) >= delivery.tried(call):
            sentence = f"{delivery.actor} handed {request_id} back, and the attempt counts"
            case.find("attempt_counted", sentence, delivery.event, call.start)
        if call.start.number("delay_ms") and request_id not in history.view(_for_later):
            sentence = f"{delivery.actor} handed {request_id} back, to be taken later"
            case.find("held_back", sentence, delivery.event, call.start)


def _done_stays_done(case: Case, history: History, delivery: Delivery) -> None:
    """Nobody is given a task that was settled a while ago."""
    losses = history.view(Losses)
    given = delivery.event
    bound_ns = history.header.bounds.reply_ms * NS_PER_MS
    for store in history.view(Entries).stores.get(given.request_id, ()):
        moments = [Span(event.time_ns, event.time_ns) for event in (store, given)]
        again = history.view(Replays).between(given.request_id, *moments)
        if store.index > given.index or losses.undone(*moments, told=False) or again:
            continue
        if given.time_ns > _calm(history, given).deadline(store.time_ns, bound_ns):
            sentence = f"{given.request_id} was settled, and later given to {given.actor}"
            case.find("done_again", sentence, store, given)
            return


def _settled_once(case: Case, history: History) -> None:
    """One delivery settles a request id."""
    losses = history.view(Losses)
    winners: dict[str, Call] = {}
    for call in sorted(history.view(settlements), key=lambda call: call.span.end_ns):
        if call.end is None or call.end.text("status") != "settled" or not call.request_id:
            continue
        case.counts["settled"] += 1
        first = winners.setdefault(call.request_id, call)
        again = history.view(Replays).between(call.request_id, first.span, call.span)
        if _delivery(first) != _delivery(call) and not losses.undone(first.span, call.span) and not again:
            case.find("settled_twice", f"{call.request_id} was settled twice", first.end, call.end)
        winners[call.request_id] = call


def _delivery(call: Call) -> tuple[str, str]:
    return call.start.text("consumer", call.start.actor), call.start.text("entry")
