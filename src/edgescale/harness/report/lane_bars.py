"""The bars of swim lanes: calls, and entries in the hands of workers."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgescale.harness.checkers.calls import CLIENT_OPERATIONS, Call, paired
from edgescale.harness.checkers.entries import Delivery, Entries
from edgescale.harness.checkers.faults import Lives
from edgescale.harness.history import Event, History
from edgescale.harness.report.lane_rows import NOWHERE, Places
from edgescale.harness.report.units import duration

CALLS = (*CLIENT_OPERATIONS, "handle", "settle", "renew", "give_back")


@dataclass(frozen=True, slots=True)
class Bar:
    """What lasted: a call, or an entry in the hands of a worker.

    Attributes:
        lane: its place among the lanes.
        kind: the operation, or "delivery".
        start, end: in rows; an end that is not in the picture is that of the picture.
        outcome: phase of the end; "open" without one.
        text: what it was.
        starts, ends: the rows of the events that began and ended it; NOWHERE for one without a row.
    """

    lane: int
    kind: str
    start: float
    end: float
    outcome: str
    text: str
    starts: int = NOWHERE
    ends: int = NOWHERE


def calls(
    told: Sequence[Event], crashes: Mapping[str, Event], places: Places, lane_of: Mapping[str, int]
) -> Iterable[Bar]:
    """The calls of which anything has a row; one whose caller was killed ends there.

    Args:
        told: the events.
        crashes: of each incarnation that crashed.
        places: of the rows.
        lane_of: whose lane is which.
    """
    for call in paired(event for event in told if event.operation in CALLS and event.call is not None):
        starts, ends = places.has(call.start), places.has(call.end)
        if max(starts, ends) > NOWHERE:
            last = call.end or crashes.get(call.start.actor)
            end = places.last if last is None else places.of(last)
            text = f"{call.start.operation} of {call.request_id} by {call.start.actor}: {_took(call)}"
            lane = lane_of[call.start.name]
            yield Bar(lane, call.start.operation, places.of(call.start), end, call.phase, text, starts, ends)


def _took(call: Call) -> str:
    if call.end is None:
        return "it never ended"
    return f"{call.phase} after {duration(call.end.time_ns - call.start.time_ns)}"


def deliveries(
    history: History, request_ids: Collection[str], places: Places, lane_of: Mapping[str, int]
) -> Iterable[Bar]:
    """The entries of these requests, each time that they were in the hands of a worker."""
    for entry in history.view(Entries):
        if entry.request_id in request_ids:
            for delivery in entry.deliveries:
                if delivery.event.name in lane_of:
                    yield _held(history, delivery, places, lane_of[delivery.event.name])


def _held(history: History, delivery: Delivery, places: Places, lane: int) -> Bar:
    """From the delivery until its worker settled it, gave it back, learnt that it had lost it, or died with it."""
    crash = history.view(Lives).crashes.get(delivery.actor)
    ends = [
        *((call.end, f"settled ({call.end.text('status') or call.phase})") for call in delivery.settles if call.end),
        *((call.end, "given back") for call in delivery.returns if call.end),
        *([(delivery.lost, "found to be lost")] if delivery.lost else []),
        *([(crash, "lost with its worker")] if crash is not None else []),
    ]
    later = [(event, how) for event, how in ends if event.index > delivery.event.index]
    end, how = min(later, key=lambda item: item[0].index, default=(None, "held to the end"))
    what = f"{delivery.event.request_id} in the hands of {delivery.actor}, attempt {delivery.attempt}: {how}"
    start = places.of(delivery.event)
    stop = places.last if end is None else places.of(end)
    return Bar(lane, "delivery", start, stop, "ok" if end else "open", what, places.has(delivery.event))
