"""Reading tables that people write: every field is looked at, and what is wrong is told with what would be right."""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar

from edgescale.errors import ConfigError

T = TypeVar("T")
# Given where a value stands and the value; raises ConfigError if it cannot stand there.
Check = Callable[[str, Any], None]


def wrong(where: str, problem: str, value: object) -> NoReturn:
    """Refuse a value.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{where}: must be {problem}, not {value!r}")


def known(where: str, name: object, names: Collection[str]) -> None:
    """See that a name is one of those that there are.

    Raises:
        ConfigError: it is not; says which one may be meant.
    """
    if isinstance(name, str) and name in names:
        return
    near = difflib.get_close_matches(name, names, n=1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
    raise ConfigError(f"{where}: there is no {name!r}; {hint}")


def text(where: str, value: object) -> None:
    """See that it is a string with something in it."""
    if not isinstance(value, str) or not value:
        wrong(where, "a text", value)


def flag(where: str, value: object) -> None:
    """See that it is true or false."""
    if not isinstance(value, bool):
        wrong(where, "true or false", value)


def table(where: str, value: object) -> None:
    """See that it is a table."""
    if not isinstance(value, dict):
        wrong(where, "a table", value)


def whole(low: int, high: int | None = None) -> Check:
    """A check for whole numbers between bounds, which belong to them; None for no upper bound."""
    problem = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"

    def check(where: str, value: object) -> None:
        # True is an int, too, for Python.
        if type(value) is not int or value < low or (high is not None and value > high):
            wrong(where, problem, value)

    return check


def number(problem: str, fits: Callable[[float], bool]) -> Check:
    """A check for numbers, whole or not; NaN fits nowhere if `fits` compares."""

    def check(where: str, value: object) -> None:
        if type(value) not in {int, float} or not fits(value):  # type: ignore[arg-type] # it is one of them
            wrong(where, problem, value)

    return check


def some_of(names: Collection[str], *, least: int = 0) -> Check:
    """A check for lists of names that there are."""

    def check(where: str, value: object) -> None:
        if not isinstance(value, list) or len(value) < least:
            wrong(where, f"a list of names{', at least one' if least else ''}, such as [{min(names)!r}]", value)
        for name in value:
            known(where, name, names)

    return check


def made(kind: type[T], raw: Mapping[str, Any], checks: Mapping[str, Check], where: str = "") -> T:
    """A dataclass, made of a table of which each field was looked at.

    Args:
        kind: of the dataclass.
        raw: the table.
        checks: of each field that may stand there.
        where: of the table in the file; "" for the file itself.

    Raises:
        ConfigError: a field is unknown, missing or wrong; says which, and what would be right.
    """
    shown, prefix = where or "the file", f"{where}." if where else ""
    for name in raw:
        known(shown, name, checks)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(kind)  # type: ignore[arg-type] # all are dataclasses
    for item in fields:
        bare = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if bare and item.name in checks and item.name not in raw:
            raise ConfigError(f"{shown} lacks {item.name}")
    for name, value in raw.items():
        checks[name](f"{prefix}{name}", value)
    return kind(**raw)
