"""A counterexample as a story that can be read.

              at ms       + ms  faults  who              what
          1,204.113      0.000          client-3         submit begins  kind=text lane=text
    !     1,205.000      0.887  A       nemesis          pause  node=worker-1#1
    >>    3,310.870  2,105.870  A       worker-1#1       settle ok (+1.900 ms)  status=settled

`>>` marks the events that cannot stand together, `!` what befell those who act in the story, and a letter a fault in
force. The end of a call says only what its beginning has not said.
"""

from collections.abc import Collection, Iterator, Sequence

from edgescale.harness.checkers import Finding
from edgescale.harness.history import Event, History
from edgescale.harness.timeline_lines import cast_of, cut, lines_of, spells_of

# What befalls the one who is named in the field `node`, or acts.
NEMESIS = frozenset({"start", "crash", "pause", "resume", "stop"})
REDIS = frozenset({"away", "serving", "lost"})
SERVICE = frozenset({"ready", "stopping", "stopped"})
# Of a short history all is told: so many events of other requests.
STRANGERS_MAX = 60
LAST_EVENTS = 40


def timeline(history: History, finding: Finding) -> str:
    """The story of a finding, request by request; lines of at most WIDTH characters."""
    marked = [history.events[index] for index in finding.indices]
    # Not the finding's own story, which may be cut short.
    about = [event for request_id in finding.request_ids for event in history.about(request_id)]
    spells = spells_of(history, in_order([*marked, *about]))
    lines = [cut(finding.sentence), "", *cast_of(spells)]
    shown: set[int] = set()
    for request_id in finding.request_ids:
        merged, befallen = with_fate(history, history.about(request_id))
        shown |= {event.index for event in merged}
        lines += [f"request {request_id}", *lines_of(merged, finding.indices, spells, befallen=befallen), ""]
    others = [event for event in in_order([*marked, *_others(history, finding)]) if event.index not in shown]
    if others:
        head = "and beside that" if finding.request_ids else "what happened"
        lines += [head, *lines_of(others, finding.indices, spells, named=True), ""]
    return "\n".join(lines).rstrip() + "\n"


def story_of(history: History, request_id: str) -> str:
    """What happened to one request, and nothing else."""
    merged, befallen = with_fate(history, history.about(request_id))
    spells = spells_of(history, merged)
    return "\n".join([*cast_of(spells), *lines_of(merged, (), spells, befallen=befallen)]) + "\n"


def with_fate(history: History, events: Sequence[Event]) -> tuple[Sequence[Event], Collection[int]]:
    """The events, and what befell those who act in them; the indices of what was added."""
    befallen = {event.index: event for event in _befallen(history, events)}
    return in_order([*events, *befallen.values()]), befallen


def last_events(history: History, count: int = LAST_EVENTS) -> str:
    """The end of a history, for a run that got stuck or failed."""
    events = history.events[-count:]
    spells = spells_of(history, events)
    head = f"the last {len(events)} of {len(history.events)} events"
    return "\n".join([*cast_of(spells), head, *lines_of(events, (), spells, named=True)]) + "\n"


def _befallen(history: History, events: Sequence[Event]) -> Iterator[Event]:
    """What befell those who act in the events, between the first and the last."""
    if not events:
        return
    first, last = events[0].time_ns, events[-1].time_ns
    names = {event.name for event in events}
    for event in history.named(*NEMESIS, *REDIS, *SERVICE):
        concerned = event.operation in REDIS or _whom(event).partition("#")[0] in names
        if first <= event.time_ns <= last and concerned:
            yield event


def _others(history: History, finding: Finding) -> Collection[Event]:
    """What else happened, where the history is short: to other requests, and to services after their first start."""
    strangers = [event for event in history.events if event.request_id and event.request_id not in finding.request_ids]
    if len(strangers) > STRANGERS_MAX:
        return []
    happened = history.named(*NEMESIS, *REDIS, *SERVICE)
    beginnings = [event for event in happened if event.operation in {"start", "ready"} and _whom(event).endswith("#1")]
    return [*strangers, *(event for event in happened if event not in beginnings)]


def _whom(event: Event) -> str:
    return event.text("node") if event.operation in NEMESIS else event.actor


def in_order(events: Collection[Event]) -> list[Event]:
    """Each once, in the history's order."""
    return sorted({event.index: event for event in events}.values(), key=lambda event: event.index)
