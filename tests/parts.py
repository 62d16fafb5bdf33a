"""Services put together inside a test's own loop, with handlers that do what the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from edgescale.broker.broker import Broker
from edgescale.broker.clock import BrokerClock
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Entry, GiveBack, Settlement, SettleStatus, Submission, TaskRecord
from edgescale.compose import consumer_name
from edgescale.envelope import Envelope
from edgescale.handlers.base import Completed, Context, Outcome
from edgescale.handlers.policy import Policy
from edgescale.handlers.registry import Registry
from edgescale.v1 import task_pb2
from edgescale.worker.share import Share
from edgescale.worker.worker import Worker
from tests.support import LANE, Rig, open_rig, submission

Act = Callable[[bytes, Context], Awaitable[Outcome]]
# A lease that tests can wait for, and that a busy machine still renews in time: a renewal is due every 150 ms.
LEASE_MS = 600
SWEEP_MS = 40
BLOCK_MS = 50


async def turns(count: int = 10) -> None:
    """Let everything run that can run without waiting for anything outside this loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def done(value: str = "done") -> Completed:
    """A success whose result is this string, as JSON."""
    result = task_pb2.TaskResult()
    result.json.string_value = value
    return Completed(result.SerializeToString())


async def answer_with_attempt(payload: bytes, context: Context) -> Outcome:
    """A handler's function without any effect."""
    del payload
    return done(f"{context.request_id} by attempt {context.attempt}")


class Acting:
    """A handler that calls a function of the test."""

    def __init__(self, act: Act, kind: str = "text", lane: str = LANE) -> None:
        self.kind = kind
        self.lane = lane
        self.policy = Policy()
        self._act = act

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        return await self._act(payload, context)


class Deed:
    """A handler's function that counts, may be held up, and then answers with the request id and the attempt.

    Attributes:
        begun: contexts in the order in which the handler was called.
        ended: request ids in the order in which it answered.
        gate: it waits until this is set.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.begun: list[Context] = []
        self.ended: list[str] = []
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self, payload: bytes, context: Context) -> Outcome:
        self.begun.append(context)
        await self.gate.wait()
        self.ended.append(context.request_id)
        return await answer_with_attempt(payload, context)

    @property
    def running(self) -> int:
        return len(self.begun) - len(self.ended)


class RecordingBroker(Broker):
    """Takes outcomes without a server; `trouble` is raised instead, once."""

    def __init__(self) -> None:
        self.settled: list[Settlement] = []
        self.handed: list[GiveBack] = []
        self.trouble: Exception | None = None
        self.clocks = [BrokerClock()]

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        del consumer
        self._fail()
        self.settled.append(settlement)
        return "settled"

    async def give_back(self, consumer: str, handed: GiveBack) -> bool:
        del consumer
        self._fail()
        self.handed.append(handed)
        return True

    def _fail(self) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble


async def ask(rig: Rig, inbox: Inbox, given: Submission | str, timeout_s: float = 10.0) -> TaskRecord:
    """What a caller does: submit and wait for the answer, which must be the stored one."""
    given = submission(given) if isinstance(given, str) else given
    request_id = given.envelope.request_id
    with inbox.expect(request_id) as wait:
        receipt = await rig.broker.submit(given, inbox=inbox.name)
        if not receipt.record.terminal:
            wait.accepted(given)
            record = await wait.result(timeout_s)
            assert record is not None, f"no answer for {request_id} within {timeout_s} s"
            assert record == await rig.broker.lookup(request_id)
            return record
    return receipt.record


def said(record: TaskRecord) -> str:
    """The string that a handler of these tests answered."""
    return task_pb2.TaskResult.FromString(record.result).json.string_value


def entry_of(
    request_id: str = "r1", *, kind: str = "text", payload: bytes = b"hello", deliveries: int = 1, **times: int
) -> Entry:
    """An entry as a worker gets it; `times` are of its envelope."""
    envelope = Envelope(request_id, kind, payload, **times)  # type: ignore[arg-type] # numbers all of them
    fields = {b"request_id": request_id.encode(), b"envelope": envelope.encode()}
    return Entry(0, LANE, "1700000000000-0", deliveries, fields)


@asynccontextmanager
async def working(
    url: str, act: Act, *, slots: int = 4, broker: type[Broker] = Broker, kind: str = "text", **changes: Any
) -> AsyncIterator[Worker]:
    """A worker on the text lane, or the `worker_lanes` of `changes`, with connections of its own; drained at the end.

    Args:
        url: of the server.
        act: what its handler does.
        slots: of the lane.
        broker: the class of its broker; a subclass may meddle with calls.
        kind: of its handler.
        changes: of the settings, which have a short lease and a short grace.
    """
    short = {"lease_ms": LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": BLOCK_MS, "drain_grace_ms": 100}
    async with open_rig(url, **(short | changes)) as rig:
        lanes = changes.get("worker_lanes")
        worker = make_worker(rig, act, slots=slots, broker=broker, kind=kind, lanes=lanes)
        ready = asyncio.Event()
        running = asyncio.create_task(worker.run(on_ready=lambda _: ready.set()))
        try:
            await asyncio.wait_for(ready.wait(), 5)
            yield worker
        finally:
            worker.stop()
            await asyncio.wait_for(running, 10)


def make_worker(
    rig: Rig,
    act: Act,
    *,
    slots: int = 4,
    broker: type[Broker] = Broker,
    kind: str = "text",
    lanes: Mapping[str, int] | None = None,
) -> Worker:
    """A worker that does not run yet; on the text lane where nothing else is said."""
    lanes = lanes or {LANE: slots}
    weights = {lane: rig.settings.lane_weights.get(lane, 1) for lane in lanes}
    return Worker(
        rig.connection,
        rig.keys,
        broker(rig.connection, rig.keys, rig.settings, rig.chance),
        Registry([Acting(act, kind)]),
        rig.settings,
        rig.chance,
        consumer=consumer_name(rig.chance),
        lanes=lanes,
        share=Share(rig.settings.worker_slots_max or sum(lanes.values()), weights),
    )
