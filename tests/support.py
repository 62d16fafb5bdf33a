"""What many tests need: waiting on conditions, tasks to submit and settle, and the services' view of one server."""

import asyncio
import inspect
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from edgescale.broker.agents import AgentRegistry
from edgescale.broker.broker import Broker
from edgescale.broker.cancel import Canceller
from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.fence import Fence
from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.model import Entry, Settlement, Submission, TerminalState
from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.envelope import Envelope, digest
from edgescale.v1 import heartbeat_pb2

LANE = "text"
# So many fit the clusters of the tests: one for each primary.
CLUSTER_PARTITIONS = 3
WITHOUT_KEY = {"CLIENT", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "INFO", "KEYS", "PING", "PUBSUB", "SCRIPT"}


async def eventually(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """The condition's value as soon as it is true; fails when that takes longer than `timeout_s`.

    The condition may be a coroutine function; what it raises counts as not true yet.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + timeout_s
    trouble: Exception | None = None
    while True:
        try:
            value = condition()
            value = await value if inspect.isawaitable(value) else value
            if value:
                return value
        except Exception as error:  # noqa: BLE001 - told at the end, should it never come true
            trouble = error
        if loop.time() > give_up:
            raise AssertionError(f"not within {timeout_s} s: {inspect.getsource(condition).strip()}") from trouble
        await asyncio.sleep(0.005)


class SeededChance:
    """A chance whose draws can be repeated."""

    def __init__(self, seed: int = 0, *, wall_ms: int = 1_700_000_000_000) -> None:
        self._random = random.Random(seed)
        self.now_ms = wall_ms

    def wall_ms(self) -> int:
        return self.now_ms

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def new_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


def submission(
    request_id: str = "r1", payload: bytes = b"hello", *, kind: str = "text", lane: str = LANE, file_id: str = ""
) -> Submission:
    """A task; the digest follows from kind and payload."""
    return Submission(Envelope(request_id, kind, payload, file_id=file_id), lane, digest(kind.encode(), payload))


def settlement(
    entry: Entry,
    request_id: str = "",
    *,
    state: TerminalState = "succeeded",
    result: bytes = b"",
    reason: str = "",
    message: str = "",
) -> Settlement:
    """An outcome of a delivery; a success has a result."""
    return Settlement(
        entry=entry,
        request_id=request_id or entry.fields[b"request_id"].decode(),
        kind="text",
        state=state,
        result=result or (b"result" if state == "succeeded" else b""),
        reason=reason,
        message=message,
    )


def beat(
    sequence: int, *, boot_id: str = "boot-1", agent_id: str = "a1", status: str = "ok", **metrics: float
) -> heartbeat_pb2.Heartbeat:
    """A heartbeat."""
    return heartbeat_pb2.Heartbeat(
        agent_id=agent_id, sequence=sequence, boot_id=boot_id, status=status, metrics=metrics
    )


class Operator(Connection):
    """In a cluster, commands of an operator, which have no key, go to all primaries; the replies are put together."""

    async def command(self, *args: str | bytes | int, at: str | None = None) -> Any:
        if at is not None or args[0] not in WITHOUT_KEY:
            return await super().command(*args, at=at)
        replies = await self.everywhere(*args)
        if isinstance(replies[0], bytes) and args[0] in {"INFO", "CLIENT"}:
            return b"\n".join(replies)
        return sum(replies[1:], replies[0]) if isinstance(replies[0], int | list) else replies[0]


class Rig:
    """One process's view of a server or a cluster, put together as the services do it.

    Attributes:
        cluster_partitions: how many there are in a cluster, where nobody says.
    """

    cluster_partitions = CLUSTER_PARTITIONS

    def __init__(self, url: str, **changes: Any) -> None:
        clustered = url.startswith("redis+cluster")
        partitions = self.cluster_partitions if clustered else 1
        usual: dict[str, Any] = {"redis_url": url, "redis_timeout_ms": 1_000, "partitions": partitions}
        self.settings = Settings(**(usual | changes))
        self.chance = SystemChance()
        connection = Operator if clustered else Connection
        fence = Fence.of(self.settings)
        self.connection = connection(url, timeout_ms=self.settings.redis_timeout_ms, fence=fence)
        self.keys = Keys(self.settings.partitions)
        self.broker = Broker(self.connection, self.keys, self.settings, self.chance)
        self.agents = AgentRegistry(self.connection, self.keys, self.settings)
        self.canceller = Canceller(self.connection, self.keys, self.settings, self.chance)
        self.letters = DeadLetters(self.connection, self.keys, self.settings, self.chance)

    def inbox(self) -> Inbox:
        """An inbox that does not run yet."""
        return Inbox(self.connection, self.broker, self.keys, self.settings, self.chance)

    async def submit(self, *request_ids: str, lane: str = LANE) -> None:
        """Accept tasks, in one batch."""
        await asyncio.gather(*(self.broker.submit(submission(name, lane=lane)) for name in request_ids))

    async def take(self, count: int = 10, *, consumer: str = "worker-1", lane: str = LANE) -> list[Entry]:
        """Up to `count` entries that wait in the lane, over all partitions."""
        entries: list[Entry] = []
        for partition in range(self.keys.partitions):
            await self.broker.ensure_group(partition, lane)
            entries += await self.broker.read(self.connection, partition, lane, consumer, count=count)
        return entries

    async def submit_and_take(self, *request_ids: str, consumer: str = "worker-1") -> list[Entry]:
        """Accept tasks and have a worker take them, in the given order."""
        await self.submit(*request_ids)
        entries = await self.take(len(request_ids), consumer=consumer)
        return sorted(entries, key=lambda entry: request_ids.index(entry.fields[b"request_id"].decode()))

    async def backlog(self, lane: str = LANE) -> int:
        """Entries of the lane over all partitions, queued and running."""
        streams = [self.keys.stream(partition, lane) for partition in range(self.keys.partitions)]
        return sum([await self.connection.command("XLEN", stream) for stream in streams])

    async def request_ids(self, lane: str = LANE) -> list[str]:
        """Of the lane's entries, oldest first."""
        streams = [self.keys.stream(partition, lane) for partition in range(self.keys.partitions)]
        rows = [row for stream in streams for row in await self.connection.command("XRANGE", stream, "-", "+")]
        return [flat_dict(flat)[b"request_id"].decode() for _, flat in rows]

    async def inboxes(self, request_id: str) -> list[str]:
        """Who will be told of the task's result."""
        return (await self.fields(request_id))[b"inboxes"].decode().split(",")

    async def now_ms(self, partition: int = 0) -> int:
        """The clock of the partition's server, in milliseconds since 1970."""
        return await self.connection.now_ms(self.keys.dead(partition))

    async def fields(self, request_id: str) -> dict[bytes, bytes]:
        """The task's hash as it is stored."""
        return flat_dict(await self.connection.command("HGETALL", self.keys.task(request_id)))

    async def pending(self, lane: str = LANE) -> list[tuple[str, str, int]]:
        """Entry, owner and deliveries of what is running in the lane's first partition."""
        rows = await self.connection.command("XPENDING", self.keys.stream(0, lane), GROUP, "-", "+", 1000)
        return [(entry.decode(), owner.decode(), deliveries) for entry, owner, _idle, deliveries in rows]

    async def silence(self, entry: Entry, *, owner: str = "worker-1", idle_ms: int = 10**9) -> None:
        """Make the owner look as if it had said nothing of the entry for so long."""
        stream = self.keys.stream(entry.partition, entry.lane)
        await self.connection.command(
            "XCLAIM", stream, GROUP, owner, 0, entry.entry_id, "IDLE", idle_ms, "RETRYCOUNT", entry.deliveries, "JUSTID"
        )

    async def idle_ms(self, entry: Entry) -> int:
        """How long the entry's owner has been silent."""
        stream = self.keys.stream(entry.partition, entry.lane)
        [row] = await self.connection.command("XPENDING", stream, GROUP, entry.entry_id, entry.entry_id, 1)
        return int(row[2])

    async def calls(self, command: str) -> int:
        """How often the server was sent this command since it started or since `CONFIG RESETSTAT`."""
        statistics = (await self.connection.command("INFO", "commandstats")).decode()
        return sum(int(calls) for calls in re.findall(rf"cmdstat_{command}:calls=(\d+)", statistics))

    async def bury(self, *request_ids: str, reason: str = "R", consumer: str = "worker-1", lane: str = LANE) -> None:
        """Accept tasks and have a worker bury each at its first attempt, in the given order."""
        await self.submit(*request_ids, lane=lane)
        entries = {entry.fields[b"request_id"].decode(): entry for entry in await self.take(lane=lane)}
        for request_id in request_ids:
            dead = settlement(entries[request_id], state="dead_lettered", reason=reason, message=f"{reason} it was")
            assert await self.broker.settle(consumer, dead) == "settled"

    async def dead_letters(self, partition: int = 0) -> list[dict[bytes, bytes]]:
        """Fields of the partition's dead letters, oldest first."""
        rows = await self.connection.command("XRANGE", self.keys.dead(partition), "-", "+")
        return [flat_dict(flat) for _, flat in rows]


@asynccontextmanager
async def open_rig(url: str, **changes: Any) -> AsyncIterator[Rig]:
    """A rig whose connections are closed at the end; `changes` are settings."""
    rig = Rig(url, **changes)
    try:
        yield rig
    finally:
        await rig.connection.close()


async def ends_when_cancelled(connection: Connection, turns: int) -> bool:
    """Whether who sends command after command ends when that is cancelled after so many turns of the loop."""
    wanted = True

    async def duty() -> None:
        while wanted:
            # Unlike PING, it has what can be taken for a key, and so goes to some node of a cluster.
            await connection.command("ECHO", "anything")

    running = asyncio.create_task(duty())
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=1)
    wanted = False
    await asyncio.wait([running])
    return running.cancelled()


@asynccontextmanager
async def serving(inbox: Inbox) -> AsyncIterator[Inbox]:
    """Run the inbox, subscribed from the first line of the block on."""
    duty = asyncio.create_task(inbox.run())
    try:
        await asyncio.wait_for(inbox.ready.wait(), 5)
        yield inbox
    finally:
        duty.cancel()
        await asyncio.gather(duty, return_exceptions=True)


@asynccontextmanager
async def listening(rig: Rig, inbox: str, partition: int = 0) -> AsyncIterator[Callable[[], Awaitable[list[bytes]]]]:
    """A call that says which request ids the inbox was told of since the last call."""
    async with rig.connection.subscribed(rig.keys.channel(partition, inbox)) as subscription:

        async def heard() -> list[bytes]:
            # None is the answer to a PING, and comes behind all that was published before it.
            messages = []
            while (message := await subscription.next(quiet_ms=20)) is not None:
                messages.append(message)
            return messages

        yield heard


async def all_of(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """The outcome of each call, in order: its value, or what it raised."""
    return await asyncio.gather(*calls, return_exceptions=True)
