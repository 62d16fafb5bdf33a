"""Swim lanes of a few requests: what is drawn, and where.

Time runs downwards. Every event has a row of its own, so that nothing lies upon anything else however much happened at
once; long pauses and what is left out have a row that says so. A lane is one participant, whatever its incarnation.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgescale.harness.checkers.calls import paired
from edgescale.harness.checkers.faults import Lives
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History
from edgescale.harness.report.disturbances import Disturbance, disturbances
from edgescale.harness.report.lane_bars import Bar, calls, deliveries
from edgescale.harness.report.lane_rows import NOWHERE, Places, Row, rows_of
from edgescale.harness.timeline import in_order, with_fate

REQUESTS_MAX, LANES_MAX, CLIENTS_MAX, BANDS_MAX = 4, 14, 4, 24
# From the outside to the inside; who is none of these comes after them.
ORDER = ("client", "gateway", "ingestion", "redis", "worker", "probe", "nemesis")
NEMESIS, CLIENTS, OTHERS = "nemesis", "clients", "others"


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
        requests_left_out, bands_left_out: how many are not shown.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    bars: Sequence[Bar]
    bands: Sequence[Band]
    lane_of: Mapping[str, int]
    requests_left_out: int
    bands_left_out: int


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
    rows = rows_of(_worth_a_row(told, concerned, marked), marked, befallen)
    places = Places(rows)
    crashes = history.view(Lives).crashes
    bars = [*calls(told, crashes, places, lane_of), *deliveries(history, drawn, places, lane_of)]
    bands = [_band(item, places, lane_of) for item in concerned[:BANDS_MAX]]
    left_out = len(request_ids) - len(drawn), len(concerned) - len(bands)
    return Lanes(names, rows, bars, bands, lane_of, *left_out)


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


def _band(item: Disturbance, places: Places, lane_of: Mapping[str, int]) -> Band:
    suffering = sorted({lane for name, lane in lane_of.items() if name != NEMESIS and item.befalls(name)})
    own = places.has(item.began)
    start = own + 0.5 if own > NOWHERE else places.at(item.span.start_ns)
    return Band(item, suffering, start, max(places.at(item.span.end_ns), start), own)
