"""The header of a history: what ran, under which terms, and within which bounds its promises are judged."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

T = TypeVar("T")
FORMAT = 1
NS_PER_MS = 1_000_000
Durability = int | Literal["none"]


class HistoryError(ValueError):
    """What was read is no history; the message says where."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of a run that its promises depend on; see `edgescale.config`.

    Attributes:
        caps, slots, weights: by lane; slots are those of one worker, and weights those of its lanes.
        slots_max: of one worker over all its lanes; 0 for as many as they have together.
        upload_bytes_held_max: memory that one upload may hold; 0 for not judged.
        durability: what the run's faults may lose of what was acknowledged: "none", or the last so many milliseconds.
            A wipe on purpose is not meant here.
    """

    lease_ms: int = 30_000
    sweep_ms: int = 1_000
    block_ms: int = 1_000
    attempts_max: int = 5
    result_ttl_ms: int = 86_400_000
    drain_grace_ms: int = 20_000
    partitions: int = 1
    caps: Mapping[str, int] = field(default_factory=dict, hash=False)
    slots: Mapping[str, int] = field(default_factory=dict, hash=False)
    weights: Mapping[str, int] = field(default_factory=dict, hash=False)
    slots_max: int = 0
    upload_bytes_held_max: int = 0
    durability: Durability = "none"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long things may take while nothing disturbs them.

    Attributes:
        answer_ms: from a stored result to those who wait for it.
        reclaim_ms: of taking an entry over, beyond lease and sweep.
        recovery_ms: from the end of a disturbance to normal service.
        stop_ms: of a drain, beyond the grace.
        reply_ms: after which a reply of Redis is no longer waited for.
        cancel_ms: from a cancellation to the end of the task's handler.
    """

    answer_ms: int = 5_000
    reclaim_ms: int = 1_000
    recovery_ms: int = 5_000
    stop_ms: int = 5_000
    reply_ms: int = 2_000
    cancel_ms: int = 2_000


@dataclass(frozen=True, slots=True)
class Header:
    """What a run was.

    Attributes:
        seed: of the plan.
        plan: the plan's digest.
        commit: of the code that ran.
        versions: of what ran beside it, by name.
        terms: the settings that count.
        bounds: how long things may take.
    """

    seed: int = 0
    plan: str = ""
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    terms: Terms = field(default_factory=Terms)
    bounds: Bounds = field(default_factory=Bounds)

    def record(self) -> dict[str, Any]:
        """As JSON can take it; `parse` reads it."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def parse(cls, raw: object) -> "Header":
        """Read a record.

        Raises:
            HistoryError: another format, an unknown name, or a value of another type.
        """
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise HistoryError(f"the first line is no header of format {FORMAT}")
        plain = {name: value for name, value in raw.items() if name not in {"format", "terms", "bounds"}}
        terms = _checked(Terms, raw.get("terms", {}))
        return _checked(cls, plain, terms=terms, bounds=_checked(Bounds, raw.get("bounds", {})))


def _checked(kind: type[T], raw: object, **parsed: object) -> T:
    """A dataclass made from a record; what is left out has its default."""
    if not isinstance(raw, dict):
        raise HistoryError(f"{kind.__name__} must be an object")
    types = {item.name: item.type for item in dataclasses.fields(kind)}  # type: ignore[arg-type] # all are dataclasses
    for name, value in raw.items():
        if name not in types:
            raise HistoryError(f"{kind.__name__} has no {name!r}")
        if not _fits(value, types[name]):
            raise HistoryError(f"{kind.__name__}.{name} cannot be {value!r}")
    return kind(**raw, **parsed)


def _fits(value: object, kind: Any) -> bool:
    """Whether the value may stand where the dataclass says `kind`."""
    if kind == Durability:
        literals = get_args(get_args(kind)[1])
        return _fits(value, int) or value in literals
    if kind in {Mapping[str, int], Mapping[str, str]}:
        inner = get_args(kind)[1]
        return isinstance(value, dict) and all(_fits(item, inner) for item in value.values())
    return isinstance(value, kind) and not isinstance(value, bool)
