"""Times and counts as people read them."""

from collections.abc import Sequence

US, MS, S = 1_000, 1_000_000, 1_000_000_000
MINUTE, HOUR = 60 * S, 3_600 * S
STEPS = (1, 2, 5)
# No line ends between a number and its unit.
NBSP = "\u00a0"
CLOCK = [*(seconds * S for seconds in (10, 20, 30)), *(minutes * MINUTE for minutes in (1, 2, 5, 10, 15, 30, 60))]


def duration(time_ns: int) -> str:
    """How long something took, in three digits or so: "830 µs", "12.3 ms", "4.21 s", "2 min 05 s"."""
    if time_ns >= HOUR:
        return f"{time_ns // HOUR}{NBSP}h{NBSP}{time_ns % HOUR // MINUTE:02}{NBSP}min"
    if time_ns >= 2 * MINUTE:
        return f"{time_ns // MINUTE}{NBSP}min{NBSP}{time_ns % MINUTE // S:02}{NBSP}s"
    unit, name = next(((unit, name) for unit, name in ((S, "s"), (MS, "ms")) if time_ns >= unit), (US, "µs"))
    value = time_ns / unit
    digits = 0 if value >= 100 or value.is_integer() else 1 if value >= 10 else 2  # noqa: PLR2004 - three in all
    return f"{value:.{digits}f}{NBSP}{name}"


def moment(time_ns: int) -> str:
    """When something was, from the beginning of the run: "3.853 s", "12:04.250"."""
    if time_ns < 2 * MINUTE:
        return f"{time_ns / S:.3f}{NBSP}s"
    return f"{time_ns // MINUTE}:{time_ns % MINUTE / S:06.3f}"


def tick(time_ns: int, step_ns: int, whole_ns: int) -> str:
    """A label of an axis of time.

    Args:
        time_ns: that is named.
        step_ns: between two labels.
        whole_ns: of the axis, so that all its labels are alike.
    """
    if step_ns >= S and whole_ns >= 2 * MINUTE:
        return f"{time_ns // MINUTE}:{time_ns % MINUTE // S:02}"
    digits = 0 if step_ns % S == 0 else 1 if step_ns % (S // 10) == 0 else 3
    return f"{time_ns / S:.{digits}f}{NBSP}s"


def times(count: int, what: str, many: str = "") -> str:
    """How many of something: "1 event", "2,041 events"."""
    return f"{count:,} {what if count == 1 else many or f'{what}s'}"


def step_of(whole: float, parts_max: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 and so on of which at most so many make the whole."""
    power = 1
    while True:
        for digit in STEPS:
            if whole <= digit * power * parts_max:
                return digit * power
        power *= 10


def clock_step(whole_ns: int, parts_max: int) -> int:
    """As `step_of`, for an axis of time: from half a minute on as clocks go."""
    if 2 * whole_ns <= CLOCK[0] * parts_max:
        return step_of(whole_ns, parts_max)
    hours = step_of(whole_ns / HOUR, parts_max) * HOUR
    return next((step for step in CLOCK if whole_ns <= step * parts_max), hours)


def rank(ordered: Sequence[int], share: float) -> int:
    """The smallest of the values that so many of them do not exceed: the nearest-rank percentile.

    Args:
        ordered: ascending, at least one.
        share: from 0 to 1.
    """
    return ordered[max(-int(-share * len(ordered) // 1), 1) - 1]
