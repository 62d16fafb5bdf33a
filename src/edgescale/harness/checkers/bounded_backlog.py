"""P3, bounded backlog: no lane holds more than its cap, nobody is refused while there is room, nothing is trimmed."""

from edgescale.harness.checkers.base import Case, Verdict
from edgescale.harness.checkers.calls import settlements, submissions
from edgescale.harness.checkers.entries import Entries, Identity
from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import Event, History

PROMISE, TITLE = "P3", "bounded backlog"
# What the nemesis adds past the services, and what a restart brings back, asks nobody for room.
UNASKED = frozenset({"injected", "restored"})


class Backlogs:
    """A view: what each lane held at each moment, and when it was full.

    Attributes:
        exceeded: additions that took a stream over its share of the cap, each with the backlog after it.
        injected: how many entries the nemesis has put into each lane.
    """

    def __init__(self, history: History) -> None:
        terms = history.header.terms
        self.exceeded: list[tuple[Event, int]] = []
        self.injected: dict[str, int] = {}
        self._shares = {lane: cap // terms.partitions for lane, cap in terms.caps.items()}
        self._held: dict[tuple[str, int], set[Identity]] = {}
        self._full_since: dict[tuple[str, int], int] = {}
        self._filled: list[tuple[str, Span]] = []
        for event in history.named("add", "delete", "wait", "turn", "lost"):
            self._note(event)
        self._filled += [(lane, Span(since_ns)) for (lane, _), since_ns in self._full_since.items()]
        self._full = {lane: Unrest(span for full, span in self._filled if full == lane) for lane in self._shares}

    def was_full(self, lane: str, span: Span) -> bool:
        """Whether some stream of the lane was at its share of the cap at some moment of the span."""
        return self._full[lane].meets(span)

    def _note(self, event: Event) -> None:
        stream = event.text("lane"), event.number("partition")
        if event.operation == "lost":
            if event.text("what") == "all":
                for known, held in self._held.items():
                    held.clear()
                    self._weigh(known, event)
            return
        held = self._held.setdefault(stream, set())
        identity = event.request_id, event.text("entry") or f"waits at {event.text('place')}"
        if event.operation in {"delete", "turn"}:
            held.discard(identity)
            self._discard_unnamed(held, event)
        else:
            held.add(identity)
        self._weigh(stream, event)

    @staticmethod
    def _discard_unnamed(held: set[Identity], event: Event) -> None:
        """A deletion may not tell whose entry it was."""
        if not event.request_id:
            held -= {identity for identity in held if identity[1] == event.text("entry")}

    def _weigh(self, stream: tuple[str, int], event: Event) -> None:
        share, backlog = self._shares.get(stream[0], FOREVER), len(self._held[stream])
        if event.operation == "add" and event.text("why") == "injected":
            self.injected[stream[0]] = self.injected.get(stream[0], 0) + 1
        if event.operation in {"add", "wait"} and backlog > share and event.text("why") not in UNASKED:
            self.exceeded.append((event, backlog))
        if backlog >= share:
            self._full_since.setdefault(stream, event.time_ns)
        elif stream in self._full_since:
            self._filled.append((stream[0], Span(self._full_since.pop(stream), event.time_ns)))


def check(history: History) -> Verdict:
    """Judge P3.

    What was added and deleted is judged where Redis was watched; samples are judged in any case.
    """
    case = Case(history, PROMISE, TITLE)
    backlogs = history.view(Backlogs)
    _caps(case, history, backlogs)
    _refusals(case, history, backlogs)
    _trims(case, history)
    return case.verdict()


def _caps(case: Case, history: History, backlogs: Backlogs) -> None:
    caps = history.header.terms.caps
    for event, backlog in backlogs.exceeded:
        sentence = f"an addition took lane {event.text('lane')} to {backlog} entries, over its cap"
        case.find("over_cap", sentence, event)
    for event in history.named("sample"):
        case.counts["samples"] += 1
        lane, backlog = event.text("lane"), event.number("backlog")
        cap = event.number("cap") or caps.get(lane, FOREVER)
        if backlog > cap + backlogs.injected.get(lane, 0):
            case.find("over_cap_sampled", f"lane {lane} held {backlog} entries, over its cap of {cap}", event)


def _refusals(case: Case, history: History, backlogs: Backlogs) -> None:
    """A lane that refuses was full at some moment of the call."""
    # What the nemesis adds is written down in any case.
    watched = any(event.text("why") != "injected" for event in history.named("add"))
    for call in history.view(submissions):
        lane = call.start.text("lane")
        if call.reason != "LANE_FULL":
            continue
        case.counts["refusals"] += 1
        if watched and lane in history.header.terms.caps and not backlogs.was_full(lane, call.span):
            sentence = f"{call.request_id} was refused although lane {lane} had room throughout the call"
            case.find("false_refusal", sentence, call.start, call.end)


def _trims(case: Case, history: History) -> None:
    """Whatever is deleted was settled: a settlement of the entry had begun, or its task's end was stored."""
    stores = history.view(Entries).stores
    begun: dict[Identity, int] = {}
    for call in history.view(settlements):
        begun.setdefault((call.request_id, call.start.text("entry")), call.start.index)
    for event in history.named("delete"):
        entry = history.view(Entries).find(event)
        if event.text("why") == "lost" or entry is None:
            continue
        case.counts["deletions"] += 1
        settling = begun.get((entry.request_id, entry.entry_id), FOREVER)
        stored = min((store.index for store in stores.get(entry.request_id, ())), default=FOREVER)
        if min(settling, stored) > event.index:
            case.find("trimmed", f"the entry of {entry.request_id} was removed before it was settled", event)
