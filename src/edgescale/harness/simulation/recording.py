"""Recording: services that write down what they see, in the vocabulary of `edgescale.harness.history`."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.model import Entry, GiveBack, Receipt, Settlement, SettleStatus, Submission
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.errors import EdgeScaleError
from edgescale.handlers.base import Completed, Context, Handler, Outcome
from edgescale.harness.event import Event, Phase, Scalar
from edgescale.harness.simulation.loop import SimulationLoop


class Recorder:
    """The events of one run, in the order they happened.

    Args:
        loop: whose virtual time is written down.
    """

    def __init__(self, loop: SimulationLoop) -> None:
        self.events: list[Event] = []
        self._loop = loop
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
        event = Event(len(self.events), self._loop.now_ns, actor, operation, phase, call, request_id, fields)
        self.events.append(event)

    def new_call(self) -> int:
        """A number that links an invoke with its end."""
        self._calls += 1
        return self._calls


def result_digest(result: bytes) -> str | None:
    """The digest of an encoded TaskResult; None for none."""
    return hashlib.blake2b(result, digest_size=8).hexdigest() if result else None


def request_id_of(entry: Entry) -> str:
    """The entry's request id, or the name that an entry without one goes by."""
    named = entry.fields.get(REQUEST_ID_FIELD, b"").decode(errors="replace")
    return named or f"entry-{entry.entry_id}"


class RecordingBroker(Broker):
    """The broker, with every verb written down before and after."""

    recorder: Recorder
    actor: str

    async def submit(self, submission: Submission, *, inbox: str = "", patience_ms: float | None = None) -> Receipt:
        """As the broker's; writes `accept`."""
        receipt = await super().submit(submission, inbox=inbox, patience_ms=patience_ms)
        self.recorder.note(
            self.actor,
            "accept",
            request_id=submission.envelope.request_id,
            lane=submission.lane,
            entry=receipt.record.entry,
            new=receipt.accepted,
        )
        return receipt

    async def read(
        self, reader: Connection, partition: int, lane: str, consumer: str, *, count: int, block_ms: int = 0
    ) -> list[Entry]:
        """As the broker's; writes `deliver`."""
        entries = await super().read(reader, partition, lane, consumer, count=count, block_ms=block_ms)
        self._delivered(entries, consumer, "read")
        return entries

    async def reclaim(
        self, partition: int, lane: str, consumer: str, *, cursor: str, count: int
    ) -> tuple[str, list[Entry]]:
        """As the broker's; writes `deliver`."""
        following, entries = await super().reclaim(partition, lane, consumer, cursor=cursor, count=count)
        self._delivered(entries, consumer, "reclaim")
        return following, entries

    def _delivered(self, entries: Sequence[Entry], consumer: str, how: str) -> None:
        for entry in entries:
            self.recorder.note(
                self.actor,
                "deliver",
                request_id=request_id_of(entry),
                lane=entry.lane,
                entry=entry.entry_id,
                attempt=entry.deliveries,
                consumer=consumer,
                how=how,
            )

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        """As the broker's; writes `settle`."""
        fields: dict[str, Scalar] = {
            "entry": settlement.entry.entry_id,
            "consumer": consumer,
            "state": settlement.state,
            "result_digest": result_digest(settlement.result),
            "reason": settlement.reason,
        }
        call = self.recorder.new_call()
        self._note("settle", "invoke", call, settlement.request_id, fields)
        try:
            status = await super().settle(consumer, settlement)
        except EdgeScaleError:
            self._note("settle", "info", call, settlement.request_id, {})
            raise
        self._note("settle", "ok", call, settlement.request_id, fields | {"status": status})
        return status

    async def renew(self, consumer: str, entry: Entry) -> bool:
        """As the broker's; writes `renew`."""
        fields: dict[str, Scalar] = {"entry": entry.entry_id, "consumer": consumer}
        return await self._recorded("renew", request_id_of(entry), fields, super().renew(consumer, entry))

    async def give_back(self, consumer: str, handed: GiveBack) -> bool:
        """As the broker's; writes `give_back`."""
        fields: dict[str, Scalar] = {
            "entry": handed.entry.entry_id,
            "consumer": consumer,
            "deliveries": handed.deliveries,
            "idle_ms": handed.idle_ms,
        }
        return await self._recorded("give_back", handed.request_id, fields, super().give_back(consumer, handed))

    async def _recorded(self, operation: str, request_id: str, fields: dict[str, Scalar], verb: Any) -> bool:
        call = self.recorder.new_call()
        self._note(operation, "invoke", call, request_id, fields)
        try:
            done: bool = await verb
        except EdgeScaleError:
            self._note(operation, "info", call, request_id, {})
            raise
        self._note(operation, "ok" if done else "fail", call, request_id, {})
        return done

    def _note(self, operation: str, phase: Phase, call: int, request_id: str, fields: dict[str, Scalar]) -> None:
        self.recorder.write(self.actor, operation, phase, call, request_id, fields)


class RecordingHandler:
    """A handler whose attempts and effects are written down.

    Args:
        inner: does the work.
        recorder: takes the events.
        actor: of the worker.
        consumer: of the worker.
    """

    def __init__(self, inner: Handler, recorder: Recorder, *, actor: str, consumer: str) -> None:
        self._inner = inner
        self._recorder = recorder
        self._actor = actor
        self._consumer = consumer
        self.kind = inner.kind
        self.lane = inner.lane

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """As the inner handler's; writes `handle` and `effect`."""
        call = self._recorder.new_call()
        fields: dict[str, Scalar] = {"attempt": context.attempt, "consumer": self._consumer}
        self._write("handle", "invoke", call, context, fields)
        try:
            outcome = await self._inner.handle(payload, context)
        except BaseException as error:
            self._write("handle", "fail", call, context, fields | {"reason": type(error).__name__})
            raise
        if isinstance(outcome, Completed):
            self._write("effect", "ok", None, context, fields)
        self._write("handle", "ok", call, context, fields)
        return outcome

    def _write(
        self, operation: str, phase: Phase, call: int | None, context: Context, fields: Mapping[str, Scalar]
    ) -> None:
        self._recorder.write(self._actor, operation, phase, call, context.request_id, fields)
