"""Why a run is not good, from what its checkers said."""

from collections.abc import Iterable, Iterator

from edgescale.harness.campaign.result import RUN, Offence
from edgescale.harness.checkers import Finding, Verdict
from edgescale.harness.history import NS_PER_MS, History
from edgescale.harness.timeline import last_events, timeline


def offences_of(history: History, failure: str, verdicts: Iterable[Verdict]) -> tuple[Offence, ...]:
    """Everything that is wrong with a run, at most one for each promise and rule; the run's own failure comes first."""
    offences = [_failed(history, failure)] if failure else []
    for verdict in verdicts:
        offences += [_found(history, verdict.promise, finding) for finding in _first_of_each_rule(verdict)]
        offences += _open(verdict)
    return tuple(offences)


def _failed(history: History, failure: str) -> Offence:
    rule = failure.partition(":")[0]
    return Offence(RUN, rule, failure, at_ms=_ms(history.end_ns), story=last_events(history))


def _first_of_each_rule(verdict: Verdict) -> Iterator[Finding]:
    rules = set()
    for finding in verdict.findings:
        if finding.rule not in rules:
            rules.add(finding.rule)
            yield finding


def _found(history: History, promise: str, finding: Finding) -> Offence:
    last_ns = max((history.events[index].time_ns for index in finding.indices), default=0)
    story = timeline(history, finding)
    return Offence(promise, finding.rule, finding.sentence, finding.request_ids, _ms(last_ns), story)


def _open(verdict: Verdict) -> Iterator[Offence]:
    if verdict.outcome == "unknown":
        for doubt in verdict.doubts:
            yield Offence(verdict.promise, f"unknown: {doubt}", f"nothing can be said: {doubt}")


def _ms(time_ns: int) -> int:
    """Rounded up, so that whatever happened until then is until then."""
    return -(-time_ns // NS_PER_MS)
