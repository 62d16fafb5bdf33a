"""What a checker says: findings, and the verdict they make."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgescale.harness.history import Event, History

Outcome = Literal["valid", "invalid", "unknown"]
# A broken system breaks a promise thousands of times; these are enough to understand how.
FINDINGS_MAX = 50
STORY_EVENTS_MAX = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise.

    Attributes:
        rule: which part of the promise, as a short name.
        sentence: what is wrong.
        request_ids: whom it happened to; empty when it is not about single requests.
        indices: the events that cannot stand together.
        story: those and all other events of these requests: the counterexample.
    """

    rule: str
    sentence: str
    request_ids: tuple[str, ...]
    indices: tuple[int, ...]
    story: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one checker says of a history.

    Attributes:
        promise: P1 to P8, or P10.
        title: the promise in two words.
        outcome: invalid when there is a finding, else unknown when there is a doubt, else valid.
        findings: at most FINDINGS_MAX; `counts["findings"]` has their number.
        doubts: why nothing can be said.
        counts: what was judged, by name.
    """

    promise: str
    title: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    doubts: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Checker:
    """A promise and what judges it."""

    promise: str
    title: str
    check: Callable[[History], Verdict]


class Case:
    """Gathers findings while a checker works."""

    def __init__(self, history: History, promise: str, title: str) -> None:
        self._history = history
        self._promise = promise
        self._title = title
        self._findings: list[Finding] = []
        self._doubts: list[str] = []
        self.counts: Counter[str] = Counter()

    def find(self, rule: str, sentence: str, *events: Event | None) -> None:
        """A promise is broken; the events show it, None among them is passed over."""
        self.counts["findings"] += 1
        if len(self._findings) < FINDINGS_MAX:
            shown = [event for event in events if event is not None]
            request_ids = tuple(dict.fromkeys(event.request_id for event in shown if event.request_id))
            indices = tuple(sorted({event.index for event in shown}))
            self._findings.append(Finding(rule, sentence, request_ids, indices, self._story(request_ids, shown)))

    def doubt(self, reason: str) -> None:
        """The history does not allow to say that the promise was kept."""
        self._doubts.append(reason)

    def verdict(self) -> Verdict:
        """What the checker says."""
        outcome: Outcome = "invalid" if self._findings else "unknown" if self._doubts else "valid"
        return Verdict(
            self._promise, self._title, outcome, tuple(self._findings), tuple(self._doubts), dict(self.counts)
        )

    def _story(self, request_ids: Sequence[str], shown: Sequence[Event]) -> tuple[Event, ...]:
        told = {event.index: event for request_id in request_ids for event in self._history.about(request_id)}
        told |= {event.index: event for event in shown}
        return tuple(told[index] for index in sorted(told))[:STORY_EVENTS_MAX]


def overall(verdicts: Iterable[Verdict]) -> Outcome:
    """The verdict on a whole run: invalid if any is, else unknown if any is."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return "invalid" if "invalid" in outcomes else "valid" if outcomes == {"valid"} else "unknown"
