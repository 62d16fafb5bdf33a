"""When tasks were started: not before they were due, and not after their deadlines. A part of P1."""

from collections.abc import Iterator

from edgescale.harness.checkers.base import Case
from edgescale.harness.checkers.calls import Call, submissions
from edgescale.harness.checkers.faults import REDIS, windows
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import NS_PER_MS, Event, History

# Redis tells milliseconds, and workers know its clock by replies that took a while.
EARLY_MS, LATE_MS = 2, 1_000


def check_times(case: Case, history: History) -> None:
    """All times are by the clock of Redis; where somebody set that clock meanwhile, nothing is known."""
    for call in history.view(submissions):
        due_ms, expires_ms = call.start.number("not_before_ms"), call.start.number("expires_ms")
        if due_ms or expires_ms:
            case.counts["scheduled"] += 1
            for event, now_ms in _starts(history, call):
                _started(case, call, event, now_ms, due_ms, expires_ms)
    for event in history.named("store"):
        if event.text("state") == "expired":
            _expired(case, history, event)


def _starts(history: History, call: Call) -> Iterator[tuple[Event, int]]:
    """When handlers began with the task, by the clock of Redis."""
    for event in history.about(call.request_id):
        if event.operation == "handle" and event.phase == "invoke":
            now_ms = _by_redis(history, event)
            if now_ms is not None:
                yield event, now_ms


def _started(case: Case, call: Call, event: Event, now_ms: int, due_ms: int, expires_ms: int) -> None:
    if due_ms and now_ms < due_ms - EARLY_MS:
        sentence = f"{call.request_id} was started {due_ms - now_ms} ms before it was due"
        case.find("started_early", sentence, call.start, event)
    # A further attempt at what was begun in time is late as well.
    if expires_ms and now_ms > expires_ms + LATE_MS:
        sentence = f"{call.request_id} was started {now_ms - expires_ms} ms after its deadline"
        case.find("started_late", sentence, call.start, event)


def _expired(case: Case, history: History, event: Event) -> None:
    case.counts["expired"] += 1
    calls = [call for call in history.view(submissions) if call.request_id == event.request_id]
    deadlines = [call.start.number("expires_ms") for call in calls if call.start.number("expires_ms")]
    now_ms = _by_redis(history, event)
    if not deadlines:
        case.find("expired_unasked", f"{event.request_id} expired, and nobody had set it a deadline", event)
    elif now_ms is not None and now_ms < min(deadlines) - EARLY_MS:
        sentence = f"{event.request_id} expired {min(deadlines) - now_ms} ms before its deadline"
        case.find("expired_early", sentence, event)


def _by_redis(history: History, event: Event) -> int | None:
    """The moment of an event by the clock of Redis, as the last entry added before tells it; None when nothing does."""
    added = history.view(_added)
    before = [one for one in added if one.index < event.index][-1:]
    if not before:
        return None
    span = Span(before[0].time_ns, event.time_ns)
    jumps = (one for one in history.view(windows) if one.fault.startswith("clock") and one.touches([REDIS]))
    if any(one.span.meets(Span(0, span.end_ns)) for one in jumps):
        return None
    stamped_ms = int(before[0].text("entry").partition("-")[0])
    return stamped_ms + (event.time_ns - before[0].time_ns) // NS_PER_MS


def _added(history: History) -> list[Event]:
    """A view: entries that were added just now, and not found again after a restart."""
    return [event for event in history.named("add") if not event.text("why")]
