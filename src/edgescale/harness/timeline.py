"""A counterexample as a story that can be read: one line an event, with the faults in force beside it.

              at ms       + ms  faults  who              what
          1,204.113      0.000          client-3         submit begins  kind=text lane=text
    !     1,205.000      0.887  A       nemesis          pause  node=worker-1#1
    >>    3,310.870  2,105.870  A       worker-1#1       settle ok (+1.900 ms)  status=settled

`>>` marks the events that cannot stand together, `!` what befell those who act in the story, and a letter a fault in
force. The end of a call says only what its beginning has not said.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_lowercase, ascii_uppercase

from edgescale.harness.checkers import Finding
from edgescale.harness.history import NS_PER_MS, Event, History

WIDTH = 120
ACTOR_WIDTH = 16
LETTERS = ascii_uppercase + ascii_lowercase
# What befalls the one who is named in the field `node`, or acts.
NEMESIS = frozenset({"start", "crash", "pause", "resume", "stop"})
REDIS = frozenset({"away", "serving", "lost"})
SERVICE = frozenset({"ready", "stopping", "stopped"})
# Longer runs of the same are told by their first and last.
SAME_MAX = 3
# Of a longer story only its ends and what is near to a marked event are told.
EVENTS_MAX, ENDS, NEAR = 120, 30, 6
LAST_EVENTS = 40
DIGEST_CHARACTERS = 8
# Fields that repeat who acts.
SAID_ANYWAY = frozenset({"consumer"})
# Of a short history all is told: so many events of other requests.
STRANGERS_MAX = 60


@dataclass(frozen=True, slots=True)
class _Spell:
    """A fault from its beginning to its healing."""

    letter: str
    name: str
    targets: str
    from_ns: int
    to_ns: int

    def during(self, from_ns: int, to_ns: int) -> bool:
        return self.from_ns <= to_ns and from_ns <= self.to_ns


def timeline(history: History, finding: Finding) -> str:
    """The story of a finding, request by request; lines of at most WIDTH characters."""
    # The finding's own story may be cut short.
    marked = [history.events[index] for index in finding.indices]
    about = [event for request_id in finding.request_ids for event in history.about(request_id)]
    told = sorted([*marked, *about], key=lambda event: event.index)
    spells = _spells(history, told)
    lines = [_cut(finding.sentence), "", *_cast(spells)]
    for request_id in finding.request_ids:
        events = history.about(request_id)
        lines += [f"request {request_id}", *_section(history, events, finding.indices, spells), ""]
    others = _others(history, finding)
    if others:
        head = "and beside that" if finding.request_ids else "what happened"
        lines += [head, *_section(history, others, finding.indices, spells), ""]
    return "\n".join(lines).rstrip() + "\n"


def _others(history: History, finding: Finding) -> Sequence[Event]:
    """What else there is to tell: events that belong to no request; in a short history, those of the other requests."""
    strangers = [event for event in history.events if event.request_id and event.request_id not in finding.request_ids]
    told = strangers if len(strangers) <= STRANGERS_MAX else []
    marked = [history.events[index] for index in finding.indices]
    events = {event.index: event for event in [*marked, *told] if event.request_id not in finding.request_ids}
    return sorted(events.values(), key=lambda event: event.index)


def last_events(history: History, count: int = LAST_EVENTS) -> str:
    """The end of a history, for a run that got stuck or failed."""
    events = history.events[-count:]
    spells = _spells(history, events)
    lines = [*_cast(spells), f"the last {len(events)} of {len(history.events)} events", *_lines(events, (), (), spells)]
    return "\n".join(lines) + "\n"


def _spells(history: History, told: Sequence[Event]) -> Sequence[_Spell]:
    """The faults that were in force during a story, from its first act to its last."""
    acts = [event.time_ns for event in told if event.operation != "final"]
    if not acts:
        return ()
    ends = {event.call: event.time_ns for event in history.named("fault") if event.phase != "invoke"}
    begun = [event for event in history.named("fault") if event.phase == "invoke"]
    spells = [
        _Spell("", event.text("fault"), event.text("targets"), event.time_ns, ends.get(event.call, history.end_ns))
        for event in begun
    ]
    in_force = [spell for spell in spells if spell.during(acts[0], acts[-1])]
    # When there are more faults than letters, letters mean several.
    return [
        _Spell(LETTERS[number % len(LETTERS)], spell.name, spell.targets, spell.from_ns, spell.to_ns)
        for number, spell in enumerate(in_force)
    ]


def _cast(spells: Iterable[_Spell]) -> list[str]:
    lines = [
        _cut(f"  {spell.letter}  {spell.name} of {spell.targets}, {_ms(spell.from_ns)} to {_ms(spell.to_ns)} ms")
        for spell in spells
    ]
    return ["faults in force", *lines, ""] if lines else []


def _section(
    history: History, events: Sequence[Event], marked: Collection[int], spells: Sequence[_Spell]
) -> Iterator[str]:
    befallen = list(_befallen(history, events))
    merged = sorted({event.index: event for event in [*events, *befallen]}.values(), key=lambda event: event.index)
    return _lines(merged, marked, {event.index for event in befallen}, spells)


def _befallen(history: History, events: Sequence[Event]) -> Iterator[Event]:
    """What befell those who act in the events, between the first and the last."""
    if not events:
        return
    first, last = events[0].time_ns, events[-1].time_ns
    names = {event.name for event in events}
    for event in history.named(*NEMESIS, *REDIS, *SERVICE):
        whom = event.text("node") if event.operation in NEMESIS else event.actor
        concerned = event.operation in REDIS or whom.partition("#")[0] in names
        if first <= event.time_ns <= last and concerned and not event.request_id:
            yield event


def _lines(
    events: Sequence[Event], marked: Collection[int], befallen: Collection[int], spells: Sequence[_Spell]
) -> Iterator[str]:
    yield f"{'':3}{'at ms':>12}{'+ ms':>11}  {'faults':7} {'who':{ACTOR_WIDTH}} what"
    begun = {(event.actor, event.call): event for event in events if event.phase == "invoke"}
    before_ns = events[0].time_ns if events else 0
    for event, left_out in _chosen(events, marked):
        if left_out:
            yield f"{'':35}… {left_out} more"
        mark = ">>" if event.index in marked else "!" if event.index in befallen else ""
        letters = "".join(spell.letter for spell in spells if spell.during(event.time_ns, event.time_ns))
        times = f"{_ms(event.time_ns):>12}{_ms(event.time_ns - before_ns):>11}"
        start = begun.get((event.actor, event.call)) if event.call is not None and event.phase != "invoke" else None
        yield _cut(f"{mark:3}{times}  {letters[:7]:7} {event.actor:{ACTOR_WIDTH}} {_what(event, start)}").rstrip()
        before_ns = event.time_ns


def _chosen(events: Sequence[Event], marked: Collection[int]) -> Iterator[tuple[Event, int]]:
    """The events to be told, each with the number of those left out before it."""
    kept = set(_ends_of_runs(events, marked))
    if len(kept) > EVENTS_MAX:
        places = [place for place, event in enumerate(events) if event.index in marked]
        near = {place + step for place in places for step in range(-NEAR, NEAR + 1)}
        kept &= {*near, *range(ENDS), *range(len(events) - ENDS, len(events))}
    left_out = 0
    for place, event in enumerate(events):
        if place in kept:
            yield event, left_out
            left_out = 0
        else:
            left_out += 1


def _ends_of_runs(events: Sequence[Event], marked: Collection[int]) -> Iterator[int]:
    """Places of the events, without what stands between the first and the last of many that are the same."""

    def sameness(place: int) -> tuple[object, ...]:
        event = events[place]
        return (event.actor, event.operation, event.index if event.index in marked else None)

    for _, run in groupby(range(len(events)), key=sameness):
        places = list(run)
        yield from places if len(places) <= SAME_MAX else (places[0], places[-1])


def _what(event: Event, start: Event | None) -> str:
    """Operation, phase and fields, as far as they say something that the call's start has not said."""
    phase = {"invoke": " begins", "ok": "" if event.call is None else " ok", "fail": " FAILS", "info": " unclear"}
    took = f" (+{_ms(event.time_ns - start.time_ns)} ms)" if start else ""
    said = start.fields if start else {}
    fields = [
        _field(name, value)
        for name, value in event.fields.items()
        if value not in (None, "", False) and name not in SAID_ANYWAY and (name, value) not in said.items()
    ]
    return f"{event.operation}{phase[event.phase]}{took}  {' '.join(fields)}".rstrip()


def _field(name: str, value: object) -> str:
    if name.endswith(("digest", "sha256")):
        return f"{name.removesuffix('_digest')}={str(value)[:DIGEST_CHARACTERS]}"
    return name if value is True else f"{name}={value}"


def _ms(time_ns: int) -> str:
    return f"{time_ns / NS_PER_MS:,.3f}"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
