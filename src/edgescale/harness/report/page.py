"""The page: all its parts, in the order in which a reader asks for them."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from edgescale.harness.checkers import Verdict
from edgescale.harness.history import History
from edgescale.harness.report import tables
from edgescale.harness.report.about import About
from edgescale.harness.report.disturbances import disturbances
from edgescale.harness.report.fates import slowest
from edgescale.harness.report.head import grid, headline, outcome_of
from edgescale.harness.report.lanes import lanes
from edgescale.harness.report.lanes_drawn import drawn as drawn_lanes
from edgescale.harness.report.markup import Html, element, joined, short
from edgescale.harness.report.parts import note
from edgescale.harness.report.plots import drawn
from edgescale.harness.report.plots import tables as tables_of_plots
from edgescale.harness.report.plotted import left_out, plots
from edgescale.harness.report.series import buckets, taken_ns
from edgescale.harness.report.stories import Violation, story, violations
from edgescale.harness.report.units import duration

FOLDER = Path(__file__).parent
# Title and contents of a part of the page, by its anchor.
Part = tuple[str, str, Html]


def page(history: History, verdicts: Sequence[Verdict], markers: Mapping[str, int], about: About) -> str:
    """The whole page, as UTF-8 will take it: it needs nothing beside itself, and asks for nothing.

    Args:
        history: of the run.
        verdicts: of the checkers on it, P1 first.
        markers: how often each was hit, by name.
        about: what the history does not tell.
    """
    told = violations(verdicts)
    parts = list(_parts(history, verdicts, told, markers))
    return document(
        f"{outcome_of(verdicts, about)}: {short(about.title)}",
        headline(history, verdicts, about),
        element(
            "nav", *(element("a", title, href=f"#{anchor}") for anchor, title, _ in parts), aria_label="On this page"
        ),
        element("main", *(_section(part) for part in parts)),
        element("script", Html(_asset("page.js"))),
    )


def document(title: str, *body: Html) -> str:
    """A page that needs nothing beside itself."""
    return f"<!DOCTYPE html>\n{element('html', _head(title), element('body', *body), lang='en')}\n"


def _parts(
    history: History, verdicts: Sequence[Verdict], told: Sequence[Violation], markers: Mapping[str, int]
) -> Iterator[Part]:
    """What is broken comes before how it went; where nothing is, how it went comes first."""
    if verdicts:
        yield "verdicts", "Verdicts", grid(verdicts, told)
    if told:
        yield "counterexample", "Counterexample", _counterexample(history, told[0])
        yield "stories", "Stories", joined(story(history, item) for item in told)
    if history.events:
        yield "time", "Over time", _over_time(history)
        yield "recovery", "Recovery", tables.recovery(history)
        if not told:
            yield "slowest", "The slowest request", _slowest(history)
        yield "requests", "Requests", tables.fates(history, verdicts)
        yield "markers", "Markers", tables.markers(markers)


def _section(part: Part) -> Html:
    anchor, title, contents = part
    return element("section", element("h2", title), contents, id=anchor)


def _over_time(history: History) -> Html:
    split, made = history.view(buckets), plots(history)
    how = note(
        f"In steps of {duration(split.width_ns)}. Latencies are those of answers, by when the caller meant to call, on "
        "a logarithmic scale; what was to wait for its time is not among them. Rates count calls when they began and "
        "when they ended: failed are those that were told of a task that did, unclear those that ended without an "
        f"answer. A lane shows the highest of its samples. {left_out(history)}"
    )
    linked = {item.after.number for item in history.view(tables.worst)}
    return joined([how, drawn(made, history.view(disturbances), linked, split), tables_of_plots(made)])


def _counterexample(history: History, violation: Violation) -> Html:
    finding = violation.finding
    rule = element("b", f"{violation.verdict.promise} {finding.rule}", class_="bad")
    events = "The events that cannot stand together are ringed." if finding.indices else ""
    lead = element("p", rule, f" {short(finding.sentence)}. {events}")
    return joined([lead, drawn_lanes(lanes(history, finding.request_ids, finding.indices))])


def _slowest(history: History) -> Html:
    call = slowest(history)
    if call is None:
        return element("p", "Nobody was answered.")
    what = f"{call.start.actor} waited {duration(taken_ns(call) or 0)} for the answer to its {call.start.operation} of "
    lead = element("p", what, element("code", short(call.request_id)), ", longer than anybody else.")
    return joined([lead, drawn_lanes(lanes(history, [call.request_id]))])


def _head(title: str) -> Html:
    style, script = _asset("page.css"), _asset("page.js")
    # Should anything that is told here ever pass for markup, it may still not run, and nothing may be loaded.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{_hash(script)}'; base-uri 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )


def _hash(script: str) -> str:
    """As a policy names a script that it allows. Source: Content Security Policy Level 3, section 2.3.1."""
    return f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")
