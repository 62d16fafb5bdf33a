"""Violations with their stories, as many as a page can hold; and stories of single requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgescale.harness.checkers import Finding, Verdict
from edgescale.harness.history import History
from edgescale.harness.report.markup import Html, element, short
from edgescale.harness.report.parts import scrolling
from edgescale.harness.timeline import story_of, timeline

TOLD_MAX, LINES_MAX, REQUEST_LINES_MAX, LINE_MAX = 6, 250, 80, 160
REQUESTS_TOLD_MAX = 4


@dataclass(frozen=True, slots=True)
class Violation:
    """A finding that is told.

    Attributes:
        verdict: whose it is.
        finding: it.
        anchor: of its story on the page.
    """

    verdict: Verdict
    finding: Finding
    anchor: str


def violations(verdicts: Sequence[Verdict]) -> Sequence[Violation]:
    """At most TOLD_MAX of each promise: the first of each rule, and then the others."""
    return [
        Violation(verdict, finding, f"story-{verdict.promise}-{number}")
        for verdict in verdicts
        for number, finding in enumerate(_chosen(verdict.findings), 1)
    ]


def findings_of(verdict: Verdict) -> int:
    """How many there are, told or not."""
    return max(verdict.counts.get("findings", 0), len(verdict.findings))


def story(history: History, violation: Violation) -> Html:
    """One violation, to be opened."""
    finding = violation.finding
    told = Finding(finding.rule, finding.sentence, finding.request_ids[:REQUESTS_TOLD_MAX], finding.indices, ())
    return element(
        "details",
        element(
            "summary",
            element("b", f"{violation.verdict.promise} {finding.rule}", class_="bad"),
            f" {short(finding.sentence)}",
        ),
        lines(timeline(history, told), LINES_MAX),
        id=violation.anchor,
        class_="story",
    )


def request_story(history: History, request_id: str, sentence: str) -> Html:
    """A sentence on one request, and what happened to it, to be opened."""
    told = lines(story_of(history, request_id), REQUEST_LINES_MAX)
    return element("details", element("summary", short(sentence)), told)


def lines(text: str, lines_max: int) -> Html:
    """A text as it stands, in a box that scrolls by itself."""
    whole = text.rstrip("\n").split("\n")
    cut = (short(line, LINE_MAX) for line in whole[:lines_max])
    more = [f"… {len(whole) - lines_max:,} more lines"] if len(whole) > lines_max else []
    return scrolling(element("pre", "\n".join([*cut, *more])), label="Story")


def _chosen(findings: Sequence[Finding]) -> Sequence[Finding]:
    firsts = {finding.rule: finding for finding in reversed(findings)}
    ordered = sorted(findings, key=lambda finding: finding is not firsts[finding.rule])
    return ordered[:TOLD_MAX]
