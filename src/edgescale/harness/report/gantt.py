"""Disturbances as bars: a row for each kind that each node suffered, a bar for each time."""

from collections.abc import Collection, Mapping, Sequence

from edgescale.harness.report.disturbances import Disturbance, Group, told
from edgescale.harness.report.markup import Html, element, first, percent
from edgescale.harness.report.parts import legend_of, note
from edgescale.harness.report.series import Buckets
from edgescale.harness.report.units import moment, times

ROWS_MAX, BARS_MAX = 24, 400
# A number needs so much of the axis.
ROOM = 0.045
MEANINGS: Mapping[Group, str] = {
    "link": "a fault",
    "process": "a process killed, stopped or paused",
    "redis": "Redis away, or data lost",
}


def gantt(found: Sequence[Disturbance], linked: Collection[int], split: Buckets) -> Sequence[Html]:
    """All rows that there is room for; none where nothing was disturbed.

    Args:
        found: the disturbances.
        linked: numbers of those that the page tells more of.
        split: the axis.
    """
    rows: dict[str, list[Disturbance]] = {}
    for item in first(found, BARS_MAX):
        rows.setdefault(item.label, []).append(item)
    shown = [_row(label, items, linked, split) for label, items in first(rows.items(), ROWS_MAX)]
    left = len(found) - sum(len(items) for items in first(rows.values(), ROWS_MAX))
    if left:
        shown.append(note(f"{times(left, 'more disturbance')}, drawn as bands only."))
    groups = {item.group for item in found}
    legend = legend_of((f"band {group}", text) for group, text in MEANINGS.items() if group in groups)
    head = element(
        "div", element("div", element("strong", "disturbances"), class_="name"), legend, class_="row gantt-head"
    )
    return [head, *shown] if found else []


def _row(label: str, items: Sequence[Disturbance], linked: Collection[int], split: Buckets) -> Html:
    following = [*(split.share(item.span.start_ns) for item in items[1:]), 2.0]
    bars = (
        _bar(item, split, until, linked=item.number in linked) for item, until in zip(items, following, strict=True)
    )
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


def _bar(item: Disturbance, split: Buckets, until: float, *, linked: bool) -> Html:
    """One bar; its number stands in it or beside it, wherever there is room.

    Args:
        item: that lasted so long.
        split: the axis.
        until: where the next bar of its row begins, as a share of the axis.
        linked: whether the page tells more of it.
    """
    left, right = split.share(item.span.start_ns), split.share(item.span.end_ns)
    narrow = right - left < ROOM
    label = [element("span", str(item.number))] if not narrow or until - right > ROOM else []
    return element(
        "a",
        *label,
        href=f"#disturbance-{item.number}" if linked else None,
        class_=f"bar {item.group}{' narrow' if narrow else ''}",
        style=f"left:{percent(left)};width:{percent(right - left)}",
        title=told(item),
        data_from=f"{left:.5f}",
        data_to=f"{right:.5f}",
    )
