"""The inbox: how stored results find those who wait for them.

A process subscribes once, before it accepts its first request, to its own result channel of each partition. A message
there is only a wake-up: the result is read from the store. So nothing is lost when a message is: on every
(re)connection, and on a slow timer, the stored results of all open requests are read again.

Each partition has a subscription and a reader of its own: partitions are on different servers of a cluster, and what
becomes of one, when its server fails or falls silent, or its slot moves, leaves the others alone.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection, Subscription
from edgescale.broker.keys import Keys
from edgescale.broker.model import TaskRecord
from edgescale.broker.reconnect import Outage, keep_running
from edgescale.broker.stale import Stale
from edgescale.broker.waiting import OpenRequest, Wait
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.errors import EdgeScaleError, NotFound, Unavailable
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.telemetry.progress import Loops

# However slow the timer: a subscription that is half open must be noticed, and made anew, within seconds.
QUIET_MS_MAX = 1_000


class Inbox:
    """Routes stored results to the open requests of this process.

    Attributes:
        name: the channel's last part; unlike any other process's.
        ready: set while the channels of all partitions are subscribed. `lost` is its opposite; each can be waited for.
        loops: the subscription and the reader of stored results of each partition.

    Args:
        connection: where the result channels are subscribed.
        broker: reads stored results and submits lost tasks again.
        keys: names of the channels.
        settings: the slow timer.
        chance: this inbox's name, and jitter.
    """

    def __init__(self, connection: Connection, broker: Broker, keys: Keys, settings: Settings, chance: Chance) -> None:
        self.name = chance.new_id()[:16]
        self.ready = asyncio.Event()
        self.lost = asyncio.Event()
        self.lost.set()
        self._connection = connection
        self._broker = broker
        self._keys = keys
        self._subscribed: set[int] = set()
        self._recheck_ms = settings.inbox_recheck_ms
        self._quiet_ms = min(settings.inbox_recheck_ms, QUIET_MS_MAX)
        self.loops = Loops(timeout_ms=settings.redis_timeout_ms)
        partitions = range(keys.partitions)
        self._hears = [self.loops.add(f"inbox:{partition}", round_ms=self._quiet_ms) for partition in partitions]
        self._stale = [Stale(self.loops.add(f"inbox-reader:{partition}", round_ms=0)) for partition in partitions]
        self._chance = chance
        self._log = get_log()
        self._open: dict[str, OpenRequest] = {}

    @property
    def open_requests(self) -> int:
        """How many request ids are waited for."""
        return len(self._open)

    @contextmanager
    def expect(self, request_id: str) -> Iterator[Wait]:
        """Wait for a request id; enter before the task is submitted, so that no result can come too early."""
        request = self._open.setdefault(request_id, OpenRequest(request_id))
        wait = Wait(request_id, lambda: self._mark_stale([request_id]))
        request.waits.append(wait)
        try:
            yield wait
        finally:
            request.waits.remove(wait)
            wait.close()
            if not request.waits and self._open.get(request_id) is request:
                del self._open[request_id]

    async def run(self) -> None:
        """Serve until cancelled, whatever becomes of Redis."""
        async with asyncio.TaskGroup() as duties:
            for partition in range(self._keys.partitions):
                duties.create_task(self._listen(partition))
                duties.create_task(self._read(partition))
            duties.create_task(self._recheck_all())

    async def _listen(self, partition: int) -> None:
        """Subscribe, and subscribe again whenever the subscription breaks."""
        outage = Outage(f"inbox:{partition}", self._chance)
        while True:
            try:
                async with self._connection.subscribed(self._keys.channel(partition, self.name)) as subscription:
                    outage.over()
                    await self._live(partition, subscription)
            except EdgeScaleError as error:
                await outage.sit_out(error)

    async def _live(self, partition: int, subscription: Subscription) -> None:
        """One life of the partition's subscription."""
        self._mark_stale([each for each in self._open if self._keys.partition_of(each) == partition])
        self._subscribed.add(partition)
        if len(self._subscribed) == self._keys.partitions:
            self.lost.clear()
            self.ready.set()
        self._log.info(Event.INBOX_READY, inbox=self.name, partition=partition, open_requests=self.open_requests)
        try:
            await self._pass_on(partition, subscription)
        finally:
            self._subscribed.discard(partition)
            self.ready.clear()
            self.lost.set()

    async def _pass_on(self, partition: int, subscription: Subscription) -> None:
        while True:
            self._hears[partition].note()
            message = await subscription.next(quiet_ms=self._quiet_ms)
            if message is not None:
                self._notified(message.decode(errors="replace"))

    def _notified(self, request_id: str) -> None:
        self._mark_stale([request_id])

    async def _recheck_all(self) -> None:
        while True:
            await asyncio.sleep(self._recheck_ms / 1000)
            self._mark_stale(list(self._open))

    def _mark_stale(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            if request_id in self._open:
                self._stale[self._keys.partition_of(request_id)].mark(request_id)

    async def _read(self, partition: int) -> None:
        """Read what is stale in the partition, again and again; one that is silent keeps nobody waiting but its own."""
        stale = self._stale[partition]
        await keep_running(f"inbox-reader:{partition}", lambda: self._read_stale(stale), self._chance)

    async def _read_stale(self, stale: Stale) -> None:
        request_ids = await stale.take()
        known = {each: self._open[each].accepted for each in request_ids if each in self._open}
        # Read in one go: the broker gathers all of them into few round trips.
        records = await asyncio.gather(
            *(self._broker.lookup(request_id, inbox=self.name) for request_id in request_ids), return_exceptions=True
        )
        trouble: Unavailable | None = None
        considered = []
        for request_id, record in zip(request_ids, records, strict=True):
            if isinstance(record, Unavailable):
                # It stays stale, and the round is repeated once the broker is back.
                self._mark_stale([request_id])
                trouble = record
            else:
                considered.append(self._consider(request_id, record, known.get(request_id, ())))
        await asyncio.gather(*considered)
        if trouble is not None:
            raise trouble
        stale.progress.note()

    async def _consider(
        self, request_id: str, record: TaskRecord | BaseException | None, known: Collection[Wait]
    ) -> None:
        if isinstance(record, BaseException) and not isinstance(record, EdgeScaleError):
            raise record
        request = self._open.get(request_id)
        if request is None:
            return
        if isinstance(record, EdgeScaleError):
            # A record that cannot be read must not keep all the others from being read.
            request.fail(record)
        elif record is None:
            await self._restore(request)
        else:
            request.hear(record, known=known)

    async def _restore(self, request: OpenRequest) -> None:
        """Redis lost the task (flushed, restarted empty, failed over) while somebody waits for it."""
        submission = request.submission
        if submission is None:
            # Whoever is about to submit it knows of no task yet.
            request.gone()
            return
        self._log.warning(Event.TASK_RESUBMITTED, request_id=request.request_id)
        known = request.accepted
        try:
            receipt = await self._broker.submit(submission, inbox=self.name, patience_ms=0)
        except EdgeScaleError as error:
            if not error.retryable:
                request.fail(error, of=submission)
            # Otherwise the slow timer comes back to it.
            return
        request.hear(receipt.record, known=known)

    async def wait_for(self, request_id: str, timeout_s: float) -> TaskRecord:
        """The task's record, as soon as it is terminal or when the time is up.

        Raises:
            NotFound: there is no such task, or no more.
            BrokerUnavailable: Redis is away.
        """
        with self.expect(request_id) as wait:
            record = await self._broker.lookup(request_id, inbox=self.name if timeout_s > 0 else "")
            if record is None:
                raise NotFound(f"no task {request_id!r}: it was never accepted, or its record has expired")
            if record.terminal or timeout_s <= 0:
                return record
            wait.found()
            return await wait.result(timeout_s) or record
