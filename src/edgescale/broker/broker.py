"""The broker's verbs on tasks: submit, read, reclaim, renew, settle, give back, look up."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from edgescale.broker.clock import BrokerClock
from edgescale.broker.commit import GroupCommit, Item
from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.lookups import Lookups
from edgescale.broker.model import Entry, GiveBack, Receipt, Settlement, SettleStatus, Submission, TaskRecord
from edgescale.broker.reconnect import persist
from edgescale.broker.script import Argument, Script
from edgescale.broker.unheard import Unheard
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.errors import GroupMissing, LaneFull
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log


class Broker:
    """Tasks in Redis. Calls of one kind that arrive together share a round trip.

    Attributes:
        clocks: of each partition's server, as far as this process reclaims.
        unheard: what reads have brought whose replies were lost.

    Args:
        connection: to the server.
        keys: names of everything there.
        settings: caps, times to live and patience.
        chance: jitter of repeated calls.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings, chance: Chance) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings
        self._chance = chance
        self.clocks = [BrokerClock() for _ in range(keys.partitions)]
        self.unheard = Unheard(connection, keys)
        self._log = get_log()
        self._scripts = {name: Script.load(name) for name in ("submit", "settle", "renew", "give_back", "reclaim")}
        self._submits = self._per_partition(self._flush_submits, weigh=lambda item: len(item[2]))
        self._lookups = Lookups(connection, keys)
        self._settles = self._per_partition(self._flush_settles, weigh=lambda item: len(item[1].result))
        self._renewals = self._per_partition(self._flush_renewals)
        self._give_backs = self._per_partition(self._flush_give_backs)

    def _per_partition(
        self, flush: Callable[[int, Sequence[Item]], Awaitable[Any]], weigh: Callable[[Item], int] = lambda _: 1
    ) -> list[GroupCommit[Item, Any]]:
        return [GroupCommit(partial(flush, partition), weigh=weigh) for partition in range(self._keys.partitions)]

    async def submit(self, submission: Submission, *, inbox: str = "", patience_ms: float | None = None) -> Receipt:
        """Accept a task, or attach to the task of the same request id.

        Args:
            submission: the task.
            inbox: is told when the result is stored; empty for none.
            patience_ms: how long to go on while Redis is away; the setting's when None.

        Raises:
            Conflict: the request id is taken by other content.
            LaneFull: the lane is at its cap; nothing was queued.
            Overloaded: Redis is out of memory; nothing was queued.
            BrokerUnavailable: whether it was accepted is unknown; the same submission may be repeated.
        """
        item = (submission, inbox, submission.envelope.encode())
        commit = self._submits[self._keys.partition_of(submission.envelope.request_id)]
        patience_ms = self._settings.redis_patience_ms if patience_ms is None else patience_ms

        async def attempt() -> Receipt:
            return Receipt.parse(submission, await commit(item), cap=self._settings.cap_of(submission.lane))

        return await persist(attempt, self._chance, patience_ms=patience_ms)

    async def _flush_submits(self, partition: int, items: Sequence[tuple[Submission, str, bytes]]) -> Any:
        keys: list[str] = []
        args: list[Argument] = [GROUP]
        for submission, inbox, encoded in items:
            envelope = submission.envelope
            cap = self._settings.cap_of(submission.lane) // self._keys.partitions
            keys += [self._keys.task(envelope.request_id), self._keys.stream(partition, submission.lane)]
            keys += self._keys.of_chain(partition, submission.lane, envelope.ordering_key)
            args += [envelope.request_id, envelope.kind, submission.lane, submission.digest]
            args += [envelope.file_id, envelope.ordering_key, cap, inbox, encoded]
        return await self._connection.run(self._scripts["submit"], keys, args)

    async def room(self, lane: str, request_id: str) -> None:
        """Refuse early when the lane is at its cap where the id belongs, before a caller sends a large body.

        Raises:
            LaneFull: there is no room now. That there is room says nothing of later: submit decides.
        """
        cap = self._settings.cap_of(lane)
        streams = self._keys.backlog(self._keys.partition_of(request_id), lane)

        async def backlog() -> int:
            return sum([await self._connection.command("XLEN", stream) for stream in streams])

        patience_ms = self._settings.redis_patience_ms
        if await persist(backlog, self._chance, patience_ms=patience_ms) >= cap // self._keys.partitions:
            raise LaneFull(lane, cap=cap)

    async def lookup(self, request_id: str, *, inbox: str = "") -> TaskRecord | None:
        """The task's record, None when there is none or Redis has lost the task. An inbox is attached to an open task.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return await self._lookups.find(request_id, inbox)

    async def deliveries(self, record: TaskRecord) -> int:
        """How often an open task was delivered; 0 while it is queued.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return max(await self._lookups.locate(record), 0)

    async def read(
        self, reader: Connection, partition: int, lane: str, consumer: str, *, count: int, block_ms: int = 0
    ) -> list[Entry]:
        """Up to `count` entries that nobody was given before, oldest first.

        Args:
            reader: where the command waits; a connection of the caller's own when `block_ms` is set.
            partition: of the stream.
            lane: of the stream.
            consumer: becomes their owner.
            count: free slots of the caller; never fetch what cannot be started.
            block_ms: how long to wait at the server for a first one; 0 for not at all.

        Raises:
            BrokerUnavailable: Redis is away. Entries may have been delivered; they are reclaimed after the lease.
        """
        stream = self._keys.stream(partition, lane)
        blocking: list[Argument] = ["BLOCK", block_ms] if block_ms else []
        command: list[Argument] = ["XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, *blocking]
        try:
            streams = await reader.command(*command, "STREAMS", stream, ">")
        except GroupMissing:
            await self.ensure_group(partition, lane)
            return []
        entries = streams[0][1] if streams else []
        return [Entry(partition, lane, entry_id.decode(), 1, flat_dict(flat)) for entry_id, flat in entries]

    async def ensure_group(self, partition: int, lane: str) -> bool:
        """Make the lane's stream and group where they are missing; True when they were.

        The group starts at 0, never at `$`: entries added since a flush must not be skipped. Settled entries are
        deleted, so nothing is delivered that was done.
        """
        stream = self._keys.stream(partition, lane)
        made = await self._connection.create_group(stream, GROUP)
        if made:
            self._log.info(Event.GROUP_CREATED, lane=lane, partition=partition)
        return made

    async def reclaim(
        self, partition: int, lane: str, consumer: str, *, cursor: str, count: int
    ) -> tuple[str, list[Entry]]:
        """Take over up to `count` entries whose owners were silent for the lease.

        Args:
            partition: of the stream.
            lane: of the stream.
            consumer: the new owner.
            cursor: where the last call ended; `0-0` begins.
            count: entries at most; the scan itself is bounded at ten times as many.

        Returns:
            The next cursor (`0-0` after the last entry), and the entries.

        Raises:
            BrokerUnavailable: Redis is away. Claimed entries may have been lost on the way; their lease starts anew.
        """
        keys = [self._keys.stream(partition, lane), self._keys.schedule(partition, lane)]
        args: list[Argument] = [GROUP, consumer, self._settings.lease_ms, cursor, count]
        asked = self.clocks[partition].ask()
        try:
            following, claimed, now_ms = await self._connection.run(self._scripts["reclaim"], keys, args)
        except GroupMissing:
            await self.ensure_group(partition, lane)
            return "0-0", []
        self.clocks[partition].heard(int(now_ms), asked)
        entries = [
            Entry(partition, lane, entry_id.decode(), deliveries, flat_dict(flat))
            for entry_id, deliveries, flat in claimed
        ]
        return following.decode(), entries

    async def renew(self, consumer: str, entry: Entry) -> bool:
        """Start the lease anew; False when the consumer no longer owns the entry.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return bool(await self._renewals[entry.partition]((consumer, entry)))

    async def _flush_renewals(self, partition: int, items: Sequence[tuple[str, Entry]]) -> Any:
        keys = [self._keys.stream(partition, entry.lane) for _, entry in items]
        owned = (word for consumer, entry in items for word in (consumer, entry.entry_id))
        return await self._connection.run(self._scripts["renew"], keys, [GROUP, *owned])

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        """Store a terminal state, remove the entry and wake the waiters, all or nothing; repeated while Redis is away.

        Returns:
            `settled`: this is the task's result. `superseded`: another one was stored before. `lost`: the consumer
            does not own the entry, and somebody else works on it.
        """
        commit = self._settles[settlement.entry.partition]
        # Without end: the only other way out is to lose the lease, and then the script says so.
        reply = await persist(lambda: commit((consumer, settlement)), self._chance, patience_ms=float("inf"))
        status: SettleStatus = reply.decode()
        return status

    async def _flush_settles(self, partition: int, items: Sequence[tuple[str, Settlement]]) -> Any:
        keys = [self._keys.dead(partition)]
        args: list[Argument] = [GROUP, self._keys.channel(partition, ""), self._settings.result_ttl_ms]
        for consumer, done in items:
            lane, ordering_key = done.entry.lane, done.entry.ordering_key
            keys += self._keys.of_entry(partition, done.request_id, lane)
            keys += self._keys.of_chain(partition, lane, ordering_key)
            args += [consumer, done.entry.entry_id, done.request_id, done.kind, lane, ordering_key, done.state]
            args += [done.result, done.reason, done.message, done.entry.deliveries]
        return await self._connection.run(self._scripts["settle"], keys, args)

    async def give_back(self, consumer: str, handed: GiveBack) -> bool:
        """Hand a delivery back; False when it is not the consumer's any more.

        Raises:
            BrokerUnavailable: Redis is away; the entry is reclaimed after the lease all the same.
        """
        commit = self._give_backs[handed.entry.partition]
        patience_ms = self._settings.redis_patience_ms
        return bool(await persist(lambda: commit((consumer, handed)), self._chance, patience_ms=patience_ms))

    async def _flush_give_backs(self, partition: int, items: Sequence[tuple[str, GiveBack]]) -> Any:
        keys: list[str] = []
        args: list[Argument] = [GROUP, self._settings.lease_ms]
        for consumer, handed in items:
            keys += self._keys.of_entry(partition, handed.request_id, handed.entry.lane)
            args += [consumer, handed.entry.entry_id, handed.entry.deliveries, handed.delay_ms, handed.deliveries]
            args += [handed.reason, handed.message]
        return await self._connection.run(self._scripts["give_back"], keys, args)
