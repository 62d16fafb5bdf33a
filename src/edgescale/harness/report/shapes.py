"""The shapes of plots: paths whose coordinates are buckets across and HIGH down."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from edgescale.harness.report.markup import Html, element, number
from edgescale.harness.report.units import step_of

# The height of a plot's own coordinates.
HIGH = 100
Y_TICKS_MAX = 3
# After so many usual pauses without a sample nothing is said any more.
PATIENCE = 2


def columns(class_: str, spans: Iterable[tuple[int, float, float]]) -> Html:
    """One filled column a bucket, from one height to another; those of no height are left out."""
    path = "".join(f"M{at} {number(one)}h1V{number(other)}h-1z" for at, one, other in spans if one != other)
    return element("path", d=path, class_=class_)


def dashes(class_: str, heights: Iterable[tuple[int, float]]) -> Html:
    """A dash as wide as its bucket, for what is not known between buckets."""
    return element("path", d="".join(f"M{at} {number(y)}h1" for at, y in heights), class_=f"stroke {class_}")


def steps(class_: str, heights: Mapping[int, float]) -> Html:
    """A line of steps, broken where a bucket is missing; level buckets are one stroke.

    Args:
        class_: of the style sheet.
        heights: by bucket, ascending.
    """
    path: list[str] = []
    before: tuple[int, float] | None = None
    for at, y in heights.items():
        if before is None or before[0] != at - 1:
            path.append(f"M{at} {number(y)}")
        elif before[1] != y:
            path.append(f"H{at}V{number(y)}")
        before = (at, y)
        if heights.get(at + 1) is None:
            path.append(f"H{at + 1}")
    return element("path", d="".join(path), class_=f"stroke {class_}")


def stacked(values: Sequence[Sequence[int]], count: int) -> Sequence[Sequence[int]]:
    """Sums from the first to each, bucket by bucket."""
    sums: list[list[int]] = []
    for each in values:
        below = sums[-1] if sums else [0] * count
        sums.append([low + more for low, more in zip(below, each, strict=True)])
    return sums


def carried(values: Mapping[int, int]) -> Mapping[int, int]:
    """What was sampled, kept until the next sample, unless that is long in coming."""
    places = list(values)
    usual = median(later - earlier for earlier, later in pairwise(places)) if len(places) > 1 else 1
    whole = dict(values)
    for earlier, later in pairwise(places):
        if later - earlier <= PATIENCE * usual:
            whole |= dict.fromkeys(range(earlier + 1, later), values[earlier])
    return dict(sorted(whole.items()))


def linear(top: float) -> tuple[Callable[[float], float], Sequence[tuple[float, str]]]:
    """A scale from 0 to a round figure that is not below `top`, and its lines."""
    step = step_of(max(top, 1), Y_TICKS_MAX)
    high = step * max(-(-top // step), 1)
    ys = [(1 - value / high, f"{value:,}") for value in range(0, int(high) + 1, step)]
    return lambda value: HIGH * (1 - value / high), ys
