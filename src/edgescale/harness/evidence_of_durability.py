"""What a history shows of failovers having really cost something, where what was told must not be lost."""

from collections.abc import Sequence

from edgescale.harness.checkers.calls import client_calls
from edgescale.harness.history import Event, History


def _strict_losses(history: History) -> Sequence[Event]:
    """When a server took over that did not have the last writes, though the terms forgive no loss."""
    if history.header.terms.durability != "none":
        return []
    return [event for event in history.named("lost") if event.text("what") == "suffix"]


def untold_lost(history: History) -> int:
    """Entries that such a server did not have."""
    indexes = [event.index for event in _strict_losses(history)]
    deletes = [event for event in history.named("delete") if event.text("why") == "lost"]
    all_losses = [event.index for event in history.named("lost")]
    return sum(next((index for index in all_losses if index > event.index), -1) in indexes for event in deletes)


def told_kept(history: History) -> int:
    """Ends of tasks that somebody had been told of before such a loss, and that stood there at the end."""
    finals = {event.request_id: event.text("state") for event in history.named("final") if event.request_id}
    answered = [(call, call.answer) for call in history.view(client_calls)]
    return sum(
        call.span.end_ns < lost.time_ns and finals.get(call.request_id) == answer.state
        for lost in _strict_losses(history)
        for call, answer in answered
        if answer is not None
    )
