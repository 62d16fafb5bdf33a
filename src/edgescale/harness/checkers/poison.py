"""P5, poison ends: a task is tried so often and no more, then it is among the dead letters, and only then."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.entries import Delivery, Entries, Entry
from edgescale.harness.checkers.given import given_ns
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History

PROMISE, TITLE = "P5", "poison ends"
DEAD, UNDECODABLE = "dead_lettered", "UNDECODABLE"


def check(history: History) -> Verdict:
    """Judge P5. What does not decode may be buried at its first delivery."""
    case = Case(history, PROMISE, TITLE)
    for entry in list(history.view(Entries)):
        _tries(case, history, entry)
        for held in entry.deliveries:
            _last_try(case, history, held)
    undecodable = _undecodable(history)
    for request_id, event in _early(history).items():
        if request_id not in undecodable:
            case.find("buried_early", f"{request_id} was buried before all its tries were used", event)
    for event in history.named("final"):
        _dead_or_not(case, history, event)
    if not history.named("final"):
        case.doubt("there is no final section")
    return case.verdict()


def _undecodable(history: History) -> AbstractSet[str]:
    """The ids of tasks that no worker could decode, or that the nemesis made up."""
    return {
        event.request_id
        for event in history.events
        if UNDECODABLE in {event.text("reason"), event.text("task_reason")}
        or event.text("why") == "injected"
        or (event.actor == "nemesis" and event.operation != "fault")
    }


def _tries(case: Case, history: History, entry: Entry) -> None:
    """At most N tries count; what a draining worker gave back does not, and Redis may forget how many there were.

    What was given before Redis forgot may be heard of, and tried, long after.
    """
    attempts_max = history.header.terms.attempts_max
    forgot_ns = max((lost.time_ns for lost in history.view(Losses).events), default=0)
    tries = _tries_of(history, entry)
    drains = sum(delivery.drained for delivery in entry.deliveries)
    counted = sum(not forgot_ns or _given_since(history, entry, event, forgot_ns) for event in tries)
    case.counts["tries"] += len(tries)
    if counted > attempts_max + drains or any(event.number("attempt") > attempts_max for event in tries):
        sentence = f"{entry.request_id} was tried {len(tries)} times, and {attempts_max} are allowed"
        case.find("too_many_tries", sentence, *tries)


def _tries_of(history: History, entry: Entry) -> list[Event]:
    return [
        event
        for event in history.about(entry.request_id)
        if event.operation == "handle" and event.phase == "invoke" and event.text("entry") == entry.entry_id
    ]


def _given_since(history: History, entry: Entry, tried: Event, since_ns: int) -> bool:
    """Whether the delivery that was tried was surely made after this moment."""
    heard = [
        delivery
        for delivery in entry.deliveries
        if (delivery.actor, delivery.attempt) == (tried.actor, tried.number("attempt"))
        and delivery.event.index < tried.index
    ]
    return tried.time_ns >= since_ns and all(given_ns(history, delivery) >= since_ns for delivery in heard[-1:])


def _last_try(case: Case, history: History, held: Delivery) -> None:
    """Who fails at the last try buries the task, and does not hand it back for another one."""
    returned = held.returned
    if returned is not None and not held.drained and held.tried(returned) >= history.header.terms.attempts_max:
        sentence = f"{held.event.request_id} failed at its last try, and was handed back for another one"
        case.find("not_buried", sentence, held.event, returned.start)


def _early(history: History) -> Mapping[str, Event]:
    """What was buried before all its tries were used, by request id."""
    early = {event.request_id: event for event in history.named("final") if _ends_early(history, event)}
    for entry in history.view(Entries):
        for held in entry.deliveries:
            if _buried_early(history, held):
                early[entry.request_id] = held.event
        if _tried_to_the_end(history, entry):
            early.pop(entry.request_id, None)
    return early


def _buried_early(history: History, held: Delivery) -> bool:
    return any(
        call.end is not None
        and call.end.text("status") == "settled"
        and call.end.text("state") == DEAD
        and held.tried(call) < history.header.terms.attempts_max
        for call in held.settles
    )


def _tried_to_the_end(history: History, entry: Entry) -> bool:
    """Whether it was tried as often as it may be, although Redis has lost what counted that.

    As with seeds 9307 and 9542: it fails over to a replica that has an earlier count, as the last try is over.
    """
    drains = sum(delivery.drained for delivery in entry.deliveries)
    tries = len(_tries_of(history, entry)) - drains
    return bool(history.view(Losses).events) and tries >= history.header.terms.attempts_max


def _ends_early(history: History, event: Event) -> bool:
    counted = "attempts" in event.fields and event.number("attempts") < history.header.terms.attempts_max
    return event.text("state") == DEAD and counted


def _dead_or_not(case: Case, history: History, event: Event) -> None:
    """A task is among the dead letters if that is its state, and in no other case."""
    state = event.text("state")
    if "dead" not in event.fields:
        return
    case.counts["buried"] += event.flag("dead")
    if state == DEAD and not event.flag("dead"):
        case.find("not_among_dead", f"{event.request_id} is dead-lettered, and not among the dead letters", event)
    stores = history.view(Entries).stores.get(event.request_id, ())
    # A record expires before its dead letter does; the id may then have had a second life.
    expired = any(
        history.view(Losses).expired(Span(store.time_ns, store.time_ns), event.time_ns) for store in stores[:1]
    )
    if event.flag("dead") and state not in {DEAD, ""} and not expired:
        case.find("dead_beside_other", f"{event.request_id} is {state}, and among the dead letters", event)
