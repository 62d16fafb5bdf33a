"""Markup that nothing that is put into it can break: whatever is not markup already is escaped."""

from collections.abc import Iterable, Iterator
from html import escape
from typing import TypeVar

T = TypeVar("T")
# Elements that have no end tag. Source: HTML Living Standard, section 13.1.2.
VOID = frozenset({"link", "meta"})
SPACES = "\n\u00a0"
TEXT_MAX = 400
Attribute = str | int | float | bool | None


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Attribute) -> Html:
    """One element.

    Args:
        tag: its name.
        children: markup as it is; any other text is escaped.
        attributes: an underscore stands for a hyphen, and one at the end for nothing; None is left out, True has no
            value.
    """
    opened = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    return Html(opened) if tag in VOID else Html(f"{opened}{joined(children)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Pieces of markup and of other text, one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(visible(part)) for part in parts))


def visible(text: str) -> str:
    """The text with what cannot be seen told by its number: controls, lone surrogates, turns of direction."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in SPACES else f"\\u{ord(letter):04x}" for letter in text)


def short(text: str, characters_max: int = TEXT_MAX) -> str:
    """The text, cut where it is too long for a page."""
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"


def number(value: float) -> str:
    """A coordinate, in as few digits as can be seen."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def percent(value: float) -> str:
    """A share, for coordinates."""
    return f"{number(100 * value)}%"


def first(items: Iterable[T], count: int) -> Iterator[T]:
    """The first few."""
    return (item for item, _ in zip(items, range(count), strict=False))


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    told = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {told}"
    return f' {told}="{escape(visible(value if isinstance(value, str) else number(value)))}"'
