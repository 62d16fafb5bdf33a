"""The lines of a timeline: one event each, with the faults in force beside it; what says nothing new is left out."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from string import ascii_lowercase, ascii_uppercase

from edgescale.harness.history import NS_PER_MS, Event, History

WIDTH = 120
ACTOR_WIDTH = 16
LETTERS = ascii_uppercase + ascii_lowercase
# So few faults are all told, and not only those that were in force.
FAULTS_FEW = 3
# Longer runs of the same are told by their first and last.
SAME_MAX = 3
# Of a longer story only its ends and what is near to a marked event are told.
EVENTS_MAX, ENDS, NEAR = 120, 30, 6
DIGEST_CHARACTERS = 8
# Fields that repeat who acts.
SAID_ANYWAY = frozenset({"consumer"})


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault from its beginning to its healing; a letter stands for it."""

    letter: str
    name: str
    targets: str
    from_ns: int
    to_ns: int

    def during(self, from_ns: int, to_ns: int) -> bool:
        """Whether it was in force at any time between."""
        return self.from_ns <= to_ns and from_ns <= self.to_ns


def spells_of(history: History, told: Sequence[Event]) -> Sequence[Spell]:
    """The faults that were in force during a story, from its first act to its last; all where there were few."""
    ends = {event.call: event.time_ns for event in history.named("fault") if event.phase != "invoke"}
    spells = [
        Spell("", event.text("fault"), event.text("targets"), event.time_ns, ends.get(event.call, history.end_ns))
        for event in history.named("fault")
        if event.phase == "invoke"
    ]
    acts = [event.time_ns for event in told if event.operation != "final"]
    if len(spells) > FAULTS_FEW:
        spells = [spell for spell in spells if acts and spell.during(acts[0], acts[-1])]
    # When there are more faults than letters, letters mean several.
    return [replace(spell, letter=LETTERS[number % len(LETTERS)]) for number, spell in enumerate(spells)]


def cast_of(spells: Sequence[Spell]) -> list[str]:
    """What the letters stand for, and an empty line; nothing where there are none."""
    lines = [
        cut(f"  {spell.letter}  {spell.name} of {spell.targets}, {_ms(spell.from_ns)} to {_ms(spell.to_ns)} ms")
        for spell in spells
    ]
    return ["faults", *lines, ""] if lines else []


def lines_of(
    events: Sequence[Event],
    marked: Collection[int],
    spells: Sequence[Spell],
    *,
    befallen: Collection[int] = (),
    named: bool = False,
) -> Iterator[str]:
    """A head, and a line for each event that is told.

    Args:
        events: in their order.
        marked: indices of those that cannot stand together.
        spells: the faults.
        befallen: indices of what befell somebody.
        named: say which request it is.
    """
    yield f"{'':3}{'at ms':>12}{'+ ms':>11}  {'faults':7} {'who':{ACTOR_WIDTH}} what"
    begun = {(event.actor, event.call): event for event in events if event.phase == "invoke"}
    before_ns = events[0].time_ns if events else 0
    for event, left_out in chosen(events, marked):
        if left_out:
            yield f"{'':35}… {left_out} more"
        mark = ">>" if event.index in marked else "!" if event.index in befallen else ""
        letters = "".join(spell.letter for spell in spells if spell.during(event.time_ns, event.time_ns))
        times = f"{_ms(event.time_ns):>12}{_ms(event.time_ns - before_ns):>11}"
        start = begun.get((event.actor, event.call)) if event.call is not None and event.phase != "invoke" else None
        whose = f"{event.request_id}: " if named and event.request_id else ""
        yield cut(f"{mark:3}{times}  {letters[:7]:7} {event.actor:{ACTOR_WIDTH}} {whose}{what(event, start)}").rstrip()
        before_ns = event.time_ns


def chosen(events: Sequence[Event], marked: Collection[int]) -> Iterator[tuple[Event, int]]:
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
        marks = event.index if event.index in marked else None
        return event.actor, event.operation, event.request_id, marks

    for _, run in groupby(range(len(events)), key=sameness):
        places = list(run)
        yield from places if len(places) <= SAME_MAX else (places[0], places[-1])


def what(event: Event, start: Event | None) -> str:
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


def cut(line: str) -> str:
    """The line, not longer than WIDTH."""
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
