"""What tests of waiting share: an inbox's world, a worker's round, lookups that can be held back."""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import TaskRecord
from tests.support import Rig, settlement, submission

# So long that a result within a test's patience cannot be owed to the slow timer.
NEVER_MS = 3_600_000
OFTEN_MS = 100


class HeldBroker(Broker):
    """Sends lookups at once, and keeps their replies while the gate is closed."""

    def __init__(self, rig: Rig) -> None:
        super().__init__(rig.connection, rig.keys, rig.settings, rig.chance)
        self.rig = rig
        self.was_read = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def inbox(self) -> Inbox:
        return Inbox(self.rig.connection, self, self.rig.keys, self.rig.settings, self.rig.chance)

    async def lookup(self, request_id: str, *, inbox: str = "") -> TaskRecord | None:
        record = await super().lookup(request_id, inbox=inbox)
        self.was_read.set()
        await self.gate.wait()
        return record


async def settle_all(rig: Rig, *, consumer: str = "worker-1") -> None:
    """A worker's round: take what is queued, settle it."""
    for entry in await rig.take(1_000, consumer=consumer):
        await rig.broker.settle(consumer, settlement(entry))


async def wait_for_accepted(rig: Rig, inbox: Inbox, request_id: str, timeout_s: float = 5) -> TaskRecord | None:
    """What a service does with a request."""
    given = submission(request_id)
    with inbox.expect(request_id) as wait:
        await rig.broker.submit(given, inbox=inbox.name)
        wait.accepted(given)
        return await wait.result(timeout_s)


async def backlog_is(rig: Rig, expected: int) -> bool:
    return await rig.backlog() == expected


async def kill_subscriptions(rig: Rig) -> None:
    await rig.connection.command("CLIENT", "KILL", "TYPE", "pubsub")


async def publish(rig: Rig, inbox: Inbox, message: str | bytes) -> None:
    await rig.connection.command("SPUBLISH", rig.keys.channel(0, inbox.name), message)


def succeeded(record: TaskRecord | None) -> bool:
    return record is not None and record.state == "succeeded" and record.result == b"result"


async def called_more_than(rig: Rig, calls: int) -> bool:
    return await rig.calls("evalsha") > calls


async def subscriptions(rig: Rig) -> int:
    return len((await rig.connection.command("CLIENT", "LIST", "TYPE", "pubsub")).splitlines())
