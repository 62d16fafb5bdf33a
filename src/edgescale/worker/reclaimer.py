"""The reclaimer: takes over the entries of workers that fell silent."""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.reconnect import pause
from edgescale.chance import Chance
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.telemetry.progress import Progress
from edgescale.worker.deliveries import Deliveries
from edgescale.worker.places import Places

BATCH_MAX = 32
START = "0-0"


class Reclaimer:
    """Sweeps one lane of one partition.

    The cursor is kept between calls, so that a long pending list is walked to its end and not only at its head.

    Args:
        broker: whose stream is swept.
        deliveries: where entries are started.
        places: of the lane; no entry is claimed that could not be started at once.
        chance: jitter, so that workers do not sweep in step.
        partition: of the stream.
        lane: of the stream.
        consumer: this worker's name.
        sweep_ms: time between two sweeps.
        stop: ends a pause early.
        progress: is told of every answer.
    """

    def __init__(
        self,
        broker: Broker,
        deliveries: Deliveries,
        places: Places,
        chance: Chance,
        *,
        partition: int,
        lane: str,
        consumer: str,
        sweep_ms: int,
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._places = places
        self._chance = chance
        self._partition = partition
        self._lane = lane
        self._consumer = consumer
        self._sweep_ms = sweep_ms
        self._stop = stop
        self._progress = progress
        self._cursor = START
        self._doubtful = False
        self._log = get_log()

    async def step(self) -> None:
        """One round: a pause, then the whole pending list, as far as places allow.

        Raises:
            BrokerUnavailable: Redis is away; the sweep goes on from its cursor.
        """
        await pause(self._chance.uniform(self._sweep_ms / 2, self._sweep_ms), self._stop)
        while await self._claim_some() and not self._stop.is_set():
            pass

    async def _claim_some(self) -> bool:
        """Claim once; True when the sweep has not come to the list's end."""
        with self._progress.waiting():
            # A server that may be silent still is asked with one place: the others are for those that answer.
            taken = await self._places.take(1 if self._doubtful else BATCH_MAX)
        if not taken:
            return False
        started, self._doubtful = 0, True
        try:
            self._cursor, entries = await self._broker.reclaim(
                self._partition, self._lane, self._consumer, cursor=self._cursor, count=taken
            )
            self._progress.note()
            self._doubtful = False
            for entry in entries:
                # Our own entry, whose renewal came too late: the claim has renewed it, and it is running already.
                if self._deliveries.adopt(entry):
                    continue
                self._log.info(Event.TASK_RECLAIMED, lane=self._lane, entry=entry.entry_id, deliveries=entry.deliveries)
                self._deliveries.start(entry, self._places)
                started += 1
        finally:
            self._places.release(taken - started)
        return self._cursor != START
