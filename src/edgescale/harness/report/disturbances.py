"""What disturbed a run, numbered and named: every part of the page calls the same thing by the same number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgescale.harness.checkers.faults import EVERYBODY, Kind, Window, windows
from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import NS_PER_MS, Event, History
from edgescale.harness.report.markup import short
from edgescale.harness.report.units import duration, moment

LABEL_MAX = 48
# What tells bands of the same colour apart is their name; colours say whom it befell.
Group = Literal["link", "process", "redis"]
GROUPS: Mapping[Kind, Group] = {
    "fault": "link",
    "paused": "process",
    "down": "process",
    "away": "redis",
    "lost": "redis",
}
LOST: Mapping[str, str] = {
    "all": "Redis lost everything",
    "suffix": "Redis lost its last writes",
    "groups": "Redis lost its consumer groups",
    "entries": "Redis had entries taken out",
}


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One of them.

    Attributes:
        number: from 1, by when they began.
        label: what it was and whom it befell; the same for all that are alike.
        kind: as the checkers have it.
        names: of the nodes that suffered; "*" for all.
        span: its time, within the history.
        healed: whether it ended before the history did.
        began: the event that began it.
        starts: when the nemesis started a process again that was down.
    """

    number: int
    label: str
    kind: Kind
    names: frozenset[str]
    span: Span
    healed: bool
    began: Event
    starts: tuple[int, ...] = ()

    @property
    def group(self) -> Group:
        """Whom it befell, roughly."""
        return GROUPS[self.kind]

    def befalls(self, name: str) -> bool:
        """Whether the node suffers from it."""
        return name in self.names or EVERYBODY in self.names


def disturbances(history: History) -> Sequence[Disturbance]:
    """A view: all of a run, by when they began."""
    starts: dict[str, list[int]] = {}
    for event in history.named("start"):
        starts.setdefault(event.text("node").partition("#")[0], []).append(event.time_ns)
    begun = sorted(
        ((window.begun.index, window, window.begun) for window in history.view(windows) if window.begun is not None),
        key=lambda item: item[0],
    )
    return [
        Disturbance(
            number,
            short(_label(window, event), LABEL_MAX),
            window.kind,
            window.names,
            Span(window.span.start_ns, min(_end_ns(window, event), history.end_ns)),
            window.span.end_ns != FOREVER,
            event,
            tuple(_within(starts, window)) if window.kind == "down" else (),
        )
        for number, (_, window, event) in enumerate(begun, 1)
    ]


def calm_broken(found: Iterable[Disturbance], group: Group) -> Sequence[Span]:
    """When any of a group was in force, as few spans as possible."""
    return Unrest(item.span for item in found if item.group == group).spans


def told(item: Disturbance) -> str:
    """One disturbance as a sentence."""
    length_ns = item.span.end_ns - item.span.start_ns
    if not length_ns:
        return f"{item.number}: {item.label} at {moment(item.span.start_ns)}"
    until = f"until {moment(item.span.end_ns)}, for {duration(length_ns)}" if item.healed else "until the end"
    return f"{item.number}: {item.label} from {moment(item.span.start_ns)} {until}"


def _end_ns(window: Window, event: Event) -> int:
    """When it ended; not, as for checkers, when a clock that was set back shows the same time again."""
    return window.span.end_ns - max(event.number("jump_ms"), 0) * NS_PER_MS


def _label(window: Window, event: Event) -> str:
    who = "everybody" if EVERYBODY in window.names else ", ".join(sorted(window.names))
    match window.kind:
        case "fault":
            return f"{window.fault or 'a fault'} of {who}"
        case "paused":
            return f"{who} paused"
        case "down":
            return f"{who} killed" if event.operation == "crash" else f"{who} stopped"
        case "away":
            return "Redis away"
        case "lost":
            return LOST.get(event.text("what"), "Redis lost data")


def _within(starts: Mapping[str, Sequence[int]], window: Window) -> list[int]:
    return [
        time_ns
        for name in window.names
        for time_ns in starts.get(name, ())
        if window.span.start_ns <= time_ns <= window.span.end_ns
    ]
