"""One page that leads to those of several runs: what each was about, and its verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgescale.harness.checkers import Outcome
from edgescale.harness.report.head import SIGNS
from edgescale.harness.report.markup import Html, element, short
from edgescale.harness.report.page import document
from edgescale.harness.report.parts import table

TITLE = "Runs on real parts"


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        link: to its page.
        name: of the run.
        title: what it was about.
        outcomes: by promise.
        wall_s: how long it took.
        good: whether it is what it should be.
        trouble: what is wrong with the run itself; "" for nothing.
    """

    link: str
    name: str
    title: str
    outcomes: Mapping[str, Outcome] = field(hash=False)
    wall_s: float
    good: bool
    trouble: str = ""


def index(headline: str, rows: Sequence[Row], *, good: bool) -> str:
    """The whole page.

    Args:
        headline: the one thing to know.
        rows: the runs, in their order.
        good: whether all is well.
    """
    outcome: Outcome = "valid" if good else "invalid"
    promises = list(dict.fromkeys(promise for row in rows for promise in row.outcomes))
    sign = element("span", SIGNS[outcome], class_="sign", aria_hidden="true")
    top = element(
        "header", element("p", TITLE, class_="kicker"), element("h1", sign, headline), class_=f"top {outcome}"
    )
    grid = table(
        ["run", "good", *promises, "took"], (_row(row, promises) for row in rows), class_="runs", label="All runs"
    )
    return document(f"{headline}: {TITLE}", top, element("main", element("section", grid)))


def _row(row: Row, promises: Sequence[str]) -> Html:
    trouble = [element("p", short(row.trouble), class_="note bad")] if row.trouble else []
    head = element(
        "th", element("a", row.name, href=row.link), element("p", row.title, class_="note"), *trouble, scope="row"
    )
    cells = [element("td", _sign(row.outcomes[name]) if name in row.outcomes else "") for name in promises]
    good = element("span", "yes" if row.good else "no", class_=f"badge {'valid' if row.good else 'invalid'}")
    return element("tr", head, element("td", good), *cells, element("td", f"{row.wall_s:.0f} s", class_="number"))


def _sign(outcome: Outcome) -> Html:
    """A verdict as a sign, for there are many of them; its word is for those who hear it, or point at it."""
    return element("span", SIGNS[outcome], class_=f"badge {outcome}", role="img", aria_label=outcome, title=outcome)
