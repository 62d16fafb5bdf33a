"""The fetcher: brings new entries of one stream into free places."""

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.model import Entry
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
    ) -> None:
        self._broker = broker
        self._reader = reader
        self._deliveries = deliveries
        self._places = places
        self._partition = partition
        self._lane = lane
        self._consumer = consumer
        self._block_ms = block_ms

    async def step(self) -> None:
        """One round: what is there now, or else the first entry that comes within the block time.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        taken = await self._places.take(BATCH_MAX)
        if taken and not await self._fetch(taken):
            # Only one slot is kept while waiting, so that reclaimed entries find room in the others.
            await self._fetch_first()

    async def _fetch(self, taken: int) -> int:
        started = 0
        try:
            for entry in await self._read(taken, block_ms=0):
                started += self._begin(entry)
        finally:
            self._places.release(taken - started)
        return started

    async def _fetch_first(self) -> None:
        if not await self._places.take_slot():
            return
        begun = False
        try:
            for entry in await self._read(1, block_ms=self._block_ms):
                # Its permit is asked for before this fetcher asks for more: so no second entry can wait beside it.
                begun = self._begin(entry, alone=True)
        finally:
            if not begun:
                self._places.release_slot()

    async def _read(self, count: int, *, block_ms: int) -> list[Entry]:
        return await self._broker.read(
            self._reader, self._partition, self._lane, self._consumer, count=count, block_ms=block_ms
        )

    def _begin(self, entry: Entry, *, alone: bool = False) -> bool:
        """Start the entry, in a place or in a slot alone; False when it is running here already."""
        # The group was lost and made anew: what is running here already comes as if it were new.
        if self._deliveries.adopt(entry):
            return False
        self._deliveries.start(entry, self._places, self._places.ask() if alone else None)
        return True
