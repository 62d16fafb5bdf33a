"""Swim lanes as SVG, with the events as lines of text beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgescale.harness.history import NS_PER_MS, Event
from edgescale.harness.report.disturbances import told
from edgescale.harness.report.lane_bars import Bar
from edgescale.harness.report.lane_rows import NOWHERE, Row
from edgescale.harness.report.lanes import NEMESIS, Band, Lanes
from edgescale.harness.report.markup import Html, element, joined, number, short
from edgescale.harness.report.parts import note, scrolling
from edgescale.harness.report.units import times
from edgescale.harness.timeline_lines import what

# In CSS pixels; the style sheet has the height of a row, too.
ROW, HEAD, TRACK, MARGIN, LANE_MIN = 22, 92, 12, 7, 28
NAME_MAX, WHO_MAX, ID_MAX, TEXT_MAX = 16, 18, 40, 160
KEYS = (
    ("bar call", "a call, from its beginning to its end"),
    ("bar delivery", "an entry in the hands of a worker"),
    ("mark ok", "happened, or ended well"),
    ("mark fail", "refused, failed or killed"),
    ("mark info", "ended, and nobody knows how"),
    ("mark invoke", "began"),
)
DEADLY = frozenset({"crash", "away", "lost"})
SYMBOLS: Mapping[str, str] = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "diamond": "M0-5 5 0 0 5-5 0z",
    "cross": "M-4-4 4 4M4-4-4 4",
    "arrow": "M-4.5-4h9L0 4.5z",
}
# A bar, a band in the lane of the nemesis, or the row of an event.
Item = Bar | Band | int


def drawn(picture: Lanes) -> Html:
    """The picture, in a box that scrolls by itself."""
    layout = _Layout(picture)
    inside = element(
        "g",
        *(_stripe(left, width, layout.height, at) for at, (left, width) in enumerate(layout.lanes)),
        *(_tint(band, layout) for band in picture.bands),
        *(_lasting(x, item) for x, item in layout.places if not isinstance(item, int)),
        *_marks(picture, layout),
        transform=f"translate(0 {HEAD})",
    )
    svg = element(
        "svg",
        *(_head(name, *lane) for name, lane in zip(picture.names, layout.lanes, strict=True)),
        inside,
        width=layout.width,
        height=HEAD + layout.height,
        role="img",
        aria_label=f"Swim lanes of {short(', '.join(picture.names))}. The list beside them tells the same in words.",
    )
    several = len({row.event.request_id for row in picture.rows if row.event and row.event.request_id}) > 1
    lines = element("ol", *(_line(row, several=several) for row in picture.rows), class_="rows")
    whole = element("div", svg, lines, class_="lanes", style=f"--lanes:{number(layout.width)}px")
    return joined([_legend(picture), scrolling(whole, label="Swim lanes")])


def _legend(picture: Lanes) -> Html:
    keys = element("ul", *(element("li", _key(key), text) for key, text in KEYS), class_="legend")
    bands = [
        element("li", element("i", class_=f"key band {band.item.group}"), told(band.item)) for band in picture.bands
    ]
    counts = ((picture.requests_left_out, "more request"), (picture.bands_left_out, "more disturbance"))
    more = [times(count, kind) for count, kind in counts if count]
    left_out = [note(f"Not drawn, as nothing could be told apart: {', '.join(more)}.")] if more else []
    return joined([keys, *([element("ul", *bands, class_="legend")] if bands else []), *left_out])


def _key(key: str) -> Html:
    kind, class_ = key.split()
    if kind == "bar":
        return element("i", class_=f"key {class_}")
    mark = element("path", d=SYMBOLS["cross" if class_ == "fail" else "circle"], class_=f"mark {class_}")
    return element("svg", mark, viewBox="-6 -6 12 12", width=12, height=12, class_="key-mark", aria_hidden="true")


class _Layout:
    """What is beside what: in each lane, whatever is at the same time gets a track of its own.

    Attributes:
        lanes: where each begins, and how wide it is.
        width: of all.
        places: everything that is drawn, with the middle of its track.
    """

    def __init__(self, picture: Lanes) -> None:
        tracked = [list(_tracked(items)) for items in _by_lane(picture)]
        counts = [max((track + 1 for track, _ in items), default=1) for items in tracked]
        widths = [max(2 * MARGIN + TRACK * count, LANE_MIN) for count in counts]
        self.lanes = [(sum(widths[:lane]), width) for lane, width in enumerate(widths)]
        self.width = sum(widths)
        self.height = ROW * len(picture.rows)
        firsts = [
            left + (width - TRACK * (count - 1)) / 2 for (left, width), count in zip(self.lanes, counts, strict=True)
        ]
        self.places = [
            (first + TRACK * track, item) for first, items in zip(firsts, tracked, strict=True) for track, item in items
        ]


def _by_lane(picture: Lanes) -> Sequence[Sequence[tuple[float, float, Item]]]:
    """Everything in each lane, with its beginning and end; an event that no bar shows is as long as its row."""
    lanes: list[list[tuple[float, float, Item]]] = [[] for _ in picture.names]
    for bar in picture.bars:
        lanes[bar.lane].append((bar.start, bar.end, bar))
    for band in picture.bands:
        lanes[picture.lane_of[NEMESIS]].append((band.start, band.end, band))
    shown = {row for bar in picture.bars for row in (bar.starts, bar.ends)} | {band.starts for band in picture.bands}
    for at, row in enumerate(picture.rows):
        if row.event is not None and at not in shown:
            lanes[picture.lane_of[row.event.name]].append((at + 0.5, at + 0.5, at))
    return [sorted(items, key=lambda item: (item[0], -item[1])) for items in lanes]


def _tracked(items: Iterable[tuple[float, float, Item]]) -> Iterator[tuple[int, Item]]:
    """Each in the first track that is free; what ends in a row and what begins in it stand side by side."""
    taken_until: list[float] = []
    for start, end, item in items:
        track = next((at for at, until in enumerate(taken_until) if until < start), len(taken_until))
        taken_until[track : track + 1] = [end]
        yield track, item


def _head(name: str, left: float, width: float) -> Html:
    x, y = number(left + width / 2), HEAD - 8
    title = element("title", short(name))
    return element(
        "text", title, short(name, NAME_MAX), transform=f"translate({x} {y}) rotate(-52)", class_="lane-name"
    )


def _stripe(left: float, width: float, height: float, odd: int) -> Html:
    return element("rect", x=left, width=width, height=height, class_=f"stripe {'odd' if odd % 2 else ''}")


def _tint(band: Band, layout: _Layout) -> Html:
    y, height = _extent(band.start, band.end)
    return joined(
        element("rect", x=left, width=width, y=y, height=height, class_=f"band {band.item.group}")
        for left, width in (layout.lanes[lane] for lane in band.lanes)
    )


def _extent(start: float, end: float) -> tuple[float, float]:
    """Top and height; what is over in a moment can be seen, too."""
    return ROW * start, max(ROW * (end - start), 2)


def _lasting(x: float, item: Bar | Band) -> Html:
    """A bar of a lane, or of a disturbance in the lane of the nemesis."""
    y, height = _extent(item.start, item.end)
    if isinstance(item, Band):
        box = element("rect", x=x - 3, width=6, y=y, height=height, rx=2, class_=f"bar {item.item.group}")
        top = max(y - 7, 1)
        chip = element("rect", x=x - 6, width=12, y=top, height=14, rx=3, class_=f"bar {item.item.group}")
        label = element("text", str(item.item.number), x=x, y=top + 11, class_="chip")
        return element("g", element("title", told(item.item)), box, chip, label)
    wide = 8 if item.kind == "delivery" else 5
    class_ = f"bar {'delivery' if item.kind == 'delivery' else 'call'} {item.outcome}"
    box = element("rect", x=x - wide / 2, width=wide, y=y, height=height, rx=2, class_=class_)
    return element("g", element("title", short(item.text)), box)


def _marks(picture: Lanes, layout: _Layout) -> Iterator[Html]:
    """A mark for each event, on the bar that it begins or ends, or on a track of its own."""
    across: dict[int, float] = {}
    for x, item in layout.places:
        rows = [item] if isinstance(item, int) else [item.starts, item.ends] if isinstance(item, Bar) else []
        across |= {at: x for at in rows if at > NOWHERE}
    for at, row in enumerate(picture.rows):
        if row.event is not None and at in across:
            yield _mark(row, row.event, across[at], ROW * (at + 0.5))


def _mark(row: Row, event: Event, x: float, y: float) -> Html:
    dead = event.phase == "fail" or event.operation in DEADLY
    shape = (
        "cross"
        if dead
        else "arrow"
        if event.operation == "deliver"
        else "diamond"
        if event.name == "redis"
        else "circle"
    )
    class_ = f"mark {'fail' if dead else event.phase}{' marked' if row.marked else ''}"
    title = f"{_ms(event)} ms: {event.actor} {what(event, row.start)}"
    mark = element("path", element("title", short(title)), d=SYMBOLS[shape], class_=class_)
    ring = [element("circle", r=8, class_="ring")] if row.marked else []
    return element("g", *ring, mark, transform=f"translate({number(x)} {number(y)})")


def _line(row: Row, *, several: bool) -> Html:
    """The event in words."""
    if row.event is None:
        return element("li", element("span", row.pause, class_="pause"))
    event = row.event
    whose = f"{short(event.request_id, ID_MAX)}: " if several and event.request_id else ""
    said = short(f"{whose}{what(event, row.start)}", TEXT_MAX)
    class_ = " ".join([*(["marked"] if row.marked else []), *(["befallen"] if row.befallen else [])])
    return element(
        "li",
        element("span", _ms(event), class_="time"),
        element("span", short(event.actor, WHO_MAX), class_="who"),
        element("span", said, class_="what"),
        class_=class_ or None,
    )


def _ms(event: Event) -> str:
    return f"{event.time_ns / NS_PER_MS:,.3f}"
