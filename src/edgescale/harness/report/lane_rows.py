"""The rows of swim lanes: what has one, and where between them everything else was."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgescale.harness.history import Event
from edgescale.harness.report.units import duration, times
from edgescale.harness.timeline_lines import chosen

ROWS_MAX = 160
# A pause that takes so much of the whole story gets a row.
PAUSE_SHARE = 1 / 20
NOWHERE = -1


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the picture.

    Attributes:
        event: that happened; None for a pause.
        start: the beginning of the call that the event ends.
        pause: what is said of a pause.
        marked: it is one of those that cannot stand together.
        befallen: it befell somebody.
    """

    event: Event | None = None
    start: Event | None = None
    pause: str = ""
    marked: bool = False
    befallen: bool = False


def rows_of(events: Sequence[Event], marked: Collection[int], befallen: Collection[int]) -> Sequence[Row]:
    """A row for each event, as far as there is room, and for each long pause.

    Args:
        events: in their order.
        marked: indices of those that cannot stand together.
        befallen: indices of what befell somebody.
    """
    if not events:
        return []
    begun = {(event.actor, event.call): event for event in events if event.phase == "invoke"}
    pause_ns = (events[-1].time_ns - events[0].time_ns) * PAUSE_SHARE
    rows: list[Row] = []
    before = events[0]
    for event, left_out in chosen(events, marked):
        waited_ns = event.time_ns - before.time_ns
        pauses = [f"{duration(waited_ns)} later"] if waited_ns > pause_ns else []
        pauses += [f"{times(left_out, 'event')} left out"] if left_out else []
        if pauses:
            rows.append(Row(pause=", ".join(pauses)))
        start = begun.get((event.actor, event.call)) if event.call is not None and event.phase != "invoke" else None
        rows.append(Row(event, start, "", event.index in marked, event.index in befallen or event.operation == "fault"))
        before = event
    if len(rows) <= ROWS_MAX:
        return rows
    more = sum(row.event is not None for row in rows[ROWS_MAX - 1 :])
    return [*rows[: ROWS_MAX - 1], Row(pause=f"and {times(more, 'more event')}")]


class Places:
    """Where in the rows something was that may have no row.

    Attributes:
        last: the end of them all.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        shown = [(row.event, place) for place, row in enumerate(rows) if row.event is not None]
        self._events = [event for event, _ in shown]
        self._places = [place for _, place in shown]
        self._indices = [event.index for event in self._events]
        self._times = [event.time_ns for event in self._events]
        self.last = float(len(rows))

    def of(self, event: Event) -> float:
        """The middle of the event's row, or between the rows of its neighbours."""
        at = bisect_left(self._indices, event.index)
        if at < len(self._indices) and self._indices[at] == event.index:
            return self._places[at] + 0.5
        return self._between(at)

    def at(self, time_ns: int) -> float:
        """Between what was before and what was after."""
        return self._between(bisect_right(self._times, time_ns))

    def _between(self, at: int) -> float:
        if at == 0:
            return 0.0
        if at == len(self._places):
            return self.last
        return (self._places[at - 1] + self._places[at] + 1) / 2

    def has(self, event: Event | None) -> int:
        """The event's row, NOWHERE for one without."""
        if event is None:
            return NOWHERE
        at = bisect_left(self._indices, event.index)
        found = at < len(self._indices) and self._indices[at] == event.index
        return self._places[at] if found else NOWHERE
