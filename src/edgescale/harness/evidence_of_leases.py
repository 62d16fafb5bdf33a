"""What a history shows of something rare having really happened to entries in the hands of workers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from edgescale.harness.checkers.calls import settlements
from edgescale.harness.checkers.entries import Delivery, Entries
from edgescale.harness.checkers.faults import Lives, windows
from edgescale.harness.checkers.spans import Span
from edgescale.harness.evidence import Evidence, was_stored
from edgescale.harness.history import NS_PER_MS, Event, History


def _deliveries(history: History) -> Iterator[Delivery]:
    for entry in history.view(Entries):
        yield from entry.deliveries


def takeovers(history: History) -> Iterator[tuple[Delivery, Delivery]]:
    """Deliveries that were reclaimed, each after the delivery before it."""
    for entry in history.view(Entries):
        for held, following in pairwise(entry.deliveries):
            if following.event.text("how") == "reclaim":
                yield held, following


def _won(held: Delivery) -> Event | None:
    """The end of the call that settled the task, None when this delivery did not."""
    ends = (call.end for call in held.settles if call.end is not None)
    return next((end for end in ends if end.text("status") == "settled"), None)


def _died_with(history: History, held: Delivery) -> bool:
    crash = history.view(Lives).crashes.get(held.actor)
    return crash is not None and crash.index > held.event.index and not held.ended


def reclaimed_from_dead(history: History) -> int:
    """Entries that were taken over from a worker that had crashed with them."""
    return sum(_died_with(history, held) for held, _ in takeovers(history))


def reclaimed_from_living(kind: str) -> Evidence:
    """Entries that were taken over from a worker that was so disturbed while it held them, and lived."""

    def count(history: History) -> int:
        concerned = [window for window in history.view(windows) if window.kind == kind]
        return sum(
            any(
                held.event.name in window.names and window.span.meets(Span(held.event.time_ns, following.event.time_ns))
                for window in concerned
            )
            for held, following in takeovers(history)
            if not _died_with(history, held) and not held.returns
        )

    return count


def reclaimed_unheard(history: History) -> int:
    """Entries that were taken over from a worker that never heard of them."""
    count = 0
    for entry in history.view(Entries):
        heard = [0, *(delivery.attempt for delivery in entry.deliveries)]
        count += sum(attempt > before + 1 for before, attempt in pairwise(heard))
    return count


def reclaimed_after_unclear_settle(history: History) -> int:
    """Entries that came again because their worker never got to settle them, or never heard that it had."""
    return sum(any(call.phase in {"info", "open"} for call in held.settles) for held, _ in takeovers(history))


def renewals_refused(history: History) -> int:
    """Deliveries whose worker learnt from a renewal that it had lost them."""
    return sum(held.lost is not None for held in _deliveries(history))


def leases_outlived(history: History) -> int:
    """Deliveries that were settled after their first lease had run out, thanks to renewals."""
    lease_ns = history.header.terms.lease_ms * NS_PER_MS
    return sum(
        bool(held.renewals) and end.time_ns > held.event.time_ns + lease_ns
        for held in _deliveries(history)
        if (end := _won(held)) is not None
    )


def died_after_storing(history: History) -> int:
    """Workers that crashed after their result was stored, and before they heard of it."""
    crashes = history.view(Lives).crashes
    return sum(
        call.end is None
        and call.start.actor in crashes
        and any(
            call.start.index < event.index < crashes[call.start.actor].index
            for event in history.about(call.request_id)
            if event.operation == "store"
        )
        for call in history.view(settlements)
    )


def effects_repeated(history: History) -> int:
    """Tasks whose side effect was committed more than once, under one result."""
    effects = Counter(event.request_id for event in history.named("effect"))
    return sum(count > 1 and was_stored(history, request_id) for request_id, count in effects.items())


def tried_again(history: History) -> int:
    """Tasks that succeeded after an attempt that had failed."""
    again = {held.event.request_id for held in _deliveries(history) if held.returned and not held.drained}
    return sum(was_stored(history, request_id, "succeeded") for request_id in again)


def killers(history: History) -> int:
    """Entries with which two workers and more crashed."""
    return sum(sum(_died_with(history, held) for held in entry.deliveries) > 1 for entry in history.view(Entries))


def exhausted(history: History) -> int:
    """Tasks that were buried after their last try."""
    attempts_max = history.header.terms.attempts_max
    ends = [_won(held) for held in _deliveries(history) if held.attempt >= attempts_max]
    return sum(end is not None and end.text("state") == "dead_lettered" for end in ends)


def replayed_well(history: History) -> int:
    """Tasks that succeeded after they had been put back from the dead letters."""
    replayed = {event.request_id: event.index for event in reversed(history.named("replay"))}
    return sum(
        any(store.index > index and store.text("state") == "succeeded" for store in _stores(history, request_id))
        for request_id, index in replayed.items()
    )


def _stores(history: History, request_id: str) -> Sequence[Event]:
    return history.view(Entries).stores.get(request_id, ())


def handed_over(history: History) -> int:
    """Entries that a draining worker handed back, and another took."""
    return sum(held.drained and held.actor != following.actor for held, following in takeovers(history))


def finished_in_grace(history: History) -> int:
    """Tasks that a worker settled after it had been asked to stop."""
    asked = {event.actor: event.index for event in history.named("stopping")}
    ends = [_won(held) for held in _deliveries(history)]
    return sum(end is not None and end.index > asked.get(end.actor, end.index) for end in ends)
