"""The fetcher: brings new entries of one stream into free slots."""

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
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
        self._partition = partition
        self._lane = lane
        self._consumer = consumer
        self._block_ms = block_ms
        self._progress = progress

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
            entries = await self._broker.read(
                self._reader, self._partition, self._lane, self._consumer, count=taken, block_ms=block_ms
            )
            self._progress.note()
            for entry in entries:
                # The group was lost and made anew: what is running here already comes as if it were new.
                if self._deliveries.adopt(entry):
                    continue
                self._deliveries.start(entry, self._slots)
                started += 1
        finally:
            self._slots.release(taken - started)
        return started
