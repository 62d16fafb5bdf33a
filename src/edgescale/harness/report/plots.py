"""Plots over time, one below the other, on one axis: as SVG that is as wide as its box, with text that never scales.

What is data is drawn in a box of its own, one unit wide for each bucket and stretched to whatever width there is; what
is text, or a line along a coordinate, stands in percent.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgescale.harness.report.disturbances import GROUPS, Disturbance, calm_broken
from edgescale.harness.report.gantt import gantt
from edgescale.harness.report.markup import Html, element, joined, percent
from edgescale.harness.report.parts import legend_of, table
from edgescale.harness.report.series import Buckets
from edgescale.harness.report.shapes import HIGH
from edgescale.harness.report.units import clock_step, tick

TICKS_MAX = 7
# From here on there is no room for a label of the axis.
EDGE = 0.97


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
        counted: what the table counts, where that is not the title.
    """

    title: str
    whole: str
    legend: Sequence[tuple[str, str]]
    ys: Sequence[tuple[float, str]]
    shapes: Html
    told: Mapping[int, str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    across: Sequence[tuple[float, str]] = ()
    counted: str = ""


def drawn(plots: Sequence[Plot], found: Sequence[Disturbance], linked: Collection[int], split: Buckets) -> Html:
    """All of them, below the disturbances and above the axis.

    Args:
        plots: from the top to the bottom.
        found: the disturbances.
        linked: numbers of those that the page tells more of.
        split: the axis.
    """
    bands = _bands(found, split)
    return element(
        "div",
        *gantt(found, linked, split),
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
    title = plot.counted or plot.title
    figures = table(["from", *plot.head], rows, class_="figures", label=f"Figures: {title}")
    return joined([element("h3", title), figures])


def _bands(found: Sequence[Disturbance], split: Buckets) -> Html:
    return joined(
        element(
            "rect",
            x=percent(split.share(span.start_ns)),
            width=percent(split.share(span.end_ns) - split.share(span.start_ns)),
            height="100%",
            class_=f"band {group}",
        )
        for group in dict.fromkeys(GROUPS.values())
        for span in calm_broken(found, group)
    )


def _moments(split: Buckets) -> Sequence[tuple[int, str]]:
    """The moments that the axis names."""
    step_ns = clock_step(split.whole_ns, TICKS_MAX)
    return [(at_ns, tick(at_ns, step_ns, split.whole_ns)) for at_ns in range(0, split.whole_ns + 1, step_ns)]


def _figure(plot: Plot, bands: Html, split: Buckets) -> Html:
    caption = element(
        "figcaption",
        element("strong", plot.title),
        legend_of(plot.legend),
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
