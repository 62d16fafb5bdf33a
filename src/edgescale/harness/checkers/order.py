"""P10, order: tasks of one ordering key are done one at a time, in the order of their acceptance."""

from dataclasses import dataclass, field

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import Call, paired
from edgescale.harness.checkers.faults import Lives
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import Span
from edgescale.harness.history import Event, History

Identity = tuple[str, str]
PROMISE, TITLE = "P10", "order"


@dataclass(slots=True)
class Line:
    """The open tasks of one key in one lane, as Redis saw them.

    Attributes:
        waiting: who waits, by request id and place, each with its event.
        queued: who is in the stream, by request id and entry, each with its event.
        turned: who waits no more, by request id.
    """

    waiting: dict[Identity, Event] = field(default_factory=dict)
    queued: dict[Identity, Event] = field(default_factory=dict)
    turned: dict[str, Event] = field(default_factory=dict)

    def before(self, place: str) -> list[Event]:
        """Who waits at an earlier place; places only grow, in the order of acceptance."""
        return [event for event in self.waiting.values() if _number(event.text("place")) < _number(place)]


def _number(place: str) -> tuple[int, ...]:
    return tuple(int(part) for part in place.split("-"))


def ordering_keys(history: History) -> dict[str, tuple[str, str]]:
    """Lane and ordering key of each request id that has one."""
    named = (event for event in history.named("submit", "upload") if event.phase == "invoke")
    return {
        event.request_id: (event.text("lane"), event.text("ordering_key"))
        for event in named
        if event.text("ordering_key")
    }


def check(history: History) -> Verdict:
    """Judge P10: where Redis was watched, by its streams; and by the handlers in any case.

    A handler that still runs, or begins, although its task has ended explains an overlap: its worker had lost the
    lease, or the task was cancelled, and it had not heard of that.
    """
    case = Case(history, PROMISE, TITLE)
    keys = history.view(ordering_keys)
    lines: dict[Identity, Line] = {}
    for event in history.named("wait", "turn", "add", "delete"):
        if event.request_id in keys and event.text("why") != "injected":
            _move(case, lines.setdefault(keys[event.request_id], Line()), event)
    _overlaps(case, history)
    return case.verdict()


def _move(case: Case, line: Line, event: Event) -> None:
    identity = event.request_id, event.text("entry") or event.text("place")
    match event.operation:
        case "wait":
            case.counts["waited"] += 1
            line.waiting[identity] = event
        case "turn":
            line.waiting.pop(identity, None)
            line.turned[event.request_id] = event
        case "add":
            _added(case, line, event)
            line.queued[identity] = event
        case _:
            line.queued.pop(identity, None)
            _gone(case, line, event)


def _added(case: Case, line: Line, event: Event) -> None:
    """Into the stream comes who is the next one, when nobody of its key is there."""
    case.counts["turns"] += 1
    turned = line.turned.get(event.request_id)
    if turned is not None and turned.time_ns == event.time_ns:
        passed_over = line.before(turned.text("place"))
    else:
        passed_over = list(line.waiting.values())
    for other in line.queued.values():
        sentence = f"{event.request_id} came into the stream while {other.request_id} of the same key was there"
        case.find("two_at_once", sentence, other, event)
    # What Redis brings back after a restart comes stream by stream.
    if passed_over and event.text("why") != "restored":
        sentence = (
            f"{event.request_id} came into the stream before {passed_over[0].request_id}, which was accepted earlier"
        )
        case.find("out_of_turn", sentence, passed_over[0], event)


def _gone(case: Case, line: Line, event: Event) -> None:
    """Together with whoever ends, the next one is let go; not where somebody took it away by hand, or Redis lost it."""
    moved_now = any(turned.time_ns == event.time_ns for turned in line.turned.values())
    if line.waiting and not moved_now and not event.text("why"):
        held_up = next(iter(line.waiting.values()))
        sentence = f"{event.request_id} had ended, and {held_up.request_id} behind it was not let go"
        case.find("held_up", sentence, held_up, event)


def _overlaps(case: Case, history: History) -> None:
    """No handler begins while another one of the key is at work on a task that has not ended."""
    keys = history.view(ordering_keys)
    begun: dict[Identity, list[Call]] = {}
    handles = [event for event in history.named("handle") if event.request_id in keys]
    for call in sorted(paired(handles), key=lambda call: call.start.index):
        line = begun.setdefault(keys[call.request_id], [])
        case.counts["attempts"] += 1
        for other in line:
            if other.request_id != call.request_id and _at_work(history, other, call):
                sentence = f"{call.request_id} was begun while {other.request_id} of the same key was at work"
                case.find("overlap", sentence, other.start, call.start)
        line.append(call)


def _at_work(history: History, earlier: Call, later: Call) -> bool:
    """Whether the earlier handler was still at work when the later one began, and nothing explains it."""
    end = earlier.end or history.view(Lives).crashes.get(earlier.start.actor)
    if end is not None and end.index < later.start.index:
        return False
    # Whoever works on a task that has ended, as by a cancellation, has not heard of it yet.
    ended = any(_ended(history, call.request_id, later.start.index) for call in (earlier, later))
    # Lost before it was begun, too: a worker may be told of an entry that is not there any more.
    known_ns = min(_added_ns(history, earlier), _added_ns(history, later))
    return not ended and not history.view(Losses).any_in(Span(known_ns, later.start.time_ns))


def _ended(history: History, request_id: str, index: int) -> bool:
    lives = (event for event in history.about(request_id) if event.operation in {"store", "wait", "add"})
    return [event.operation for event in lives if event.index < index][-1:] == ["store"]


def _added_ns(history: History, call: Call) -> int:
    """When the entry that a handler works on came into the stream; as far as is known, when the handler began."""
    entry = call.start.text("entry")
    added = (event for event in history.about(call.request_id) if event.operation == "add")
    return min((event.time_ns for event in added if event.text("entry") == entry), default=call.start.time_ns)
