"""How soon service was normal again after each disturbance.

A disturbance ends: a fault is healed, a process is ready again, Redis serves again; data is lost in a moment. Service
is normal at the first moment from then on at which somebody who submitted a task has been told, since then, how it
ended, and no lane's last sample since then is above what the lane had before: its highest sample in the bound of
recovery before the disturbance began.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgescale.harness.checkers.calls import submissions
from edgescale.harness.checkers.spans import FOREVER
from edgescale.harness.history import NS_PER_MS, History
from edgescale.harness.report.disturbances import Disturbance, disturbances

# More disturbances than these are not measured: each costs a walk through the samples.
MEASURED_MAX = 500
State = Literal["normal", "never", "nobody asked", "not healed"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came after one disturbance.

    Attributes:
        after: it.
        state: `normal` when service was; `never` while the history lasts; `nobody asked` when no caller waited for a
            task after the end, so that nothing shows it; `not healed` when the disturbance did not end.
        took_ns: from the end to normal service; None where it was not.
        beside: the numbers of others in force between its beginning and normal service.
    """

    after: Disturbance
    state: State
    took_ns: int | None
    beside: tuple[int, ...]


def recoveries(history: History) -> Sequence[Recovery]:
    """A view: one for each of the first MEASURED_MAX disturbances, in their order."""
    answers, samples = _Answers(history), _Samples(history)
    found = history.view(disturbances)
    bound_ns = history.header.bounds.recovery_ms * NS_PER_MS
    made = []
    for item in found[:MEASURED_MAX]:
        state, took_ns = _recovery(item, answers, samples, bound_ns)
        until_ns = item.span.end_ns + (took_ns or 0)
        beside = tuple(
            other.number
            for other in found
            if other is not item and other.span.start_ns <= until_ns and item.span.start_ns <= other.span.end_ns
        )
        made.append(Recovery(item, state, took_ns, beside))
    return made


def _recovery(item: Disturbance, answers: "_Answers", samples: "_Samples", bound_ns: int) -> tuple[State, int | None]:
    if not item.healed:
        return "not healed", None
    if not answers.awaited(item.span.end_ns):
        return "nobody asked", None
    answered_ns = answers.first_from(item.span.end_ns)
    before = samples.highest(item.span.start_ns - bound_ns, item.span.start_ns)
    low_ns = samples.low_again(item.span.end_ns, answered_ns, before) if answered_ns is not None else None
    return ("never", None) if low_ns is None else ("normal", low_ns - item.span.end_ns)


class _Answers:
    """Who waited for the end of a task, and when each was told of it."""

    def __init__(self, history: History) -> None:
        waiting = [call for call in history.view(submissions) if not call.start.flag("respond_async")]
        self._told = sorted(call.end.time_ns for call in waiting if call.end is not None and call.answer is not None)
        self._last_ns = max((call.span.end_ns for call in waiting), default=-1)

    def awaited(self, time_ns: int) -> bool:
        """Whether anybody still waited then, or asked later."""
        return self._last_ns >= time_ns

    def first_from(self, time_ns: int) -> int | None:
        """When somebody was told next."""
        place = bisect_left(self._told, time_ns)
        return self._told[place] if place < len(self._told) else None


class _Samples:
    """The backlog of each lane, as it was sampled."""

    def __init__(self, history: History) -> None:
        events = history.named("sample")
        self._times = [event.time_ns for event in events]
        self._found = [(event.text("lane"), event.number("backlog")) for event in events]
        self._lanes = {lane for lane, _ in self._found}

    def highest(self, from_ns: int, to_ns: int) -> Mapping[str, int]:
        """Of each lane that was sampled in this time."""
        highest: dict[str, int] = {}
        for lane, backlog in self._found[bisect_left(self._times, from_ns) : bisect_right(self._times, to_ns)]:
            highest[lane] = max(backlog, highest.get(lane, 0))
        return highest

    def low_again(self, from_ns: int, not_before_ns: int, before: Mapping[str, int]) -> int | None:
        """The first moment at which every lane's last sample since `from_ns` is no higher than before.

        Lanes that are not in `before` had nothing; where there are no samples at all, nothing is above anything.
        """
        if not self._found:
            return not_before_ns
        high = set(self._lanes)
        for place in range(bisect_left(self._times, from_ns), len(self._found)):
            lane, backlog = self._found[place]
            if backlog > before.get(lane, 0):
                high.add(lane)
            else:
                high.discard(lane)
            if not high and self._until_ns(place) > not_before_ns:
                return max(self._times[place], not_before_ns)
        return None

    def _until_ns(self, place: int) -> int:
        """Until when this sample is the last one."""
        return self._times[place + 1] if place + 1 < len(self._times) else FOREVER
