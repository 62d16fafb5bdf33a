"""When terminal states were stored: as Redis saw it, or as it can be known where nobody watched."""

from collections.abc import Mapping, Sequence

from edgescale.harness.checkers.calls import Call, paired
from edgescale.harness.checkers.faults import REDIS
from edgescale.harness.history import NS_PER_MS, Event, History


def stores_of(history: History) -> Mapping[str, Sequence[Event]]:
    """A view: when each task's terminal state was written, as Redis saw it.

    Where nobody watched Redis, the records at the end tell it, to the millisecond, of whatever is left of them; of the
    rest, the settling workers do.
    """
    by_request: dict[str, list[Event]] = {}
    for event in history.named("store"):
        by_request.setdefault(event.request_id, []).append(event)
    if not any(event.name == REDIS for event in history.named("store")):
        for call in paired(history.named("settle")):
            stored = by_request.setdefault(call.request_id, [])
            if call.end is not None and call.end.text("status") == "settled" and not _known(stored, call):
                stored.append(call.end)
                stored.sort(key=lambda event: event.index)
    return by_request


def _known(stored: Sequence[Event], call: Call) -> bool:
    """Whether what was stored by a call is written down already, by a clock of whole milliseconds."""
    return any(call.span.start_ns - 2 * NS_PER_MS <= event.time_ns <= call.span.end_ns for event in stored)
