"""What every toxic is: a value that says what is wrong with its fields, if anything is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from edgescale.errors import ConfigError

Direction = Literal["upstream", "downstream"]
"""upstream is what goes to the server, downstream what comes from it."""
ANY = "any"
# What is wrong with a value, and what would be right; empty when nothing is.
Rule = Callable[[Any], str]


def at_least(low: int) -> Rule:
    """A whole number that is not lower."""
    problem = f"must be a whole number, at least {low}"
    return lambda value: "" if type(value) is int and value >= low else problem


def one_way(value: object) -> str:
    """A direction."""
    return "" if value in ("upstream", "downstream") else "must be 'upstream' (to the server) or 'downstream' (from it)"


def a_share(value: object) -> str:
    """A part of a whole."""
    fits = isinstance(value, int | float) and 0 < value <= 1
    return "" if fits else "must be a number above 0, and at most 1 for all of them"


def a_command(value: object) -> str:
    """What requests are aimed at."""
    if value == ANY or value in scripts() or (isinstance(value, str) and value.isupper()):
        return ""
    return f"must be a command of Redis in capitals, 'any', or a script, one of {', '.join(scripts())}"


def some_bytes(value: object) -> str:
    """Bytes, which may be none."""
    return "" if isinstance(value, bytes) else "must be bytes"


Natural = Annotated[int, at_least(0)]
Positive = Annotated[int, at_least(1)]


@cache
def scripts() -> tuple[str, ...]:
    """Names of the scripts that a toxic can be aimed at."""
    files = (path.name for path in (resources.files("edgescale.broker") / "scripts").iterdir())
    return tuple(sorted(name.removesuffix(".lua") for name in files if name.endswith(".lua") and name[0] != "_"))


def _rules(kind: type) -> list[tuple[str, Rule]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(name, rule) for name, hint in hints.items() for rule in getattr(hint, "__metadata__", ())]


@dataclass(frozen=True, slots=True)
class Toxic:
    """A fault that can be put on a link.

    Raises:
        ConfigError: a field is wrong; the message names it, and what would be right.
    """

    built_in_only: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Look at every field."""
        for name, rule in _rules(type(self)):
            if problem := rule(getattr(self, name)):
                raise ConfigError(f"{name}: {problem}, not {getattr(self, name)!r}")
        if problem := self.contradiction():
            raise ConfigError(problem)

    def contradiction(self) -> str:
        """What does not fit together; empty when all does."""
        return ""


@dataclass(frozen=True, slots=True)
class Directed(Toxic):
    """A fault of what goes one way; for both ways, put it on the link twice."""

    direction: Annotated[Direction, one_way] = field(default="downstream", kw_only=True)
