"""What a history shows of cancellations having really met tasks in every stage of their lives."""

from collections.abc import Iterator, Sequence

from edgescale.harness.checkers.calls import client_calls
from edgescale.harness.history import Event, History


def _lives(history: History) -> Iterator[tuple[Sequence[Event], Sequence[Event]]]:
    """Of each task that was cancelled, what happened to it before and after that."""
    for store in history.named("store"):
        if store.text("state") == "cancelled":
            events = history.about(store.request_id)
            yield [event for event in events if event.index < store.index], events[events.index(store) + 1 :]


def queued(history: History) -> int:
    """Tasks that were cancelled before any worker had heard of them."""
    return sum(all(event.operation != "deliver" for event in before) for before, _ in _lives(history))


def running(history: History) -> int:
    """Tasks whose handler was told to stop because they had been cancelled."""
    return sum(
        any(
            (event.operation, event.phase, event.text("reason")) == ("handle", "fail", "CancelledError")
            for event in after
        )
        for _, after in _lives(history)
    )


def between_tries(history: History) -> int:
    """Tasks that were cancelled while they waited for their next try."""
    count = 0
    for before, _ in _lives(history):
        moves = [event for event in before if event.operation == "deliver" or _given_back(event)]
        count += bool(moves) and moves[-1].operation == "give_back"
    return count


def _given_back(event: Event) -> bool:
    return (event.operation, event.phase) == ("give_back", "ok")


def too_late(history: History) -> int:
    """Calls to cancel a task that had ended otherwise before."""
    calls = [call for call in history.view(client_calls) if call.start.operation == "cancel"]
    return sum(call.answer is not None and call.answer.state != "cancelled" for call in calls)
