"""Spans of time, and what may be expected while nothing disturbs."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FOREVER = 2**63


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_ns` to `end_ns`, both included."""

    start_ns: int
    end_ns: int = FOREVER

    def meets(self, other: "Span") -> bool:
        """Whether they have a moment in common."""
        return self.start_ns <= other.end_ns and other.start_ns <= self.end_ns


class Unrest:
    """The times at which something was disturbed.

    A promise that something happens within a bound is judged by calm time: the bound starts anew with the end of each
    disturbance, and what never was calm for so long is not judged. So no fault needs to be forgiven by name.
    """

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = _merged(spans, gap_ns=0)
        self._fused: dict[int, _Timeline] = {0: _Timeline(self._spans)}

    @property
    def spans(self) -> Sequence[Span]:
        """The disturbances, in order; those that touch are one."""
        return self._spans

    def meets(self, span: Span) -> bool:
        """Whether anything was disturbed in this time."""
        found = self._fused[0].first_ending_from(span.start_ns)
        return found is not None and found.start_ns <= span.end_ns

    def deadline(self, start_ns: int, bound_ns: int) -> int:
        """The first moment by which it has been calm for the bound since the start; FOREVER when it never was."""
        if bound_ns not in self._fused:
            self._fused[bound_ns] = _Timeline(_merged(self._spans, gap_ns=bound_ns - 1))
        found = self._fused[bound_ns].first_ending_from(start_ns)
        if found is None or found.start_ns - start_ns >= bound_ns:
            return start_ns + bound_ns
        return min(found.end_ns + bound_ns, FOREVER)


class _Timeline:
    """Spans in order, apart from each other."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._ends = [span.end_ns for span in spans]

    def first_ending_from(self, moment_ns: int) -> Span | None:
        """The first span that ends at this moment or later."""
        place = bisect_right(self._ends, moment_ns - 1)
        return self._spans[place] if place < len(self._spans) else None


def _merged(spans: Iterable[Span], *, gap_ns: int) -> list[Span]:
    """The same time in as few spans as possible; calm times up to the gap count as disturbed."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_ns):
        if merged and span.start_ns - merged[-1].end_ns <= gap_ns:
            merged[-1] = Span(merged[-1].start_ns, max(merged[-1].end_ns, span.end_ns))
        else:
            merged.append(span)
    return merged
