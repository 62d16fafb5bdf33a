"""P4, reclaim: the work of the dead is taken over in time, the living keep theirs, and losers settle nothing."""

from collections.abc import Sequence

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import Call
from edgescale.harness.checkers.capacity import Capacity
from edgescale.harness.checkers.entries import Delivery, Entries, Entry
from edgescale.harness.checkers.faults import REDIS, Lives, Unrests, clock_jumped
from edgescale.harness.checkers.given import given_ns
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.history import NS_PER_MS, Event, History

PROMISE, TITLE = "P4", "reclaim"
# Redis counts in whole milliseconds, at the beginning of a wait and at its end.
ROUNDED_NS = 2 * NS_PER_MS


def check(history: History) -> Verdict:
    """Judge P4.

    Nothing is assumed of when Redis did what a worker heard of later: a theft is reported where even the earliest
    possible renewal was younger than the lease, and a settlement by a loser where it cannot have come before the loss.
    """
    case = Case(history, PROMISE, TITLE)
    for entry in list(history.view(Entries)):
        _unheard(case, history, entry)
        for place, held in enumerate(entry.deliveries, 1):
            _taken_over(case, history, entry, held)
            _retried(case, history, entry, held)
            _fenced(case, history, held, entry.deliveries[place:])
            if place < len(entry.deliveries):
                case.counts["redeliveries"] += 1
                later = entry.deliveries[place:]
                if not _stolen(case, history, held, later):
                    _caused(case, history, held, later[0])
    return case.verdict()


def _lease_ns(history: History) -> int:
    return history.header.terms.lease_ms * NS_PER_MS


def _taken_over(case: Case, history: History, entry: Entry, held: Delivery) -> None:
    """What a worker holds when it dies or falls asleep is somebody else's within lease, sweep and a second."""
    silenced = None if held.ended else _silenced(history, entry, held)
    if silenced is None:
        return
    case.counts["silenced"] += 1
    bound_ns = history.view(Capacity).claimed_late(entry, held, silenced.time_ns, _lease_ns(history))
    if bound_ns is not None:
        verb = "died" if silenced.operation == "crash" else "fell asleep"
        sentence = f"{held.actor} {verb} with {entry.request_id}, and nobody took it over within {_ms(bound_ns)} ms"
        case.find("not_taken_over", sentence, held.event, silenced)


def _silenced(history: History, entry: Entry, held: Delivery) -> Event | None:
    """The crash, or the pause for longer than it takes to be given up, that struck a worker while it held the entry."""
    lives = history.view(Lives)
    following = entry.after(held)
    until = following.event.index if following else FOREVER
    crash = lives.crashes.get(held.actor)
    if crash is not None and held.event.index < crash.index < until:
        return crash
    capacity = history.view(Capacity)
    for pause in lives.pauses(held.actor):
        deadline_ns, _ = capacity.claim_deadline(entry, pause.time_ns, _lease_ns(history))
        if held.event.index < pause.index < until and lives.resumed_ns(held.actor, pause) > deadline_ns:
            return pause
    return None


def _retried(case: Case, history: History, entry: Entry, held: Delivery) -> None:
    """A task that is to be tried again is tried again when its delay is over."""
    returned = held.returned
    if returned is None or returned.end is None or returned.phase != "ok" or held.drained:
        return
    case.counts["retries"] += 1
    delay_ns = returned.start.number("delay_ms") * NS_PER_MS
    if delay_ns > _lease_ns(history) and clock_jumped(history, Span(returned.start.time_ns, history.end_ns)):
        # Its schedule is by that clock.
        return
    bound_ns = history.view(Capacity).claimed_late(entry, held, returned.end.time_ns, delay_ns)
    if bound_ns is not None:
        sentence = f"{entry.request_id} was to be tried again, and was not within {_ms(bound_ns)} ms"
        case.find("not_retried", sentence, held.event, returned.end)
    _not_early(case, history, entry, held, returned, delay_ns)


def _not_early(case: Case, history: History, entry: Entry, held: Delivery, returned: Call, delay_ns: int) -> None:
    """Nor is it tried before that: by a claim, for a group that was lost gives out everything anew."""
    following = entry.after(held)
    if following is None or following.event.text("how") != "reclaim" or following.attempt != held.tried(returned) + 1:
        return
    waited = Span(returned.start.time_ns, following.event.time_ns)
    excused = clock_jumped(history, waited) or history.view(Losses).any_in(waited)
    early = waited.end_ns + ROUNDED_NS < waited.start_ns + delay_ns
    if following.event.index > returned.start.index and early and not excused:
        sentence = f"{entry.request_id} was to wait {_ms(delay_ns)} ms, and was tried again sooner"
        case.find("retried_early", sentence, returned.start, following.event)


def _stolen(case: Case, history: History, held: Delivery, later: Sequence[Delivery]) -> bool:
    """Whether an entry was reclaimed although its lease cannot have run out.

    Where the same worker got it again later, its renewals may have been of that lease.
    """
    following = later[0]
    renewed_ns = _lease_began_ns(history, held, following)
    span = Span(renewed_ns, following.event.time_ns)
    too_early = following.event.time_ns < renewed_ns + _lease_ns(history)
    returned = held.returned is not None and held.returned.start.index < following.event.index
    again = any(other.consumer == held.consumer for other in later)
    excused = returned or again or following.event.text("how") != "reclaim"
    if not too_early or excused or _forgot(history, held, following) or clock_jumped(history, span):
        return False
    sentence = (
        f"{following.actor} took {held.event.request_id} from {held.actor} "
        f"{_ms(following.event.time_ns - renewed_ns)} ms after its lease began anew"
    )
    case.find("stolen", sentence, held.event, following.event)
    return True


def _lease_began_ns(history: History, held: Delivery, following: Delivery | None = None) -> int:
    """The earliest moment at which the last lease can have begun, before the following delivery if there is one.

    A worker that lost an entry unheard may get it back, and renew it again, once the new owner's lease has run out or
    it has given the entry back.
    """
    renewals = held.renewals
    if following is not None:
        regained_ns = given_ns(history, following) + _lease_ns(history)
        if following.returned is not None:
            regained_ns = min(regained_ns, following.returned.start.time_ns)
        renewals = [span for span in renewals if span.end_ns < regained_ns]
    return renewals[-1].start_ns if renewals else given_ns(history, held)


def _caused(case: Case, history: History, held: Delivery, following: Delivery) -> None:
    """Each redelivery has a cause: its owner gave up, or something happened to the owner or to Redis."""
    given_up = held.returned is not None or any(call.phase == "info" for call in held.settles)
    unseen_between = following.attempt > held.attempt + 1
    span = Span(_lease_began_ns(history, held, following), following.event.time_ns)
    disturbed = history.view(Unrests).of(held.event.name, REDIS)
    excused = given_up or unseen_between or _forgot(history, held, following) or _found_own(held, following)
    if not excused and not disturbed.meets(span):
        sentence = (
            f"{held.event.request_id} was taken from {held.actor}, which lived and was not disturbed, "
            f"and given to {following.actor}"
        )
        case.find("no_cause", sentence, held.event, following.event)


def _found_own(held: Delivery, following: Delivery) -> bool:
    """Whether a worker came upon its own work as it looked for what it has not heard of.

    Redis tells by the count of deliveries what was never heard of, and what somebody handed back uncounted has that
    count still once it was claimed. It is not begun a second time.
    """
    claimed = held.event.text("how") == "reclaim" and following.attempt == held.attempt
    return claimed and following.event.text("how") == "unheard" and following.consumer == held.consumer


def _unheard(case: Case, history: History, entry: Entry) -> None:
    """No delivery goes unheard while nothing is disturbed."""
    before, since = 0, entry.began
    for delivery in entry.deliveries:
        heard_ns = delivery.event.time_ns
        lost = history.view(Capacity).reads_lost
        if since is not None and delivery.attempt > before + 1 and not lost.meets(Span(since.time_ns, heard_ns)):
            sentence = (
                f"{entry.request_id} came to {delivery.actor} as number {delivery.attempt}, and none heard the last"
            )
            case.find("unheard", sentence, since, delivery.event)
        before, since = delivery.attempt, delivery.event


def _fenced(case: Case, history: History, held: Delivery, later: Sequence[Delivery]) -> None:
    """Who lost an entry to another cannot settle it."""
    for call in held.settles:
        if call.end is None or call.end.text("status") != "settled":
            continue
        for other in later:
            if _took_away(history, held, other, call):
                sentence = f"{held.actor} settled {held.event.request_id}, which was {other.actor}'s by then"
                case.find("settled_by_loser", sentence, held.event, other.event, call.end)


def _took_away(history: History, held: Delivery, other: Delivery, settle: Call) -> bool:
    """Whether the other, who got the entry later, surely had it when it was settled.

    An entry that is settled is gone, so the other must have got it before. It may have lost it again to the first one,
    unheard: only after a lease without renewal, or by giving it back.
    """
    if other.consumer == held.consumer or other.returned is not None:
        return False
    if _forgot(history, held, other) or history.view(Losses).any_in(Span(other.event.time_ns, settle.span.end_ns)):
        return False
    return settle.span.end_ns - _lease_began_ns(history, other) < _lease_ns(history)


def _forgot(history: History, one: Delivery, other: Delivery) -> bool:
    """Whether Redis lost anything between two deliveries: then their order says nothing."""
    first_ns = min(given_ns(history, one), given_ns(history, other))
    heard_ns = max(one.event.time_ns, other.event.time_ns)
    return history.view(Losses).any_in(Span(first_ns, heard_ns))


def _ms(duration_ns: int) -> int:
    return duration_ns // NS_PER_MS
