"""P1, no loss: what was accepted ends in exactly one terminal state, and nothing else exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgescale.harness.checkers import cancels
from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import SUBMISSIONS, Call, client_calls, settlements
from edgescale.harness.checkers.entries import Entries, Entry
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.checkers.timely import check_times
from edgescale.harness.history import NS_PER_MS, TERMINAL, Event, History

PROMISE, TITLE = "P1", "no loss"


@dataclass(slots=True)
class Task:
    """All that is known of one request id.

    Attributes:
        attempts: submissions and uploads.
        made_up: by the nemesis.
        seen: when it was surely in the system, each with the event that says so.
        settled: as `seen`, with a terminal state.
        stored: as `settled`, known to nobody but Redis.
        entered_ns: when it last came into the system anew, as far as that was recorded.
        finals: how it stood at the end; one event, if all is well.
    """

    attempts: list[Call] = field(default_factory=list)
    made_up: bool = False
    seen: list[tuple[Span, Event]] = field(default_factory=list)
    settled: list[Span] = field(default_factory=list)
    stored: list[Span] = field(default_factory=list)
    entered_ns: int = 0
    finals: list[Event] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether somebody was told so."""
        return bool(self.seen)

    @property
    def refused(self) -> bool:
        """Whether all who tried were told that nothing was done."""
        return bool(self.attempts) and all(call.refused for call in self.attempts)


class Tasks:
    """A view: all request ids that anything is known of, in the order in which they were first heard of."""

    def __init__(self, history: History) -> None:
        self.known: dict[str, Task] = {}
        self._reply_ns = history.header.bounds.reply_ms * NS_PER_MS
        for event in history.events:
            if event.request_id:
                self._note(self.known.setdefault(event.request_id, Task()), event)
        for call in history.view(client_calls):
            if call.request_id:
                self._note_call(self.known.setdefault(call.request_id, Task()), call)
        for call in history.view(settlements):
            if call.request_id and call.end is not None and call.end.text("status") == "settled":
                self.known[call.request_id].settled.append(call.span)

    def _note(self, task: Task, event: Event) -> None:
        if (event.actor == "nemesis" and event.operation != "fault") or event.text("why") == "injected":
            task.made_up = True
        elif event.text("why") == "replayed" and event.request_id == f"entry-{event.text('entry')}":
            # A letter that names no task goes by its new entry's name.
            task.made_up = True
        elif event.operation == "final" and event.text("state"):
            task.finals.append(event)
        elif event.operation in {"accept", "resubmit"}:
            # The answer was on its way for a while, in which Redis may have lost the task.
            task.seen.append((Span(event.time_ns - self._reply_ns, event.time_ns), event))
            if event.operation == "resubmit" or event.flag("new"):
                task.entered_ns = event.time_ns
        elif event.operation == "replay":
            task.entered_ns = event.time_ns
        elif event.operation == "store":
            task.stored.append(Span(event.time_ns, event.time_ns))

    @staticmethod
    def _note_call(task: Task, call: Call) -> None:
        if call.start.operation in SUBMISSIONS:
            task.attempts.append(call)
        if call.end is not None and call.accepted:
            task.seen.append((call.span, call.end))
        if call.answer is not None:
            task.settled.append(call.span)


def check(history: History) -> Verdict:
    """Judge P1.

    A loss is allowed where Redis lost data within the durability that the header declares, where it was wiped on
    purpose, or where the record of a settled task has expired. Tasks of unknown outcome may exist: `recovered`.
    """
    case = Case(history, PROMISE, TITLE)
    tasks = history.view(Tasks).known
    _doubt(case, history, tasks)
    for request_id, task in tasks.items():
        _ends(case, history, request_id, task)
    _invented(case, history, tasks)
    check_times(case, history)
    _leftovers(case, history)
    cancels.asked_for(case, history)
    cancels.leaves_nothing(case, history)
    return case.verdict()


def _doubt(case: Case, history: History, tasks: Mapping[str, Task]) -> None:
    if not any(task.accepted for task in tasks.values()):
        case.doubt("nothing was accepted")
    finals = history.named("final")
    if not finals:
        case.doubt("there is no final section")
    elif not any("backlog" in event.fields for event in finals):
        case.doubt("the final section says nothing of the lanes")


def _ends(case: Case, history: History, request_id: str, task: Task) -> None:
    """One terminal state for whatever was accepted or is there."""
    _count(case, task)
    states = {event.text("state") for event in task.finals}
    if len(states) > 1:
        case.find("two_ends", f"{request_id} ended as {' and as '.join(sorted(states))}", *task.finals)
    for event in task.finals:
        if event.text("state") not in TERMINAL and not _taken_away(history, request_id):
            case.find("unfinished", f"{request_id} is still {event.text('state')} after the drain", event)
    if task.accepted and not task.finals and history.named("final"):
        if _may_be_gone(history, task):
            case.counts["gone_as_allowed"] += 1
        else:
            event = task.seen[-1][1]
            case.find("lost", f"{request_id} was accepted, and at the end nothing is known of it", event)


def _taken_away(history: History, request_id: str) -> bool:
    """Whether the task's last entry was taken out of its stream by hand: its record stays, and nobody asks for it.

    What became of the task after that may never have been, where Redis lost what it wrote last.
    """
    losses = history.named("lost")

    def by_hand(move: Event) -> bool:
        following = next((lost.text("what") for lost in losses if lost.index > move.index), "")
        return move.operation == "delete" and following == "entries"

    def undone(move: Event) -> bool:
        suffixes = (lost for lost in losses if lost.text("what") == "suffix" and lost.index > move.index)
        return any(move.time_ns >= lost.number("since_ns") for lost in suffixes)

    moves = [event for event in history.about(request_id) if event.operation in {"add", "delete"}]
    last = next((place for place in reversed(range(len(moves))) if by_hand(moves[place])), None)
    return last is not None and all(undone(move) for move in moves[last + 1 :])


def _count(case: Case, task: Task) -> None:
    case.counts["attempted"] += bool(task.attempts)
    case.counts["accepted"] += task.accepted
    case.counts["refused"] += task.refused
    case.counts["recovered"] += bool(task.finals) and not task.accepted and not task.refused


def _may_be_gone(history: History, task: Task) -> bool:
    """Whether a loss after everything that was seen of the task, or its expiry, explains that it is gone."""
    losses = history.view(Losses)
    told = [*(span for span, _ in task.seen), *task.settled]
    spans = [*told, *task.stored]
    lived_from_ns = -FOREVER
    for lost in losses.events:
        # What was seen from before a loss that may have hit the task until after it tells nothing of its rebirth.
        began_ns = min(span.end_ns for span in spans if span.start_ns > lived_from_ns)
        known = any(span.start_ns > lived_from_ns for span in told)
        if began_ns < losses.reach_ns(lost, told=known):
            continue
        if max(span.start_ns for span in spans) <= lost.time_ns:
            return True
        lived_from_ns = lost.time_ns
    return any(
        span.end_ns >= task.entered_ns and losses.expired(span, history.end_ns)
        for span in [*task.settled, *task.stored]
    )


def _invented(case: Case, history: History, tasks: Mapping[str, Task]) -> None:
    """No task that was refused, and none that nobody asked for."""
    anonymous = sum(not call.request_id and not call.refused for call in history.view(client_calls))
    strangers: list[Event] = []
    for request_id, task in tasks.items():
        evidence = _evidence(history.about(request_id))
        if evidence is None or task.made_up:
            continue
        if not task.attempts:
            strangers.append(evidence)
        elif task.refused and not _forgotten(history, task, evidence):
            refusal = task.attempts[0].end
            case.find("refused_but_done", f"{request_id} was refused, and yet it exists", refusal, evidence)
    if len(strangers) > anonymous:
        for event in strangers:
            case.find("invented", f"{event.request_id} exists, and nobody ever submitted it", event)


def _evidence(events: Sequence[Event]) -> Event | None:
    """The last event that shows that a task exists."""
    shows = {"accept", "add", "deliver", "store", "final"}
    return next((event for event in reversed(events) if event.operation in shows), None)


def _forgotten(history: History, task: Task, evidence: Event) -> bool:
    """Whether Redis lost something after the task was seen last, and before its caller was refused."""
    refused_ns = max(call.span.end_ns for call in task.attempts)
    return history.view(Losses).any_in(Span(evidence.time_ns, refused_ns))


def _leftovers(case: Case, history: History) -> None:
    """Nothing is queued or running after the drain, by count and by identity."""
    for event in history.named("final"):
        if event.number("backlog") or event.number("pending"):
            sentence = f"lane {event.text('lane')} holds {event.number('backlog')} entries after the drain"
            case.find("backlog_left", sentence, event)
    if history.named("final"):
        for entry in list(history.view(Entries)):
            if _left(history, entry):
                sentence = f"the entry {entry.entry_id} of {entry.request_id} was never removed"
                case.find("entry_left", sentence, entry.added)


def _left(history: History, entry: Entry) -> bool:
    added = entry.added
    if added is None or entry.deleted is not None:
        return False
    lost = history.view(Losses).events
    return not any(event.time_ns >= added.time_ns and event.text("what") != "groups" for event in lost)
