"""What several parts of the page are made of."""

from collections.abc import Iterable, Sequence

from edgescale.harness.report.markup import Html, element

# Heads of columns that are set to the right.
NUMBERS = dict.fromkeys(("normal after", "from", "lasted", "after"), "number")


def table(head: Sequence[str], rows: Iterable[Html], *, class_: str, label: str) -> Html:
    """A table in a box that scrolls by itself.

    Args:
        head: of the columns.
        rows: as `tr`, each with its head first.
        class_: of the style sheet.
        label: says what it is to those who cannot see what stands around it.
    """
    heads = element("tr", *(element("th", name, scope="col", class_=NUMBERS.get(name)) for name in head))
    whole = element("table", element("thead", heads), element("tbody", *rows), class_=class_)
    return scrolling(whole, label=label)


def scrolling(contents: Html, *, label: str) -> Html:
    """A box that scrolls sideways by itself, with the keyboard, too."""
    return element("div", contents, class_="scroll", tabindex=0, role="region", aria_label=label)


def note(text: str) -> Html:
    """A sentence beside the point."""
    return element("p", text, class_="note")


def legend_of(keys: Iterable[tuple[str, str]]) -> Html:
    """Classes of the style sheet, and what they stand for."""
    return element(
        "ul", *(element("li", element("i", class_=f"key {key}"), text) for key, text in keys), class_="legend"
    )
