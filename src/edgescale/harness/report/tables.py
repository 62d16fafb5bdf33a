"""What is told in tables: recovery times, requests that were lost, doubled or recovered, markers."""

from collections.abc import Collection, Mapping, Sequence

from edgescale.harness.checkers import Verdict
from edgescale.harness.history import NS_PER_MS, History
from edgescale.harness.markers import MARKERS
from edgescale.harness.report.disturbances import disturbances
from edgescale.harness.report.fates import DOUBLED, LOST, Recovered, Rules, found, recovered
from edgescale.harness.report.markup import Html, element, first, joined, percent, short
from edgescale.harness.report.parts import note, table
from edgescale.harness.report.recovery import Recovery, recoveries
from edgescale.harness.report.stories import findings_of, request_story
from edgescale.harness.report.units import duration, moment, times

ROWS_MAX, DISTURBANCES_MAX, BESIDE_MAX, ID_MAX, HOW_MAX = 25, 60, 6, 60, 4
STATES: Mapping[str, str] = {
    "never": "not before the run ended",
    "nobody asked": "nobody waited for a task any more",
    "not healed": "it did not end",
}


def recovery(history: History) -> Html:
    """How soon service was normal again after each disturbance."""
    measured = history.view(recoveries)
    if not measured:
        return element("p", "Nothing disturbed this run.")
    bound_ns = history.header.bounds.recovery_ms * NS_PER_MS
    scale_ns = max([bound_ns, *(item.took_ns or 0 for item in measured)])
    shown = history.view(worst)
    numbers = {item.after.number for item in shown}
    rows = (_recovery(item, bound_ns, scale_ns, numbers) for item in shown)
    hidden, beyond = len(measured) - len(shown), len(history.view(disturbances)) - len(measured)
    more = [note(f"{times(hidden, 'more disturbance')}, after none of which it took longer.")] if hidden else []
    more += [note(f"{times(beyond, 'later disturbance')} not measured.")] if beyond else []
    definition = (
        "From the end of a disturbance (healed, ready again, serving again; at once where data was lost) to the first "
        "moment at which somebody who waited for a task has been told, since then, how it ended, and no lane's last "
        "sample since then is above its highest one in the "
        f"{duration(bound_ns)} before the disturbance began. The line in each bar's box is at {duration(bound_ns)}, "
        "within which P8 wants every service to consume again in calm time."
    )
    head = ("", "what", "normal after", "", "from", "lasted", "others in force")
    return joined([note(definition), table(head, rows, class_="recoveries", label="Recovery times"), *more])


def worst(history: History) -> Sequence[Recovery]:
    """A view: those that took longest, in the order of their beginnings."""
    measured = history.view(recoveries)
    kept = sorted(measured, key=lambda item: (item.state == "normal", -(item.took_ns or 0)))[:DISTURBANCES_MAX]
    return sorted(kept, key=lambda item: item.after.number)


def _recovery(item: Recovery, bound_ns: int, scale_ns: int, linked: Collection[int]) -> Html:
    after = item.after
    lasted_ns = after.span.end_ns - after.span.start_ns
    bar: list[Html] = []
    if item.took_ns is not None:
        bar = [element("i", class_=f"took {after.group}", style=f"width:{percent(item.took_ns / scale_ns)}")]
    bound = element("i", class_="bound", style=f"left:{percent(bound_ns / scale_ns)}")
    beside = [
        element("a", str(number), href=f"#disturbance-{number}" if number in linked else None)
        for number in item.beside[:BESIDE_MAX]
    ]
    more = f" and {len(item.beside) - BESIDE_MAX} more" if len(item.beside) > BESIDE_MAX else ""
    return element(
        "tr",
        element("th", str(after.number), scope="row", id=f"disturbance-{after.number}"),
        element("td", short(after.label, ID_MAX)),
        element("td", STATES[item.state] if item.took_ns is None else duration(item.took_ns), class_="number"),
        element("td", element("div", *bar, bound, class_="took-box"), aria_hidden="true"),
        element("td", moment(after.span.start_ns), class_="number"),
        element("td", duration(lasted_ns) if lasted_ns else "a moment", class_="number"),
        element("td", joined([*_spaced(beside), more]), class_="quiet"),
    )


def _spaced(parts: Sequence[str]) -> Sequence[str]:
    return [piece for part in parts for piece in (part, " ")][:-1]


def fates(history: History, verdicts: Sequence[Verdict]) -> Html:
    """The requests that were lost, doubled, recovered."""
    return joined(
        [
            element("h3", "Lost"),
            _wrong(history, verdicts, LOST, "Requests that were lost", "Nothing was lost that had to be kept."),
            *_gone(verdicts),
            element("h3", "Doubled"),
            _wrong(
                history, verdicts, DOUBLED, "Requests that had two results", "Nobody saw two results of one request."
            ),
            element("h3", "Recovered"),
            _recovered(history.view(recovered), history),
        ]
    )


def _wrong(history: History, verdicts: Sequence[Verdict], rules: Rules, label: str, none: str) -> Html:
    """The requests of the findings of these rules."""
    findings = found(verdicts, rules)
    if not findings:
        return element("p", none)
    rows: dict[str, tuple[str, str]] = {}
    for verdict, finding in findings:
        for request_id in finding.request_ids:
            rows.setdefault(request_id, (f"{verdict.promise} {finding.rule}", finding.sentence))
    drawn = (
        _row(request_id, request_story(history, request_id, sentence), element("td", rule))
        for request_id, (rule, sentence) in first(rows.items(), ROWS_MAX)
    )
    unheard = sum(findings_of(verdict) - len(verdict.findings) for verdict in {id(v): v for v, _ in findings}.values())
    left = [times(len(rows) - ROWS_MAX, "more request")] if len(rows) > ROWS_MAX else []
    left += [f"{times(unheard, 'violation')} of the same promises beyond those that a checker keeps"] if unheard else []
    more = [note(f"Not shown: {'; '.join(left)}.")] if left else []
    return joined([table(("request", "what is wrong", "rule"), drawn, class_="fates", label=label), *more])


def _gone(verdicts: Sequence[Verdict]) -> Sequence[Html]:
    """What is not there any more, and need not be."""
    gone = sum(verdict.counts.get("gone_as_allowed", 0) for verdict in verdicts)
    return [note(f"{times(gone, 'task')} gone as the durability or the time of results allows.")] if gone else []


def _recovered(items: Sequence[Recovered], history: History) -> Html:
    if not items:
        return element(
            "p", "Nothing had to be taken over, and no caller was left in the dark about a task that was done."
        )
    drawn = (
        _row(
            item.request_id,
            request_story(history, item.request_id, _how(item.how)),
            element("td", item.state),
            element("td", "" if item.took_ns is None else duration(item.took_ns), class_="number"),
        )
        for item in first(items, ROWS_MAX)
    )
    left = len(items) - ROWS_MAX
    more = [note(f"{times(left, 'more request')} recovered, sooner than these.")] if left > 0 else []
    told = note(
        "Tasks that were done although their worker lost them, or their caller was told nothing certain. The time is "
        "from the first submission to the stored result."
    )
    head = ("request", "what went wrong", "ended", "after")
    return joined([told, table(head, drawn, class_="fates", label="Requests that were recovered"), *more])


def _how(sentences: Sequence[str]) -> str:
    more = [f"{times(len(sentences) - HOW_MAX, 'more step')}"] if len(sentences) > HOW_MAX else []
    return "; ".join([*sentences[:HOW_MAX], *more])


def _row(request_id: str, told: Html, *cells: Html) -> Html:
    name = element("th", element("code", short(request_id, ID_MAX)), scope="row")
    return element("tr", name, element("td", told), *cells)


def markers(counts: Mapping[str, int]) -> Html:
    """What rare things really happened, and which did not."""
    sentences = {marker.name: marker.sentence for marker in MARKERS}
    hit = [(name, count) for name, count in counts.items() if count]
    never = [name for name in sentences if not counts.get(name)]
    hits = (
        element("li", element("b", f"{count:,}"), element("span", sentences.get(name, name))) for name, count in hit
    )
    misses = (element("li", sentences[name]) for name in never)
    return joined(
        [
            element("ul", *hits, class_="markers") if hit else element("p", "None was hit."),
            element(
                "details", element("summary", f"{len(never)} never hit"), element("ul", *misses, class_="markers never")
            ),
        ]
    )
