"""Plots over time, one below the other, on one axis: as SVG that is as wide as its box, with text that never scales.

What is data is drawn in a box of its own, one unit wide for each bucket and stretched to whatever width there is; what
is text, or a line along a coordinate, stands in percent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgescale.harness.report.disturbances import Disturbance, Group, calm_broken
from edgescale.harness.report.markup import Html, element, first, joined, percent
from edgescale.harness.report.parts import note, table
from edgescale.harness.report.series import Buckets
from edgescale.harness.report.shapes import HIGH
from edgescale.harness.report.units import clock_step, duration, moment, tick, times

TICKS_MAX = 7
# From here on there is no room for a label of the axis; a number in a bar needs so much of it.
EDGE, ROOM = 0.97, 0.045
GANTT_ROWS_MAX, GANTT_BARS_MAX = 24, 400
GROUPS: Mapping[Group, str] = {
    "link": "a fault",
    "process": "a process killed, stopped or paused",
    "redis": "Redis away, or data lost",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot, whatever it shows.

    Attributes:
        title: what is plotted.
        whole: what is said of the whole run.
        legend: classes of the style sheet, and what they stand for.
        ys: lines across, from the top (0) to the bottom (1), with their labels.
        shapes: the data, in units of buckets by HIGH.
        across: lines that stand for something, such as a cap: like `ys`.
        told: what is said of single buckets.
        head, rows: the figures as a table; the first column is the time.
    """

    title: str
    whole: str
    legend: Sequence[tuple[str, str]]
    ys: Sequence[tuple[float, str]]
    shapes: Html
    told: Mapping[int, str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    across: Sequence[tuple[float, str]] = field(default=())


def drawn(plots: Sequence[Plot], found: Sequence[Disturbance], split: Buckets) -> Html:
    """All of them, below the disturbances and above the axis."""
    bands = _bands(found, split)
    return element(
        "div",
        *_gantt(found, split),
        *(_figure(plot, bands, split) for plot in plots),
        _axis(split),
        class_="plots",
        id="plots",
        tabindex=0,
        role="group",
        aria_label="Plots over time. The arrow keys move the line that reads them.",
        data_count=split.count,
    )


def tables(plots: Sequence[Plot]) -> Html:
    """The figures of all plots, for those who read rather than look."""
    return element(
        "details",
        element("summary", "The same figures as tables"),
        *map(_figures, plots),
    )


def _figures(plot: Plot) -> Html:
    rows = (
        element("tr", element("th", at, scope="row"), *(element("td", cell) for cell in cells))
        for at, *cells in plot.rows
    )
    figures = table(["from", *plot.head], rows, class_="figures", label=f"Figures: {plot.title}")
    return joined([element("h3", plot.title), figures])


def _bands(found: Sequence[Disturbance], split: Buckets) -> Html:
    return joined(
        element(
            "rect",
            x=percent(split.share(span.start_ns)),
            width=percent(split.share(span.end_ns) - split.share(span.start_ns)),
            height="100%",
            class_=f"band {group}",
        )
        for group in GROUPS
        for span in calm_broken(found, group)
    )


def _moments(split: Buckets) -> Sequence[tuple[int, str]]:
    """The moments that the axis names."""
    step_ns = clock_step(split.whole_ns, TICKS_MAX)
    return [(at_ns, tick(at_ns, step_ns, split.whole_ns)) for at_ns in range(0, split.whole_ns + 1, step_ns)]


def _figure(plot: Plot, bands: Html, split: Buckets) -> Html:
    legend = element("ul", *(_key(class_, text) for class_, text in plot.legend), class_="legend")
    caption = element(
        "figcaption",
        element("strong", plot.title),
        legend,
        element("div", element("span", plot.whole, class_="whole"), element("output", class_="readout"), class_="said"),
    )
    labels = element("div", *(element("span", text, style=f"top:{percent(y)}") for y, text in plot.ys), class_="ys")
    xs = [percent(split.share(at_ns)) for at_ns, _ in _moments(split)]
    area = element(
        "svg",
        bands,
        *(element("line", x1=0, x2="100%", y1=percent(y), y2=percent(y), class_="grid") for y, _ in plot.ys),
        *(element("line", x1=x, x2=x, y1=0, y2="100%", class_="grid") for x in xs),
        _stretched(plot.shapes, split),
        *(_across(y, text) for y, text in plot.across),
        _hits(plot.told, split),
        element("line", y1=0, y2="100%", class_="cursor"),
        class_="area",
        role="img",
        aria_label=f"{plot.title}: {plot.whole}",
    )
    return element("figure", caption, element("div", labels, area, class_="chart"), class_="row")


def _key(class_: str, text: str) -> Html:
    return element("li", element("i", class_=f"key {class_}"), text)


def _stretched(shapes: Html, split: Buckets) -> Html:
    return element("svg", shapes, viewBox=f"0 0 {split.count} {HIGH}", preserveAspectRatio="none", class_="data")


def _across(y: float, text: str) -> Html:
    line = element("line", x1=0, x2="100%", y1=percent(y), y2=percent(y), class_="cap")
    return joined([line, element("text", text, x="100%", y=percent(y), dx=-4, dy=-4, class_="cap-label")])


def _hits(told: Mapping[int, str], split: Buckets) -> Html:
    """What cannot be seen, but pointed at: says what is in a bucket."""
    boxes = (
        element("rect", element("title", text), x=bucket, width=1, height=HIGH, data_bucket=bucket)
        for bucket, text in told.items()
    )
    return element("g", _stretched(joined(boxes), split), class_="hits")


def _gantt(found: Sequence[Disturbance], split: Buckets) -> Sequence[Html]:
    """A row for each kind of disturbance that each node suffered, with a bar for each time."""
    rows: dict[str, list[Disturbance]] = {}
    for item in first(found, GANTT_BARS_MAX):
        rows.setdefault(item.label, []).append(item)
    shown = [_gantt_row(label, items, split) for label, items in first(rows.items(), GANTT_ROWS_MAX)]
    left = len(found) - sum(len(items) for items in first(rows.values(), GANTT_ROWS_MAX))
    if left:
        shown.append(note(f"{times(left, 'more disturbance')}, drawn as bands only."))
    groups = {item.group for item in found}
    legend = element(
        "ul", *(_key(f"band {name}", text) for name, text in GROUPS.items() if name in groups), class_="legend"
    )
    head = element(
        "div", element("div", element("strong", "disturbances"), class_="name"), legend, class_="row gantt-head"
    )
    return [head, *shown] if found else []


def _gantt_row(label: str, items: Sequence[Disturbance], split: Buckets) -> Html:
    following = [*(split.share(item.span.start_ns) for item in items[1:]), 2.0]
    bars = (_bar(item, split, until) for item, until in zip(items, following, strict=True))
    ticks = (
        element("i", class_="start", style=f"left:{percent(split.share(at_ns))}", title=f"started at {moment(at_ns)}")
        for item in items
        for at_ns in item.starts
    )
    return element(
        "div",
        element("div", label, class_="name"),
        element("div", *bars, *ticks, class_="track"),
        class_="row gantt",
    )


def _bar(item: Disturbance, split: Buckets, until: float) -> Html:
    """One bar; its number stands in it or beside it, wherever there is room.

    Args:
        item: that lasted so long.
        split: the axis.
        until: where the next bar of its row begins, as a share of the axis.
    """
    left, right = split.share(item.span.start_ns), split.share(item.span.end_ns)
    narrow = right - left < ROOM
    label = [element("span", str(item.number))] if not narrow or until - right > ROOM else []
    return element(
        "a",
        *label,
        href=f"#disturbance-{item.number}",
        class_=f"bar {item.group}{' narrow' if narrow else ''}",
        style=f"left:{percent(left)};width:{percent(right - left)}",
        title=told(item),
        data_from=f"{left:.5f}",
        data_to=f"{right:.5f}",
    )


def told(item: Disturbance) -> str:
    """One disturbance as a sentence."""
    length_ns = item.span.end_ns - item.span.start_ns
    if not length_ns:
        return f"{item.number}: {item.label} at {moment(item.span.start_ns)}"
    until = f"until {moment(item.span.end_ns)}, for {duration(length_ns)}" if item.healed else "until the end"
    return f"{item.number}: {item.label} from {moment(item.span.start_ns)} {until}"


def _axis(split: Buckets) -> Html:
    labels = (
        element(
            "span",
            text,
            style=f"left:{percent(split.share(at_ns))}",
        )
        for at_ns, text in _moments(split)
        if split.share(at_ns) < EDGE
    )
    return element(
        "div",
        element("div", class_="name"),
        element("div", *labels, class_="xs"),
        class_="row axis",
        aria_hidden="true",
    )
