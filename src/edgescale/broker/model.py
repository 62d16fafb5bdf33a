"""What goes to the broker and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgescale.broker.connection import flat_dict
from edgescale.envelope import ORDERING_KEY_FIELD, Envelope
from edgescale.errors import Conflict, InternalError, LaneFull

TerminalState = Literal["succeeded", "failed", "dead_lettered", "expired", "cancelled"]
State = Literal["queued", "running"] | TerminalState
TERMINAL_STATES = frozenset({"succeeded", "failed", "dead_lettered", "expired", "cancelled"})
SettleStatus = Literal["settled", "superseded", "lost"]


def entry_ms(entry_id: str) -> int:
    """When an entry was added, in milliseconds since 1970 by the broker's clock."""
    return int(entry_id.partition("-")[0])


def accepted_ms(entry_id: str, fields: Mapping[bytes, bytes]) -> int:
    """When an entry's task was accepted, by the same clock: a field tells, where the entry had to wait for its turn."""
    told = fields.get(b"accepted_ms", b"")
    return int(told) if told.isdigit() else entry_ms(entry_id)


@dataclass(frozen=True, slots=True)
class Submission:
    """A task to be accepted.

    Attributes:
        envelope: what the worker will get.
        lane: whose stream it goes to.
        digest: the same for the same content; tells a repeated request from a conflicting one.
    """

    envelope: Envelope
    lane: str
    digest: str

    def record(self, entry_id: str, *, waits: bool = False) -> "TaskRecord":
        """The task's record when its entry has just been added; to the stream, unless it waits for its turn."""
        return TaskRecord(
            request_id=self.envelope.request_id,
            state="queued",
            kind=self.envelope.kind,
            lane=self.lane,
            digest=self.digest,
            file_id=self.envelope.file_id,
            entry="" if waits else entry_id,
            accepted_ms=entry_ms(entry_id),
            ordering_key=self.envelope.ordering_key,
        )


@dataclass(frozen=True, slots=True)
class Burial:
    """How a task had ended that was put back from the dead letters.

    Attributes:
        buried_ms: when, by the broker's clock, since 1970.
        attempts: deliveries until then, since it was accepted or last put back.
        reason, message: of the last attempt.
    """

    buried_ms: int
    attempts: int
    reason: str
    message: str

    @classmethod
    def parse(cls, fields: Mapping[bytes, bytes]) -> "Burial":
        """Read the fields of an open task's hash."""
        return cls(
            buried_ms=int(fields[b"buried_ms"]),
            attempts=int(fields.get(b"buried_attempts", 0)),
            reason=fields.get(b"buried_reason", b"").decode(errors="replace"),
            message=fields.get(b"buried_message", b"").decode(errors="replace"),
        )


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is stored of a task.

    Attributes:
        result: encoded `TaskResult` when the state is succeeded, else empty.
        reason, message: why it did not succeed; of the last failed attempt while the task is open.
        entry: id of the entry in its stream while the task is open, unless it had to wait for its turn; else empty.
        accepted_ms, settled_ms: by the broker's clock, since 1970; 0 when unknown.
        attempts: deliveries so far, when the task is settled or running; else 0.
        replays: how often it was put back from the dead letters.
        ordering_key: of the tasks that are done one after the other; empty for none.
        buried: what the letter told that it was last put back from, while the task is open again; else None.
    """

    request_id: str
    state: State
    kind: str = ""
    lane: str = ""
    digest: str = ""
    file_id: str = ""
    entry: str = ""
    attempts: int = 0
    accepted_ms: int = 0
    settled_ms: int = 0
    result: bytes = b""
    reason: str = ""
    message: str = ""
    replays: int = 0
    ordering_key: str = ""
    buried: "Burial | None" = None

    @property
    def terminal(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL_STATES

    @classmethod
    def parse(cls, request_id: str, flat: Sequence[bytes]) -> "TaskRecord":
        """Read HGETALL's flat reply, which is not empty.

        Raises:
            InternalError: the hash is not one of ours, or somebody damaged it.
        """
        fields = flat_dict(flat)
        try:
            return cls(
                request_id=request_id,
                state=fields[b"state"].decode(),  # type: ignore[arg-type]
                kind=fields.get(b"kind", b"").decode(),
                lane=fields.get(b"lane", b"").decode(),
                digest=fields.get(b"digest", b"").decode(),
                file_id=fields.get(b"file_id", b"").decode(),
                entry=fields.get(b"entry", b"").decode(),
                attempts=int(fields.get(b"attempts", 0)),
                accepted_ms=int(fields.get(b"accepted_ms", 0)),
                settled_ms=int(fields.get(b"settled_ms", 0)),
                result=fields.get(b"result", b""),
                reason=fields.get(b"reason", b"").decode(),
                message=fields.get(b"message", b"").decode(errors="replace"),
                replays=int(fields.get(b"replays", 0)),
                ordering_key=fields.get(ORDERING_KEY_FIELD, b"").decode(),
                buried=Burial.parse(fields) if b"buried_ms" in fields else None,
            )
        except (KeyError, ValueError) as error:
            raise InternalError from error


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submission.

    Attributes:
        accepted: True when the entry is new in its stream, False when the request id was known.
        record: of the task, as it stands after the call.
    """

    accepted: bool
    record: TaskRecord

    @classmethod
    def parse(cls, submission: Submission, reply: Sequence[Any], *, cap: int) -> "Receipt":
        """What submit.lua answered to one submission.

        Raises:
            Conflict: the request id is taken by other content.
            LaneFull: the lane is at its cap.
        """
        request_id = submission.envelope.request_id
        match reply[0]:
            case b"accepted":
                return cls(accepted=True, record=submission.record(reply[1].decode(), waits=bool(reply[2])))
            case b"known":
                return cls(accepted=False, record=TaskRecord.parse(request_id, reply[1]))
            case b"full":
                raise LaneFull(submission.lane, cap=cap)
            case _:
                raise Conflict(f"request id {request_id!r} is taken by a request with other content")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was delivered.

    Attributes:
        partition, lane: name the stream.
        entry_id: `<milliseconds>-<sequence>`, by the broker's clock.
        deliveries: how often it was delivered, this time included.
        fields: as they stand in the stream.
    """

    partition: int
    lane: str
    entry_id: str
    deliveries: int
    fields: Mapping[bytes, bytes]

    @property
    def accepted_ms(self) -> int:
        """When the task was accepted, in milliseconds since 1970."""
        return accepted_ms(self.entry_id, self.fields)

    @property
    def ordering_key(self) -> str:
        """Of its task, empty for none; it is there even where the envelope does not decode."""
        return self.fields.get(ORDERING_KEY_FIELD, b"").decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a delivery ended for good.

    Attributes:
        entry: the delivery.
        request_id: whose record gets the outcome.
        kind: stands in the record.
        state: the terminal state.
        result: encoded `TaskResult` for succeeded, else empty.
        reason, message: for any other state.
    """

    entry: Entry
    request_id: str
    kind: str
    state: TerminalState
    result: bytes = b""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A delivery that is handed back.

    Attributes:
        entry: the delivery.
        request_id: whose record gets reason and message.
        delay_ms: after which it can be claimed.
        deliveries: the count it goes back with; one less than its own when this delivery should not count.
        reason, message: of a failed attempt, else empty.
    """

    entry: Entry
    request_id: str
    delay_ms: int
    deliveries: int
    reason: str = ""
    message: str = ""
