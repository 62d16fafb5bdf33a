"""One event of a history; `history` has the vocabulary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from edgescale.harness.header import HistoryError

Scalar = str | int | float | bool | None
Phase = Literal["invoke", "ok", "fail", "info"]
PHASES = frozenset(get_args(Phase))
OPTIONAL = frozenset({"call", "fields"})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that one participant saw.

    Attributes:
        index: its place in the history, from 0.
        time_ns: by the run's clock, virtual or monotonic.
        actor: who saw it, as `name` or `name#incarnation`.
        operation: a word of the vocabulary, or any other.
        phase: `invoke` begins a call; `ok`, `fail` (definitely not done) or `info` (unknown) ends it.
        call: links an invoke with its end; unique for the actor. None for what has no duration.
        request_id: may be empty.
        fields: as the vocabulary says, and any others.
    """

    index: int
    time_ns: int
    actor: str
    operation: str
    phase: Phase = "ok"
    call: int | None = None
    request_id: str = ""
    fields: Mapping[str, Scalar] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """The actor without its incarnation."""
        return self.actor.partition("#")[0]

    def text(self, key: str, default: str = "") -> str:
        """The field's text, the default when it is none."""
        value = self.fields.get(key)
        return value if isinstance(value, str) else default

    def number(self, key: str, default: int = 0) -> int:
        """The field's whole number, the default when it is none."""
        value = self.fields.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def flag(self, key: str) -> bool:
        """Whether the field is true."""
        return self.fields.get(key) is True

    def values(self) -> tuple[object, ...]:
        """All there is to it, in an order that does not depend on how it came about."""
        facts = (self.index, self.time_ns, self.actor, self.operation, self.phase, self.call, self.request_id)
        return (*facts, *sorted(self.fields.items()))

    def line(self) -> str:
        """As one line of JSON, without the line's end."""
        record = {item: getattr(self, item) for item in self.__slots__}
        return as_json(
            {item: value for item, value in record.items() if item not in OPTIONAL or value not in (None, {})}
        )

    @classmethod
    def parse(cls, raw: object) -> "Event":
        """Read what `line` wrote, decoded from JSON.

        Raises:
            HistoryError: a field is missing, unknown or of another type.
        """
        if not isinstance(raw, dict):
            raise HistoryError("not an object")
        try:
            event = cls(**raw)
        except TypeError as error:
            raise HistoryError("a field is missing or unknown") from error
        whole = {type(event.index), type(event.time_ns), type(0 if event.call is None else event.call)}
        texts = {type(text) for text in (event.actor, event.operation, event.phase, event.request_id)}
        if (whole, texts) != ({int}, {str}):
            raise HistoryError("a field is of another type")
        if event.phase not in PHASES:
            raise HistoryError(f"no phase {event.phase!r}")
        if not isinstance(event.fields, dict) or any(isinstance(value, dict | list) for value in event.fields.values()):
            raise HistoryError("fields must be a flat object")
        return event


def as_json(record: Mapping[str, Any]) -> str:
    """One line of JSON that is the same for equal records."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
