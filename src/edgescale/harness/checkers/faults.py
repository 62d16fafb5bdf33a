"""What disturbed a run: faults, outages, deaths, pauses, and data that Redis lost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import NS_PER_MS, Event, History

REDIS, STORE, EVERYBODY, WORKERS = "redis", "store", "*", "worker"
Kind = Literal["fault", "away", "paused", "down", "lost"]


@dataclass(frozen=True, slots=True)
class Window:
    """One disturbance.

    Attributes:
        kind: `down` is from a crash or stop to the next `ready`, and before the first one; `lost` is a moment.
        names: of the nodes that suffer, without incarnation.
        span: its time; without end when it never healed. What a clock stamped while it was ahead seems young until
            time has caught up, so that the end of a jump is the later for it.
        fault: the fault's name, else empty.
        begun: the event that began it; None for a service before its first start.
    """

    kind: Kind
    names: frozenset[str]
    span: Span
    fault: str = ""
    begun: Event | None = None

    def touches(self, names: Iterable[str]) -> bool:
        """Whether one of them suffers."""
        return EVERYBODY in self.names or not self.names.isdisjoint(names)

    @property
    def workers_only(self) -> bool:
        """Whether nobody but workers suffers."""
        return all(name.startswith(WORKERS) for name in self.names)


def windows(history: History) -> Sequence[Window]:
    """A view: all disturbances."""
    return _Windows(history).closed


class _Windows:
    """Opens a window at the event that begins a disturbance, closes it at the one that ends it."""

    BEGIN: Mapping[tuple[str, str], Kind] = {
        ("pause", "ok"): "paused",
        ("crash", "ok"): "down",
        ("stop", "ok"): "down",
        ("stopping", "ok"): "down",
        ("away", "ok"): "away",
        ("fault", "invoke"): "fault",
    }
    END: Mapping[tuple[str, str], Kind] = {
        ("resume", "ok"): "paused",
        ("crash", "ok"): "paused",
        ("ready", "ok"): "down",
        ("serving", "ok"): "away",
        ("fault", "ok"): "fault",
    }

    def __init__(self, history: History) -> None:
        self.closed: list[Window] = []
        self._open: dict[tuple[Kind, str], Event] = {}
        self._seen_ready: set[str] = set()
        for event in history.named("pause", "resume", "crash", "stop", "stopping", "ready", "away", "serving", "fault"):
            self._end(event)
            self._begin(event)
        for (kind, _), event in self._open.items():
            self._close(kind, event, FOREVER)
        for event in history.named("lost"):
            self._close("lost", event, event.time_ns)

    def _begin(self, event: Event) -> None:
        kind = self.BEGIN.get((event.operation, event.phase))
        if kind == "down" and _key(event) == REDIS:
            kind = "away"
        if kind is not None:
            self._open.setdefault((kind, _key(event)), event)

    def _end(self, event: Event) -> None:
        kind = self.END.get((event.operation, event.phase))
        begun = self._open.pop((kind, _key(event)), None) if kind is not None else None
        if kind is not None and begun is not None:
            self._close(kind, begun, event.time_ns)
        elif event.operation == "ready" and event.name not in self._seen_ready:
            self.closed.append(Window("down", frozenset({event.name}), Span(0, event.time_ns)))
        if event.operation == "ready":
            self._seen_ready.add(event.name)

    def _close(self, kind: Kind, begun: Event, end_ns: int) -> None:
        names = begun.text("targets") or begun.text("node") or begun.name
        bare = frozenset(name.strip().partition("#")[0] for name in names.split(","))
        end_ns += max(begun.number("jump_ms"), 0) * NS_PER_MS
        self.closed.append(Window(kind, bare, Span(begun.time_ns, end_ns), begun.text("fault"), begun))


def _key(event: Event) -> str:
    """What links the beginning of a disturbance with its end."""
    if event.operation != "fault":
        return (event.text("node") or event.name).partition("#")[0]
    if event.call is None:
        return f"{event.text('fault')} {event.text('targets')}"
    return f"{event.actor} {event.call}"


class Unrests:
    """A view: the disturbed times of those whom a question is about."""

    def __init__(self, history: History) -> None:
        self._windows = history.view(windows)
        self._of: dict[tuple[frozenset[str], bool], Unrest] = {}

    def of(self, *names: str, even_if_down: bool = False) -> Unrest:
        """When one of these nodes suffered; without a name, when anybody but workers did.

        Args:
            names: without incarnation.
            even_if_down: leave out that a node was dead, or asked to stop.
        """
        asked = frozenset(names), even_if_down
        if asked not in self._of:
            chosen = [window for window in self._windows if not (even_if_down and window.kind == "down")]
            self._of[asked] = Unrest(
                window.span for window in chosen if (window.touches(names) if names else not window.workers_only)
            )
        return self._of[asked]


class Lives:
    """A view: when which incarnation became ready, crashed, was paused or asked to stop.

    Attributes:
        stops: the first polite request of the nemesis to each incarnation.
        falls: all crashes and pauses.
    """

    def __init__(self, history: History) -> None:
        self._ready: dict[str, int] = {}
        self.stops: dict[str, Event] = {}
        self.falls = history.named("crash", "pause")
        self._crashes: dict[str, Event] = {}
        self._pauses: dict[str, list[Event]] = {}
        self._resumes: dict[str, list[Event]] = {}
        present: dict[str, str] = {}
        for event in history.events:
            if event.actor != event.name:
                present[event.name] = event.actor
            if event.operation == "ready":
                self._ready.setdefault(event.actor, event.time_ns)
            if event.operation in {"start", "crash", "pause", "resume", "stop"} and event.text("node"):
                node = event.text("node")
                actor = node if "#" in node else present.get(node, node)
                self._note(event, actor)
                present[actor.partition("#")[0]] = actor

    def _note(self, event: Event, actor: str) -> None:
        if event.operation == "crash":
            self._crashes.setdefault(actor, event)
        elif event.operation == "stop":
            self.stops.setdefault(actor, event)
        elif event.operation == "pause":
            self._pauses.setdefault(actor, []).append(event)
        elif event.operation == "resume":
            self._resumes.setdefault(actor, []).append(event)

    @property
    def crashes(self) -> Mapping[str, Event]:
        """The crash of each incarnation that crashed."""
        return self._crashes

    def ready_ns(self, actor: str) -> int:
        """When the incarnation became ready; 0 when that was not recorded."""
        return self._ready.get(actor, 0)

    def pauses(self, actor: str) -> Sequence[Event]:
        """The pauses of an incarnation."""
        return self._pauses.get(actor, ())

    def resumed_ns(self, actor: str, pause: Event) -> int:
        """When the pause ended; FOREVER when it did not."""
        later = (event.time_ns for event in self._resumes.get(actor, ()) if event.index > pause.index)
        return next(later, FOREVER)

    def crashed(self, names: Callable[[str], bool], span: Span) -> bool:
        """Whether one of the nodes so named crashed in this time, or was down after a crash when it began.

        Whoever calls a machine that is gone without a word waits in vain, even for its replacement.
        """
        return any(
            names(name) and Span(event.time_ns, self._back_ns(name, event)).meets(span)
            for name, event in ((actor.partition("#")[0], event) for actor, event in self._crashes.items())
        )

    def _back_ns(self, name: str, crash: Event) -> int:
        """When the next incarnation of one that crashed was ready; FOREVER when none was."""
        lives = (moment for actor, moment in self._ready.items() if actor.partition("#")[0] == name)
        return min((moment for moment in lives if moment > crash.time_ns), default=FOREVER)


def clock_jumped(history: History, span: Span) -> bool:
    """Whether somebody had set the clock of Redis at some moment of the span."""
    return any(
        window.fault.startswith("clock") and window.touches([REDIS]) and window.span.meets(span)
        for window in history.view(windows)
    )
