"""Calls: an invoke and what ended it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgescale.harness.checkers.faults import REDIS, WORKERS, Lives, Unrests
from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import TERMINAL, Event, History

SUBMISSIONS = frozenset({"submit", "upload"})
CLIENT_OPERATIONS = (*sorted(SUBMISSIONS), "fetch", "cancel")
# What callers are told of a task that ended, and did not succeed.
ENDED = frozenset({"TASK_FAILED", "TASK_EXPIRED"})
UNAVAILABLE = frozenset({"UNAVAILABLE", "BROKER_UNAVAILABLE", "STORE_UNAVAILABLE", "NOT_SERVING"})


class Answer(NamedTuple):
    """How a task ended, as somebody saw it. The digest is empty unless it succeeded."""

    state: str
    digest: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call; `end` is None while it is open, `repeats` are ends beyond the first."""

    start: Event
    end: Event | None
    repeats: tuple[Event, ...] = ()

    @property
    def span(self) -> Span:
        """From invoke to end."""
        return Span(self.start.time_ns, FOREVER if self.end is None else self.end.time_ns)

    @property
    def request_id(self) -> str:
        """The caller's, or the one that the answer told; empty when there is neither."""
        return self.start.request_id or (self.end.request_id if self.end else "")

    @property
    def phase(self) -> str:
        """How it ended; `open` when it did not."""
        return self.end.phase if self.end else "open"

    @property
    def reason(self) -> str:
        """Of a fail or info."""
        return self.end.text("reason") if self.end else ""

    @property
    def answer(self) -> Answer | None:
        """The terminal answer it brought, None when it brought none."""
        if self.end is None or not (self.phase == "ok" or self.reason in ENDED):
            return None
        return answer_of(self.end)

    @property
    def accepted(self) -> bool:
        """Whether its end says that the task is in the system."""
        return self.phase == "ok" or self.reason in ENDED | {"WAIT_EXPIRED"}

    @property
    def refused(self) -> bool:
        """Whether its end says that nothing was done."""
        return self.phase == "fail" and self.reason not in ENDED

    @property
    def via(self) -> frozenset[str]:
        """Names of the services it went through; empty when that is not told."""
        return frozenset(name.partition("#")[0] for name in self.start.text("via").split(",") if name)


def answer_of(event: Event) -> Answer | None:
    """The terminal answer in an event's fields, None when its state is not terminal."""
    state = event.text("state")
    if state not in TERMINAL:
        return None
    return Answer(state, event.text("result_digest") if state == "succeeded" else "")


def paired(events: Iterable[Event]) -> list[Call]:
    """The calls that these events make, in the order of their first events.

    An end without an invoke is a call of its own.
    """
    calls: dict[tuple[str, int], list[Event]] = {}
    alone: list[Call] = []
    for event in events:
        if event.call is None:
            alone.append(Call(event, None if event.phase == "invoke" else event))
        else:
            calls.setdefault((event.actor, event.call), []).append(event)
    made = [_call(parts) for parts in calls.values()]
    return sorted([*alone, *made], key=lambda call: call.start.index)


def _call(parts: Sequence[Event]) -> Call:
    ends = [event for event in parts if event.phase != "invoke"]
    return Call(parts[0], ends[0] if ends else None, tuple(ends[1:]))


def client_calls(history: History) -> Sequence[Call]:
    """A view: what clients called."""
    return paired(history.named(*CLIENT_OPERATIONS))


def submissions(history: History) -> Sequence[Call]:
    """A view: the calls that may bring a task into the system."""
    return [call for call in history.view(client_calls) if call.start.operation in SUBMISSIONS]


def settlements(history: History) -> Sequence[Call]:
    """A view: the settle calls of workers."""
    return paired(history.named("settle"))


def way_of(history: History, call: Call) -> Unrest:
    """When the way between the caller and stored results was disturbed."""
    names = {REDIS, call.start.name} | call.via if call.via else ()
    return history.view(Unrests).of(*names)


def may_have_died(history: History, call: Call) -> bool:
    """Whether the caller, or what served the call, may have crashed meanwhile."""
    names = {call.start.name} | call.via

    def concerned(name: str) -> bool:
        return name in names if call.via else not name.startswith((WORKERS, REDIS))

    return history.view(Lives).crashed(concerned, call.span)
