"""Services that write down what they see; everything else about them is real."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection, Subscription
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Entry, GiveBack, Receipt, Settlement, SettleStatus, Submission, TaskRecord
from edgescale.broker.unheard import Unheard
from edgescale.broker.waiting import OpenRequest, Wait
from edgescale.errors import EdgeScaleError
from edgescale.handlers.base import Completed, Context, Handler, Outcome
from edgescale.harness.event import Phase, Scalar
from edgescale.harness.recording.recorder import Recorder, request_id_of, result_digest


class RecordingBroker(Broker):
    """The broker, with every verb written down before and after."""

    def __init__(self, recorder: Recorder, actor: str, *collaborators: Any) -> None:
        super().__init__(*collaborators)
        self.recorder = recorder
        self.actor = actor
        self.unheard = RecordingUnheard(self, self._connection, self._keys)

    async def submit(self, submission: Submission, *, inbox: str = "", patience_ms: float | None = None) -> Receipt:
        """As the broker's; writes `accept`."""
        receipt = await super().submit(submission, inbox=inbox, patience_ms=patience_ms)
        self.recorder.queued[submission.envelope.request_id] += receipt.accepted
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
        self.delivered(entries, consumer, "read")
        return entries

    async def reclaim(
        self, partition: int, lane: str, consumer: str, *, cursor: str, count: int
    ) -> tuple[str, list[Entry]]:
        """As the broker's; writes `deliver`."""
        following, entries = await super().reclaim(partition, lane, consumer, cursor=cursor, count=count)
        self.delivered(entries, consumer, "reclaim")
        return following, entries

    def delivered(self, entries: Sequence[Entry], consumer: str, how: str) -> None:
        """Write `deliver` for each."""
        for entry in entries:
            self.recorder.given[consumer, request_id_of(entry)] = entry.entry_id
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

    async def ensure_group(self, partition: int, lane: str) -> bool:
        """As the broker's; marks a group that was made."""
        made = await super().ensure_group(partition, lane)
        if made:
            self.recorder.mark(self.actor, "group_made")
        return made

    async def _flush_settles(self, partition: int, items: Sequence[tuple[str, Settlement]]) -> Any:
        stored = set(self.recorder.stored)
        replies = await super()._flush_settles(partition, items)
        for (_, settlement), reply in zip(items, replies, strict=True):
            # Its first reply was lost: it settles what it settled.
            if reply == b"settled" and settlement.request_id in stored:
                self.recorder.mark(self.actor, "settle_repeated", settlement.request_id)
        return replies

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        """As the broker's; writes `settle`."""
        fields: dict[str, Scalar] = {
            "entry": settlement.entry.entry_id,
            "attempt": settlement.entry.deliveries,
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
        fields: dict[str, Scalar] = {"entry": entry.entry_id, "attempt": entry.deliveries, "consumer": consumer}
        return await self._recorded("renew", request_id_of(entry), fields, super().renew(consumer, entry))

    async def give_back(self, consumer: str, handed: GiveBack) -> bool:
        """As the broker's; writes `give_back`."""
        fields: dict[str, Scalar] = {
            "entry": handed.entry.entry_id,
            "attempt": handed.entry.deliveries,
            "consumer": consumer,
            "deliveries": handed.deliveries,
            "delay_ms": handed.delay_ms,
            "reason": handed.reason,
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


class RecordingUnheard(Unheard):
    """What was unheard of, written down."""

    def __init__(self, broker: RecordingBroker, *collaborators: Any) -> None:
        super().__init__(*collaborators)
        self._broker = broker

    async def find(self, partition: int, lane: str, consumer: str, *, after: str, count: int) -> list[Entry]:
        """As its base's; writes `deliver`."""
        entries = await super().find(partition, lane, consumer, after=after, count=count)
        self._broker.delivered(entries, consumer, "unheard")
        return entries


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
        entry = self._recorder.given.get((self._consumer, context.request_id), "")
        fields: dict[str, Scalar] = {"entry": entry, "attempt": context.attempt, "consumer": self._consumer}
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


class RecordingInbox(Inbox):
    """The inbox, with what only it can see marked down."""

    def __init__(self, recorder: Recorder, actor: str, *collaborators: Any) -> None:
        super().__init__(*collaborators)
        self.recorder = recorder
        self.actor = actor
        self._lives: Counter[int] = Counter()
        # Open requests of which a message came.
        self._told: set[str] = set()

    async def _live(self, partition: int, subscription: Subscription) -> None:
        self._lives[partition] += 1
        if self._lives[partition] > 1 and self.open_requests:
            self.recorder.mark(self.actor, "resubscribed")
        await super()._live(partition, subscription)

    def _notified(self, request_id: str) -> None:
        if request_id in self._open:
            self._told.add(request_id)
        super()._notified(request_id)

    async def _consider(
        self, request_id: str, record: TaskRecord | BaseException | None, known: Collection[Wait]
    ) -> None:
        waited_for = request_id in self._open
        if waited_for and isinstance(record, TaskRecord) and record.terminal and request_id not in self._told:
            self.recorder.mark(self.actor, "answered_by_reread", request_id)
        await super()._consider(request_id, record, known)

    async def _restore(self, request: OpenRequest) -> None:
        before = self.recorder.queued[request.request_id]
        await super()._restore(request)
        if self.recorder.queued[request.request_id] > before:
            self.recorder.mark(self.actor, "resubmitted", request.request_id)
