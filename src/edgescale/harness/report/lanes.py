"""Swim lanes of a few requests: what is drawn, and where.

Time runs downwards. Every event has a row of its own, so that nothing lies upon anything else however much happened at
once; long pauses and what is left out have a row that says so. A lane is one participant, whatever its incarnation.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgescale.harness.checkers.calls import CLIENT_OPERATIONS, Call, paired
from edgescale.harness.checkers.entries import Delivery, Entries
from edgescale.harness.checkers.faults import Lives
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History
from edgescale.harness.report.disturbances import Disturbance, disturbances
from edgescale.harness.report.units import duration, times
from edgescale.harness.timeline import in_order, with_fate
from edgescale.harness.timeline_lines import chosen

REQUESTS_MAX, ROWS_MAX, LANES_MAX, CLIENTS_MAX = 4, 160, 14, 4
# A pause that takes so much of the whole story gets a row.
PAUSE_SHARE = 1 / 20
NOWHERE = -1
# From the outside to the inside; who is none of these comes after them.
ORDER = ("client", "gateway", "ingestion", "redis", "worker", "probe", "nemesis")
NEMESIS, CLIENTS, OTHERS = "nemesis", "clients", "others"
CALLS = (*CLIENT_OPERATIONS, "handle", "settle", "renew", "give_back")


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


@dataclass(frozen=True, slots=True)
class Band:
    """A disturbance, over the lanes of those that suffer from it.

    Attributes:
        item: it.
        lanes: of those.
        start, end: as of a bar.
        starts: as of a bar.
    """

    item: Disturbance
    lanes: Sequence[int]
    start: float
    end: float
    starts: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """The picture.

    Attributes:
        names: of the lanes, from left to right.
        lane_of: an actor's place among them.
        rows, bars, bands: what is in them.
        left_out: requests that are not shown.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    bars: Sequence[Bar]
    bands: Sequence[Band]
    left_out: int
    lane_of: Mapping[str, int] = field(default_factory=dict)


def lanes(history: History, request_ids: Sequence[str], marked: Collection[int] = ()) -> Lanes:
    """The picture of these requests.

    Args:
        history: of the run.
        request_ids: of whom; the first REQUESTS_MAX of them are drawn.
        marked: indices of events that cannot stand together; they are drawn in any case.
    """
    drawn = request_ids[:REQUESTS_MAX]
    own = in_order([
        *(event for request_id in drawn for event in history.about(request_id)),
        *(history.events[index] for index in marked),
    ])  # fmt: skip
    told, befallen = with_fate(history, [event for event in own if event.operation != "final" or event.index in marked])
    concerned = _concerning(history, told)
    actors = [*(event.name for event in told), *([NEMESIS] if concerned else [])]
    names, lane_of = _names(list(dict.fromkeys(actors)))
    rows = _rows(_worth_a_row(told, concerned, marked), marked, befallen)
    places = _Places(rows)
    crashes = history.view(Lives).crashes
    bars = [*_calls(told, crashes, places, lane_of), *_deliveries(history, drawn, places, lane_of)]
    bands = [_band(item, places, lane_of) for item in concerned]
    return Lanes(names, rows, bars, bands, len(request_ids) - len(drawn), lane_of)


def _concerning(history: History, told: Sequence[Event]) -> Sequence[Disturbance]:
    """The disturbances that were in force meanwhile, of those who act."""
    if not told:
        return []
    whole = Span(told[0].time_ns, told[-1].time_ns)
    names = {event.name for event in told}
    return [
        item
        for item in history.view(disturbances)
        if item.span.meets(whole) and any(item.befalls(name) for name in names)
    ]


def _names(names: Sequence[str]) -> tuple[Sequence[str], Mapping[str, int]]:
    """The lanes, and whose lane is which; too many of a kind share one."""
    clients = [name for name in names if _kind(name) == "client"]
    shared = dict.fromkeys(clients, CLIENTS) if len(clients) > CLIENTS_MAX else {}
    ordered = sorted({shared.get(name, name) for name in names}, key=_order)
    if len(ordered) > LANES_MAX:
        kept = [*ordered[: LANES_MAX - 2], *([NEMESIS] if NEMESIS in ordered[LANES_MAX - 2 :] else []), OTHERS]
        shared |= {name: OTHERS for name in names if shared.get(name, name) not in kept}
        ordered = kept
    return ordered, {name: ordered.index(shared.get(name, name)) for name in names}


def _kind(name: str) -> str:
    return next((kind for kind in ORDER if name.startswith(kind)), "")


def _order(name: str) -> tuple[int, int, str]:
    kind = _kind(name)
    return ORDER.index(kind) if kind else len(ORDER) - 2, len(name), name


def _worth_a_row(told: Sequence[Event], concerned: Iterable[Disturbance], marked: Collection[int]) -> Sequence[Event]:
    """All but the renewals that were granted, as they are many and say little; and the beginnings of faults."""
    granted = {
        event.index
        for call in paired(event for event in told if event.operation == "renew")
        if call.phase == "ok" and call.end is not None and call.end.text("status") != "lost"
        for event in (call.start, call.end)
    }
    begun = [
        item.began
        for item in concerned
        if item.kind == "fault" and told[0].time_ns <= item.began.time_ns <= told[-1].time_ns
    ]
    return in_order([*(event for event in told if event.index in marked or event.index not in granted), *begun])


def _rows(events: Sequence[Event], marked: Collection[int], befallen: Collection[int]) -> Sequence[Row]:
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
    return rows[:ROWS_MAX]


class _Places:
    """Where in the rows something was that may have no row."""

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


def _calls(
    told: Sequence[Event], crashes: Mapping[str, Event], places: _Places, lane_of: Mapping[str, int]
) -> Iterable[Bar]:
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


def _deliveries(
    history: History, request_ids: Collection[str], places: _Places, lane_of: Mapping[str, int]
) -> Iterable[Bar]:
    for entry in history.view(Entries):
        if entry.request_id in request_ids:
            for delivery in entry.deliveries:
                if delivery.event.name in lane_of:
                    yield _held(history, delivery, places, lane_of[delivery.event.name])


def _held(history: History, delivery: Delivery, places: _Places, lane: int) -> Bar:
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


def _band(item: Disturbance, places: _Places, lane_of: Mapping[str, int]) -> Band:
    suffering = sorted({lane for name, lane in lane_of.items() if name != NEMESIS and item.befalls(name)})
    own = places.has(item.began)
    start = own + 0.5 if own > NOWHERE else places.at(item.span.start_ns)
    return Band(item, suffering, start, max(places.at(item.span.end_ns), start), own)
