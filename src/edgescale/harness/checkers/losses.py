"""What Redis may have forgotten."""

from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.history import NS_PER_MS, Event, History


class Losses:
    """A view: what Redis may have forgotten, as far as the run's durability allows it."""

    def __init__(self, history: History) -> None:
        terms = history.header.terms
        self._window_ns = None if terms.durability == "none" else terms.durability * NS_PER_MS
        self._ttl_ns = terms.result_ttl_ms * NS_PER_MS
        self.events = history.named("lost")
        self._away = history.named("away")

    def undone(self, earlier: Span, later: Span, *, told: bool = True) -> bool:
        """Whether what was stored at some moment of `earlier` may be gone at some moment of `later`.

        It may have been lost, or the record of a settled task has expired.

        What is not `told` was seen by Redis alone, so far as is known: no service, and no caller, was told of it.
        """
        return self.expired(earlier, later.end_ns) or any(
            earlier.start_ns <= event.time_ns <= later.end_ns and earlier.end_ns >= self.reach_ns(event, told=told)
            for event in self.events
        )

    def expired(self, settled: Span, now_ns: int) -> bool:
        """Whether the record of a task that was settled at some moment of the span may have expired."""
        return now_ns - settled.start_ns >= self._ttl_ns

    def reach_ns(self, lost: Event, *, told: bool = True) -> int:
        """What was written before this moment must have survived; 0 when all may be gone, FOREVER when nothing may.

        Under terms that allow no loss, what nobody was told of may be gone all the same.
        """
        if lost.text("what") in {"all", "entries"}:
            return 0
        if lost.text("what") == "groups" or (told and self._window_ns is None):
            return FOREVER
        # The window is counted from the end of the process, whenever the next one began.
        ended_ns = max((away.time_ns for away in self._away if away.index < lost.index), default=lost.time_ns)
        return max(lost.number("since_ns"), ended_ns - (self._window_ns or FOREVER))

    def any_in(self, span: Span) -> bool:
        """Whether anything was lost in this time, allowed or not."""
        return any(span.start_ns <= event.time_ns <= span.end_ns for event in self.events)
