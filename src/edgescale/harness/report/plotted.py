"""Which plots there are: latencies by operation, rates, the backlog of each lane."""

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10

from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import History
from edgescale.harness.report.disturbances import Disturbance, disturbances
from edgescale.harness.report.markup import first, joined, short
from edgescale.harness.report.plots import Plot
from edgescale.harness.report.series import (
    LANES_MAX,
    Backlog,
    Buckets,
    Latency,
    Rates,
    backlogs,
    buckets,
    latencies,
    rates,
)
from edgescale.harness.report.shapes import HIGH, carried, columns, dashes, linear, stacked, steps
from edgescale.harness.report.units import S, duration, moment, step_of, tick, times

DECADES_LABELLED_MAX, LANE_MAX = 5, 24
# A cap so many times above everything that was queued is told, and not drawn.
CAP_DRAWN_MAX = 4
# Disturbances whose numbers stand in the table of rates.
TOLD_MAX = 400


def plots(history: History) -> Sequence[Plot]:
    """All of a run, from the outside to the inside."""
    split = history.view(buckets)
    taken = history.view(latencies)
    scale = _Scale(taken)
    lanes = [lane for lane in history.view(backlogs) if lane.highest]
    return [
        *(_latency(latency, split, scale) for latency in taken),
        _rates(history.view(rates), split, history.view(disturbances)),
        *(_backlog(lane, split) for lane in lanes[:LANES_MAX]),
    ]


def left_out(history: History) -> str:
    """A sentence on the lanes that are not plotted; "" where all are."""
    lanes = history.view(backlogs)
    empty = [lane.lane for lane in lanes if not lane.highest]
    busy = [lane.lane for lane in lanes if lane.highest][LANES_MAX:]
    told = (
        [f"Nothing was ever queued in {', '.join(short(lane, LANE_MAX) for lane in first(empty, LANES_MAX))}."]
        if empty
        else []
    )
    told += [f"{times(len(busy), 'emptier lane')} not shown."] if busy else []
    return " ".join(told)


class _Scale:
    """A logarithmic scale of times, the same for all operations, between two round figures."""

    def __init__(self, taken: Sequence[Latency]) -> None:
        values = [value for latency in taken for of in latency.buckets.values() for value in (of.p50_ns, of.p99_ns)]
        ordered = sorted(max(value, 1_000) for value in values) or [1_000]
        self._low = 10 ** floor(log10(ordered[0]))
        self._high = max(step_of(ordered[-1], 1), 10 * self._low)

    def y(self, value_ns: int) -> float:
        """From the top (0) to the bottom (1)."""
        return log10(self._high / max(value_ns, self._low)) / log10(self._high / self._low)

    @property
    def ys(self) -> Sequence[tuple[float, str]]:
        """A line for each power of ten, and not more labels than fit."""
        powers = range(round(log10(self._low)), floor(log10(self._high)) + 1)
        every = -(-len(powers) // DECADES_LABELLED_MAX)
        return [(self.y(10**power), _power(power) if at % every == 0 else "") for at, power in enumerate(powers)]


def _power(power: int) -> str:
    floor_of, name = next((low, name) for low, name in ((9, "s"), (6, "ms"), (3, "µs")) if power >= low)
    return f"{10 ** (power - floor_of):,} {name}"


def _latency(latency: Latency, split: Buckets, scale: _Scale) -> Plot:
    """From the median to the 99th percentile."""
    at = latency.buckets.items()
    ys = {bucket: (HIGH * scale.y(of.p50_ns), HIGH * scale.y(of.p99_ns)) for bucket, of in at}
    whole = latency.whole
    return Plot(
        title=latency.operation,
        whole=f"{times(whole.count, 'answer')}: p50 {duration(whole.p50_ns)}, p99 {duration(whole.p99_ns)}, "
        f"slowest {duration(whole.slowest_ns)}",
        legend=[("median", "p50"), ("tail", "p99")],
        ys=scale.ys,
        shapes=joined(
            [
                columns("spread", ((bucket, p50, p99) for bucket, (p50, p99) in ys.items())),
                dashes("tail", ((bucket, p99) for bucket, (_, p99) in ys.items())),
                dashes("median", ((bucket, p50) for bucket, (p50, _) in ys.items())),
            ]
        ),
        told={
            bucket: f"{_when(split, bucket)}: {times(of.count, 'answer')}, p50 {duration(of.p50_ns)}, "
            f"p99 {duration(of.p99_ns)}"
            for bucket, of in at
        },
        head=("answers", "p50", "p99", "slowest"),
        rows=[
            (
                moment(split.start_ns(bucket)),
                f"{of.count:,}",
                duration(of.p50_ns),
                duration(of.p99_ns),
                duration(of.slowest_ns),
            )
            for bucket, of in at
        ],
    )


def _rates(counts: Rates, split: Buckets, found: Sequence[Disturbance]) -> Plot:
    """Calls that began as a line, and those that ended as columns, one outcome upon the other."""
    ended = {name: values for name, values in counts.ended.items() if any(values)}
    stacks = stacked(list(ended.values()), split.count)
    scale, ys = linear(max([1, *counts.begun, *(stacks[-1] if stacks else [])]) * S / split.width_ns)
    heights = [[scale(count * S / split.width_ns) for count in stack] for stack in stacks]
    below = [[float(HIGH)] * split.count, *heights]
    never = [f"{counts.never_ended:,} never ended"] if counts.never_ended else []
    return Plot(
        title="calls per second",
        whole=", ".join(
            [f"{sum(counts.begun):,} begun", *(f"{sum(values):,} {name}" for name, values in ended.items()), *never]
        ),
        legend=[("begun", "begun"), *((name, name) for name in ended)],
        ys=ys,
        shapes=joined(
            [
                *(
                    columns(name, zip(range(split.count), bottom, top, strict=True))
                    for name, (bottom, top) in zip(ended, pairwise(below), strict=True)
                ),
                steps("begun", {at: scale(count * S / split.width_ns) for at, count in enumerate(counts.begun)}),
            ]
        ),
        told={
            bucket: f"{_when(split, bucket)}: {counts.begun[bucket]:,} begun"
            + "".join(f", {values[bucket]:,} {name}" for name, values in ended.items() if values[bucket])
            for bucket in range(split.count)
        },
        counted="calls in each step",
        head=("begun", *ended, "disturbed by"),
        rows=[
            (
                moment(split.start_ns(bucket)),
                f"{counts.begun[bucket]:,}",
                *(f"{values[bucket]:,}" for values in ended.values()),
                _in_force(found, split, bucket),
            )
            for bucket in range(split.count)
        ],
    )


def _backlog(lane: Backlog, split: Buckets) -> Plot:
    """Queued and running as an area, what is running as a line in it, the cap as a line above it."""
    drawn = 0 < lane.cap <= CAP_DRAWN_MAX * lane.highest
    scale, ys = linear(max(lane.highest, lane.cap if drawn else 0))
    cap = f"cap {lane.cap:,}" if lane.cap else "no cap"
    backlog, pending = carried(lane.backlog), carried(lane.pending)
    return Plot(
        title=f"lane {short(lane.lane, LANE_MAX)}",
        whole=f"at most {lane.highest:,} queued or running; {cap}{'' if drawn or not lane.cap else ', far above'}",
        legend=[("backlog", "queued or running"), ("pending", "with a worker"), *([("cap", "cap")] if drawn else [])],
        ys=ys,
        shapes=joined(
            [
                columns("backlog", ((bucket, float(HIGH), scale(value)) for bucket, value in backlog.items())),
                steps("pending", {bucket: scale(value) for bucket, value in pending.items()}),
            ]
        ),
        across=[(scale(lane.cap) / HIGH, cap)] if drawn else [],
        told={
            bucket: f"{_when(split, bucket)}: {value:,} queued or running, {pending[bucket]:,} of them with a worker"
            for bucket, value in backlog.items()
        },
        head=("queued or running", "with a worker", "cap"),
        rows=[
            (moment(split.start_ns(bucket)), f"{value:,}", f"{lane.pending[bucket]:,}", f"{lane.cap:,}")
            for bucket, value in lane.backlog.items()
        ],
    )


def _when(split: Buckets, bucket: int) -> str:
    return f"at {tick(split.start_ns(bucket), split.width_ns, split.whole_ns)}"


def _in_force(found: Sequence[Disturbance], split: Buckets, bucket: int) -> str:
    mine = Span(split.start_ns(bucket), split.start_ns(bucket + 1) - 1)
    return ", ".join(str(item.number) for item in first(found, TOLD_MAX) if item.span.meets(mine))
