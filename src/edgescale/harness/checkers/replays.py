"""Dead letters that were put back: from then on their tasks are open again, and may come to another end."""

from collections.abc import Sequence

from edgescale.harness.checkers.entries import Entries
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History

DEAD = "dead_lettered"


class Replays:
    """A view: which replays were right.

    One is right where the task's last known end is that it was dead-lettered, and it was not put back since. Where
    Redis lost something in between, or the record has expired, an earlier end counts as well.
    """

    def __init__(self, history: History) -> None:
        self._all: dict[str, list[Event]] = {}
        self._right: dict[str, list[Event]] = {}
        self._made: set[tuple[str, str]] = set()
        stores, losses = history.view(Entries).stores, history.view(Losses)
        for event in history.named("replay"):
            ends = [store for store in stores.get(event.request_id, ()) if store.index < event.index]
            if _right(event, ends, self._right.get(event.request_id, ()), losses):
                self._right.setdefault(event.request_id, []).append(event)
                self._made.add((event.request_id, event.text("entry") or _after_its_wait(history, event)))
            self._all.setdefault(event.request_id, []).append(event)

    def between(self, request_id: str, earlier: Span, later: Span) -> bool:
        """Whether a task that had ended at some moment of `earlier` may have been rightly open again by `later`."""
        return any(earlier.start_ns <= event.time_ns <= later.end_ns for event in self._right.get(request_id, ()))

    def any_in(self, request_id: str, span: Span) -> bool:
        """Whether a task was put back in this time, rightly or not."""
        return any(span.start_ns <= event.time_ns <= span.end_ns for event in self._all.get(request_id, ()))

    def made(self, began: Event) -> bool:
        """Whether an entry, by the event that it began with, is there because of a right replay."""
        return (began.request_id, began.text("entry")) in self._made


def _after_its_wait(history: History, replay: Event) -> str:
    """The entry of a dead letter that had to wait for its turn when it was put back; empty where there was none."""
    later = (event for event in history.about(replay.request_id) if event.index > replay.index)
    return next((event.text("entry") for event in later if event.operation == "add"), "")


def _right(event: Event, ends: Sequence[Event], before: Sequence[Event], losses: Losses) -> bool:
    """Whether a task with these ends, and with these right replays before, stood among the dead letters."""
    buried = [end for end in ends if end.text("state") == DEAD]
    if not buried:
        # What names no task is replayed under the name of its new entry, of which nothing is known yet.
        return not ends and not before
    if losses.any_in(Span(buried[0].time_ns, event.time_ns)):
        return True
    last = Span(ends[-1].time_ns, ends[-1].time_ns)
    again = any(replay.index > buried[-1].index for replay in before)
    return (ends[-1] is buried[-1] and not again) or losses.expired(last, event.time_ns)
