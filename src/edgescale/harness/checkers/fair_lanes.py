"""P11, fair lanes: a worker runs no more at once than it may, and no lane that waits is passed over for long.

A lane waits from the moment at which it asks its worker for a permit in vain. What keeps it from asking is not seen
here: a lane whose reader sleeps is a matter of P8. Nor is seen what a lane does with its permit, or how long others
keep theirs.
"""

from collections import deque
from collections.abc import Iterable

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.history import Event, History

PROMISE, TITLE = "P11", "fair lanes"


class _Line:
    """The lanes of one worker that wait for permits.

    Attributes:
        waiting: the requests of each lane, oldest first.
        passed_over: permits that others were given since the lane has been waiting for its next one.
    """

    def __init__(self, lanes: Iterable[str]) -> None:
        self.waiting: dict[str, deque[Event]] = {lane: deque() for lane in lanes}
        self.passed_over: dict[str, list[Event]] = {lane: [] for lane in lanes}

    def granted(self, event: Event) -> None:
        """Note a permit."""
        lane = event.text("lane")
        if self.waiting[lane]:
            self.waiting[lane].popleft()
        self.passed_over[lane].clear()
        for other, requests in self.waiting.items():
            if requests and other != lane:
                self.passed_over[other].append(event)


def check(history: History) -> Verdict:
    """Judge P11, where workers had a limit over all their lanes."""
    case = Case(history, PROMISE, TITLE)
    if history.header.terms.slots_max:
        _passed_over(case, history)
        _at_once(case, history)
    return case.verdict()


def passed_over_max(history: History, lane: str) -> int:
    """The permits that other lanes of a worker may be given at most while a lane waits for one."""
    terms = history.header.terms
    own = terms.weights.get(lane, 1)
    return sum(terms.weights.get(other, 1) // own + 1 for other in terms.slots if other != lane)


def _passed_over(case: Case, history: History) -> None:
    """Within one life of a worker, and as exactly as permits are given: no clock has a part in it.

    Requests that were withdrawn are left out: nobody saw when.
    """
    ends = {(event.actor, event.call): event for event in history.named("line") if event.phase != "invoke"}
    lines: dict[str, _Line] = {}
    for event in history.named("line", "permit"):
        line = lines.setdefault(event.actor, _Line(history.header.terms.slots))
        if event.operation == "permit":
            case.counts["permits"] += 1
            line.granted(event)
            _judge(case, history, line)
        elif event.phase == "invoke":
            end = ends.get((event.actor, event.call))
            if end is None or end.phase == "ok":
                case.counts["waits"] += 1
                line.waiting[event.text("lane")].append(event)


def _judge(case: Case, history: History, line: _Line) -> None:
    for lane, others in line.passed_over.items():
        bound = passed_over_max(history, lane)
        # Told once, when it is one too many.
        if len(others) == bound + 1:
            asked, actor = line.waiting[lane][0], others[0].actor
            sentence = f"lane {lane} of {actor} waited while others were given {len(others)} permits, {bound} at most"
            case.find("passed_over", sentence, asked, others[0], others[-1])


def _at_once(case: Case, history: History) -> None:
    """No more handlers of one worker run at the same moment than its limit allows."""
    most, running = history.header.terms.slots_max, dict[str, set[int | None]]()
    for event in history.named("handle"):
        own = running.setdefault(event.actor, set())
        if event.phase != "invoke":
            own.discard(event.call)
            continue
        own.add(event.call)
        case.counts["most_at_once"] = max(case.counts["most_at_once"], len(own))
        if len(own) == most + 1:
            case.find("over_limit", f"{event.actor} ran {len(own)} tasks at once, and {most} at most", event)
