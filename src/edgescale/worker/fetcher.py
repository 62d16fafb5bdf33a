"""The fetcher: brings new entries of one stream into free slots."""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.model import Entry
from edgescale.broker.unheard import NOTHING_HEARD
from edgescale.errors import EdgeScaleError
from edgescale.telemetry.progress import Progress
from edgescale.worker.deliveries import Deliveries, Slots

BATCH_MAX = 128


class Fetcher:
    """Reads one lane of one partition.

    Args:
        broker: whose stream is read.
        reader: a connection of its own, for it waits at the server.
        deliveries: where entries are started.
        slots: of the lane; never is an entry fetched that could not be started at once.
        partition: of the stream.
        lane: of the stream.
        consumer: this worker's name.
        block_ms: how long one read waits for a first entry.
        progress: is told of every answer.
    """

    def __init__(
        self,
        broker: Broker,
        reader: Connection,
        deliveries: Deliveries,
        slots: Slots,
        *,
        partition: int,
        lane: str,
        consumer: str,
        block_ms: int,
        progress: Progress,
    ) -> None:
        self._broker = broker
        self._reader = reader
        self._deliveries = deliveries
        self._slots = slots
        self._place = (partition, lane, consumer)
        self._block_ms = block_ms
        self._progress = progress
        self._last = NOTHING_HEARD
        # Until when the server may give an entry to a read that has failed here; None when none has.
        self._doubtful_until_s: float | None = None

    async def step(self) -> None:
        """One round: what is there now, or else the first entry that comes within the block time.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        taken = await self._take(BATCH_MAX)
        if taken and not await self._fetch(taken, block_ms=0):
            # Only one slot is kept while waiting, so that reclaimed entries find room in the others.
            taken = await self._take(1)
            if taken:
                await self._fetch(taken, block_ms=self._block_ms)

    async def _take(self, most: int) -> int:
        with self._progress.waiting():
            return await self._slots.take(most)

    async def _fetch(self, taken: int, *, block_ms: int) -> int:
        started = 0
        try:
            for entry in await self._next(taken, block_ms=block_ms):
                # The group was lost and made anew: what is running here already comes as if it were new.
                if self._deliveries.adopt(entry):
                    continue
                self._deliveries.start(entry, self._slots)
                started += 1
        finally:
            self._slots.release(taken - started)
        return started

    async def _next(self, count: int, *, block_ms: int) -> list[Entry]:
        """What a failed read has brought after all, or else what is new."""
        loop = asyncio.get_running_loop()
        try:
            entries = await self._unheard(loop.time(), count)
            if not entries:
                entries = await self._broker.read(self._reader, *self._place, count=count, block_ms=block_ms)
        except EdgeScaleError:
            self._doubtful_until_s = loop.time() + self._block_ms / 1000
            raise
        self._progress.note()
        if entries:
            self._last = entries[-1].entry_id
        return entries

    async def _unheard(self, now_s: float, count: int) -> list[Entry]:
        if self._doubtful_until_s is None:
            return []
        entries = await self._broker.unheard.find(*self._place, after=self._last, count=count)
        if not entries and now_s > self._doubtful_until_s:
            self._doubtful_until_s = None
        return entries
