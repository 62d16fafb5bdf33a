"""The recorder: takes down what everybody in a run sees, in the vocabulary of `edgescale.harness.history`."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.harness.event import Event, Phase, Scalar

if TYPE_CHECKING:
    from edgescale.broker.model import Entry


class Recorder:
    """The events of one run, in the order they happened.

    Args:
        now_ns: nanoseconds since the run began, by a clock that all its participants share.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.events: list[Event] = []
        # Request ids whose terminal state Redis has stored, and how often services heard that an id was queued.
        self.stored: set[str] = set()
        self.queued: Counter[str] = Counter()
        # In which entry a consumer was given a task last, by consumer and request id.
        self.given: dict[tuple[str, str], str] = {}
        self._now_ns = now_ns
        self._calls = 0

    def note(
        self,
        actor: str,
        operation: str,
        phase: Phase = "ok",
        *,
        call: int | None = None,
        request_id: str = "",
        **fields: Scalar,
    ) -> None:
        """Write an event down."""
        self.write(actor, operation, phase, call, request_id, fields)

    def write(
        self,
        actor: str,
        operation: str,
        phase: Phase,
        call: int | None,
        request_id: str,
        fields: Mapping[str, Scalar],
    ) -> None:
        """Write an event down whose fields are in a mapping."""
        event = Event(len(self.events), self._now_ns(), actor, operation, phase, call, request_id, fields)
        self.events.append(event)

    def note_at(self, time_ns: int, actor: str, operation: str, request_id: str, **fields: Scalar) -> None:
        """Write down what is known only now to have happened then."""
        self.events.append(Event(len(self.events), time_ns, actor, operation, "ok", None, request_id, fields))

    def mark(self, actor: str, name: str, request_id: str = "") -> None:
        """Write down evidence that only this actor can see; see `edgescale.harness.markers`."""
        self.note(actor, "marker", request_id=request_id, name=name)

    def new_call(self) -> int:
        """A number that links an invoke with its end."""
        self._calls += 1
        return self._calls


def result_digest(result: bytes) -> str | None:
    """The digest of an encoded TaskResult; None for none."""
    return hashlib.blake2b(result, digest_size=8).hexdigest() if result else None


def request_id_of(entry: "Entry") -> str:
    """The entry's request id, or the name that an entry without one goes by."""
    named = entry.fields.get(REQUEST_ID_FIELD, b"").decode(errors="replace")
    return named or f"entry-{entry.entry_id}"
