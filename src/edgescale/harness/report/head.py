"""What stands above everything: good or not, what ran, and how to run it again; then the verdicts."""

from collections.abc import Mapping, Sequence

from edgescale.harness.checkers import Outcome, Verdict, overall
from edgescale.harness.history import History
from edgescale.harness.report.about import About
from edgescale.harness.report.markup import Html, element, joined, short
from edgescale.harness.report.stories import Violation, findings_of
from edgescale.harness.report.units import duration, times

SIGNS: Mapping[Outcome, str] = {"valid": "✓", "invalid": "✕", "unknown": "?"}
NAMED_MAX = 4


def outcome_of(verdicts: Sequence[Verdict], about: About) -> Outcome:
    """The verdict on the run; one that did not come to its end, or was not judged, is never valid."""
    whole = overall(verdicts)
    return "invalid" if whole == "invalid" else "unknown" if about.failure else whole


def headline(history: History, verdicts: Sequence[Verdict], about: About) -> Html:
    """The top of the page."""
    outcome = outcome_of(verdicts, about)
    notes = [about.note] if about.note else []
    notes += [f"The run itself failed: {about.failure}"] if about.failure else []
    return element(
        "header",
        element("p", about.title, class_="kicker"),
        element("h1", element("span", SIGNS[outcome], class_="sign", aria_hidden="true"), _sentence(verdicts, about)),
        *(element("p", short(note), class_="lead") for note in notes),
        *([_replay(about.replay)] if about.replay else []),
        element("dl", *(_fact(name, value) for name, value in _facts(history, about)), class_="facts"),
        class_=f"top {outcome}",
    )


def _sentence(verdicts: Sequence[Verdict], about: About) -> str:
    """The one thing to know."""
    broken = [verdict for verdict in verdicts if verdict.outcome == "invalid"]
    if broken:
        return f"{times(len(broken), 'promise')} broken: {_named(broken)}"
    if about.failure:
        return "The run did not come to its end"
    unknown = [verdict for verdict in verdicts if verdict.outcome == "unknown"]
    if unknown or not verdicts:
        return f"Nothing can be said of {_named(unknown) or 'any promise'}"
    return f"All {len(verdicts)} promises were kept" if len(verdicts) > 1 else "The promise was kept"


def _named(verdicts: Sequence[Verdict]) -> str:
    named = [f"{verdict.promise} {verdict.title}" for verdict in verdicts]
    more = [f"{len(named) - NAMED_MAX} more"] if len(named) > NAMED_MAX else []
    return ", ".join([*named[:NAMED_MAX], *more])


def _replay(command: str) -> Html:
    return element(
        "div",
        element("code", command, id="replay"),
        element("button", "Copy", type="button", id="copy", hidden=True),
        class_="replay",
        role="group",
        aria_label="The command that runs this again",
    )


def _facts(history: History, about: About) -> Sequence[tuple[str, str]]:
    header = history.header
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    facts = [
        ("seed", str(header.seed)),
        ("commit", header.commit or "unknown"),
        ("lasted", duration(history.end_ns)),
        ("events", f"{len(history.events):,}"),
        ("plan digest", header.plan),
        *about.used.items(),
        ("versions", versions),
    ]
    return [(name, value) for name, value in facts if value]


def _fact(name: str, value: str) -> Html:
    return element("div", element("dt", name), element("dd", short(value)))


def grid(verdicts: Sequence[Verdict], told: Sequence[Violation]) -> Html:
    """The verdicts, each with what was judged and what is wrong."""
    heads = ("promise", "verdict", "what was judged")
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in heads)))
    bodies = (_verdict(verdict, [item for item in told if item.verdict is verdict]) for verdict in verdicts)
    return element("table", head, *bodies, class_="verdicts")


def _verdict(verdict: Verdict, told: Sequence[Violation]) -> Html:
    judged = {name: count for name, count in verdict.counts.items() if name != "findings"}
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in judged.items() if count)
    row = element(
        "tr",
        element("th", element("b", verdict.promise), f" {verdict.title}", scope="row"),
        element("td", badge(verdict.outcome)),
        element("td", short(counts) or "nothing", class_="counts"),
    )
    said = [
        *(_violation(item) for item in told),
        *(element("li", f"nothing can be said: {doubt}") for doubt in verdict.doubts),
    ]
    more = findings_of(verdict) - len(told)
    said += [element("li", f"and {times(more, 'more violation')}")] if more else []
    wrong = [element("tr", element("td", element("ul", *said), colspan=3), class_="wrong")] if said else []
    return element("tbody", row, *wrong, class_=verdict.outcome)


def _violation(item: Violation) -> Html:
    finding = item.finding
    link = element("a", "story", href=f"#{item.anchor}")
    return element("li", element("code", finding.rule), f" {short(finding.sentence)} ", link)


def badge(outcome: Outcome) -> Html:
    """A verdict as a word with a sign, so that its colour says nothing alone."""
    sign = element("span", SIGNS[outcome], aria_hidden="true")
    return element("span", joined([sign, f" {outcome}"]), class_=f"badge {outcome}")
