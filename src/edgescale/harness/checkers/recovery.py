"""P8, recovery: once a disturbance is over, every service does its work again within seconds."""

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import UNAVAILABLE, Call, client_calls, may_have_died, submissions, way_of
from edgescale.harness.checkers.capacity import Capacity
from edgescale.harness.checkers.entries import Entries, Entry
from edgescale.harness.checkers.faults import REDIS, Unrests
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import NS_PER_MS, TERMINAL, Event, History

PROMISE, TITLE = "P8", "recovery"
# Blocked readers are served in turn: one that works is not passed over so often.
PASSED_OVER_MAX = 20
# Whoever leaves less time than this for a round trip to Redis may be told that it did not answer in time.
HURRY_NS = 50 * NS_PER_MS
# A service waits for Redis for half of a caller's time, in which replicas may have to acknowledge twice.
PATIENT_NS = 1_000 * NS_PER_MS


def check(history: History) -> Verdict:
    """Judge P8, after the end of every disturbance and where there was none."""
    case = Case(history, PROMISE, TITLE)
    case.counts["disturbances"] = len(history.view(Unrests).of("*").spans)
    for entry in list(history.view(Entries)):
        _fetched(case, history, entry)
    for call in history.view(client_calls):
        _available(case, history, call)
    _nobody_sleeps(case, history)
    _restored(case, history)
    return case.verdict()


def _recovery_ns(history: History) -> int:
    return history.header.bounds.recovery_ms * NS_PER_MS


def _fetched(case: Case, history: History, entry: Entry) -> None:
    """An entry is delivered within the bound while a worker could take it."""
    case.counts["entries"] += 1
    bound_ns = history.view(Capacity).fetched_late(entry)
    if bound_ns is not None:
        sentence = f"{entry.request_id} lay in lane {entry.lane} for {bound_ns // NS_PER_MS} ms, and a worker had room"
        case.find("not_fetched", sentence, entry.began)


def _available(case: Case, history: History, call: Call) -> None:
    """No caller hears `unavailable` when nothing has been disturbed for the bound."""
    if call.end is None or call.reason not in UNAVAILABLE or _in_a_hurry(call):
        return
    case.counts["unavailable"] += 1
    calm = Span(call.span.start_ns - _recovery_ns(history), call.span.end_ns)
    if not way_of(history, call).meets(calm) and calm.start_ns >= 0:
        sentence = f"a caller for {call.request_id} was told {call.reason}, and nothing was disturbed"
        case.find("not_available", sentence, call.start, call.end)


def _in_a_hurry(call: Call) -> bool:
    """Whether the caller listened for a moment only, or hardly any time was left when the call ended."""
    deadline_ns = call.start.number("deadline_ns")
    latest_ns = max(call.span.start_ns + PATIENT_NS, call.end.time_ns + HURRY_NS if call.end is not None else 0)
    return 0 < deadline_ns < latest_ns


def _restored(case: Case, history: History) -> None:
    """A task that Redis lost while its caller waits is in the system again within the bounds."""
    lost_all = [event for event in history.named("lost") if event.text("what") != "groups"]
    bounds = history.header.bounds
    bound_ns = (bounds.recovery_ms + bounds.answer_ms) * NS_PER_MS
    for call in history.view(submissions):
        for lost in lost_all:
            if not _waits_across(history, call, lost):
                continue
            case.counts["lost_while_waiting"] += 1
            deadline_ns = way_of(history, call).deadline(lost.time_ns, bound_ns)
            if deadline_ns < min(call.span.end_ns, history.end_ns) and not _there(history, call, lost):
                sentence = f"Redis lost {call.request_id} while a caller waited, and nobody submitted it again"
                case.find("not_restored", sentence, call.start, lost, call.end)


def _waits_across(history: History, call: Call, lost: Event) -> bool:
    """Whether the call's task was accepted before the loss, where the call is, and the call still waited for it."""
    accepted = [
        event
        for event in history.about(call.request_id)
        if event.operation == "accept" and (not call.via or event.name in call.via)
    ]
    before = any(call.span.start_ns <= event.time_ns <= lost.time_ns for event in accepted)
    waits = before and lost.time_ns < call.span.end_ns and not call.start.flag("respond_async")
    return waits and not may_have_died(history, call)


def _there(history: History, call: Call, lost: Event) -> bool:
    """Whether anything shows that the task was in the system after the loss: a record that stays open shows nothing."""
    shows = {"accept", "resubmit", "add", "deliver", "store"}
    return any(
        event.index > lost.index
        and (event.operation in shows or (event.operation == "final" and event.text("state") in TERMINAL))
        for event in history.about(call.request_id)
    )


def _nobody_sleeps(case: Case, history: History) -> None:
    """No worker with room is passed over for as long as the bound, while others are served many times."""
    passed_over: dict[tuple[str, str], list[Event]] = {}
    for event, others in history.view(Capacity).reads:
        lane = event.text("lane")
        passed_over.pop((event.actor, lane), None)
        for actor in others:
            events = passed_over.setdefault((actor, lane), [])
            if not _settled_down(history, actor, event):
                events.clear()
            elif not events or events[-1].time_ns < event.time_ns:
                events.append(event)
            if len(events) > PASSED_OVER_MAX and event.time_ns - events[0].time_ns >= _recovery_ns(history):
                sentence = f"{actor} took nothing from lane {lane}, and others were served {len(events)} times"
                case.find("asleep", sentence, events[0], event)
                events.clear()


def _settled_down(history: History, actor: str, event: Event) -> bool:
    """Whether nothing has disturbed the worker for the bound."""
    calm = Span(event.time_ns - _recovery_ns(history), event.time_ns)
    return not history.view(Unrests).of(REDIS, actor.partition("#")[0]).meets(calm)
