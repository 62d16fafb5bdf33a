"""Requests that a reader asks for first: those that were lost, answered twice, or done against the odds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgescale.harness.checkers import Finding, Verdict
from edgescale.harness.checkers.calls import Call, client_calls, submissions
from edgescale.harness.checkers.entries import Entries
from edgescale.harness.evidence import was_stored
from edgescale.harness.evidence_of_leases import takeovers
from edgescale.harness.history import History
from edgescale.harness.report.series import intended_ns, taken_ns

# Of checkers, by promise.
Rules = Mapping[str, frozenset[str]]
LOST: Rules = {"P1": frozenset({"lost", "unfinished", "entry_left"})}
DOUBLED: Rules = {
    "P1": frozenset({"two_ends"}),
    "P2": frozenset({"two_results", "two_contents", "others_result", "answered_twice"}),
}


@dataclass(frozen=True, slots=True)
class Recovered:
    """A task that was done although something went wrong on its way.

    Attributes:
        request_id: whose it is.
        how: what went wrong and how it went on, a sentence each, in their order.
        state: that was stored first.
        took_ns: from its first submission to that; None where that was not recorded.
    """

    request_id: str
    how: Sequence[str]
    state: str
    took_ns: int | None


def found(verdicts: Sequence[Verdict], rules: Rules) -> Sequence[tuple[Verdict, Finding]]:
    """The findings of these rules."""
    return [
        (verdict, finding)
        for verdict in verdicts
        for finding in verdict.findings
        if finding.rule in rules.get(verdict.promise, frozenset())
    ]


def recovered(history: History) -> Sequence[Recovered]:
    """A view: those that were done, the slowest first."""
    how: dict[str, list[tuple[int, str]]] = {}
    for request_id, index, sentence in _odds(history):
        how.setdefault(request_id, []).append((index, sentence))
    begun: dict[str, Call] = {}
    for call in history.view(submissions):
        begun.setdefault(call.request_id, call)
    made = [
        _recovered(history, request_id, [sentence for _, sentence in sorted(told)], begun.get(request_id))
        for request_id, told in how.items()
        if was_stored(history, request_id)
    ]
    return sorted(made, key=lambda item: (-(item.took_ns or 0), item.request_id))


def _recovered(history: History, request_id: str, how: Sequence[str], call: Call | None) -> Recovered:
    stored = history.view(Entries).stores[request_id][0]
    took_ns = stored.time_ns - intended_ns(call) if call is not None else None
    return Recovered(request_id, list(dict.fromkeys(how)), stored.text("state"), took_ns)


def _odds(history: History) -> Iterator[tuple[str, int, str]]:
    """Whom it happened to, the event that shows it, and what it was."""
    for held, following in takeovers(history):
        if not held.returns:
            sentence = f"taken over from {held.actor} by {following.actor}"
            yield held.event.request_id, following.event.index, sentence
    for call in history.view(submissions):
        if call.phase in {"info", "open"} and not call.accepted and call.request_id:
            heard = f"heard {call.reason or 'nothing certain'}" if call.end is not None else "never heard anything"
            yield call.request_id, (call.end or call.start).index, f"{call.start.actor} {heard}"
    for event in history.named("resubmit"):
        yield event.request_id, event.index, f"submitted again by {event.actor} after Redis had lost it"


def slowest(history: History) -> Call | None:
    """The call that took longest to be answered; None where none was."""
    calls = ((taken_ns(call), call) for call in history.view(client_calls) if call.request_id)
    answered = [(took_ns, -call.start.index, call) for took_ns, call in calls if took_ns is not None]
    return max(answered, default=(0, 0, None), key=lambda item: item[:2])[2]
