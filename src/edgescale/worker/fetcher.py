"""The fetcher: brings new entries of one stream into free places."""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.model import Entry
from edgescale.broker.unheard import NOTHING_HEARD
from edgescale.errors import EdgeScaleError
from edgescale.telemetry.progress import Progress
from edgescale.worker.deliveries import Deliveries
from edgescale.worker.places import Places

BATCH_MAX = 128


class Fetcher:
    """Reads one lane of one partition.

    Args:
        broker: whose stream is read.
        reader: a connection of its own, for it waits at the server.
        deliveries: where entries are started.
        places: of the lane. What is there is fetched only as far as it can be started at once. Who waits at the server
            for a first entry holds a slot and no permit, or idle lanes would keep the others from running; so that one
            entry, when it comes, may have to wait for its permit here.
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
        places: Places,
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
        self._places = places
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
        with self._progress.waiting():
            # A server that may be silent still is asked with one place: the others are for those that answer.
            taken = await self._places.take(BATCH_MAX if self._doubtful_until_s is None else 1)
        if taken and not await self._fetch(taken):
            # Only one slot is kept while waiting, so that reclaimed entries find room in the others.
            await self._fetch_first()

    async def _fetch(self, taken: int) -> int:
        started = 0
        try:
            for entry in await self._next(taken, block_ms=0):
                started += self._begin(entry)
        finally:
            self._places.release(taken - started)
        return started

    async def _fetch_first(self) -> None:
        with self._progress.waiting():
            if not await self._places.take_slot():
                return
        begun = False
        try:
            for entry in await self._next(1, block_ms=self._block_ms):
                # Its permit is asked for before this fetcher asks for more: so no second entry can wait beside it.
                begun = self._begin(entry, alone=True)
        finally:
            if not begun:
                self._places.release_slot()

    def _begin(self, entry: Entry, *, alone: bool = False) -> bool:
        """Start the entry, in a place or in a slot alone; False when it is running here already."""
        # The group was lost and made anew: what is running here already comes as if it were new.
        if self._deliveries.adopt(entry):
            return False
        self._deliveries.start(entry, self._places, self._places.ask() if alone else None)
        return True

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
        found = await self._broker.unheard.find(*self._place, after=self._last, count=count)
        if found:
            self._last = found[-1].entry_id
        elif now_s > self._doubtful_until_s:
            self._doubtful_until_s = None
        # What is in flight here was heard of; when it is on its way back, a second start would be beside the first.
        return [entry for entry in found if not self._deliveries.has(entry)]
