"""The renewer: keeps the leases of a partition's deliveries in flight, whatever their handlers do.

Each partition has a renewer of its own: partitions are on different servers of a cluster, and a lease does not wait for
the answer of a server that has nothing to do with it.
"""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.reconnect import pause
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.telemetry.progress import Loops
from edgescale.worker.deliveries import Deliveries, Delivery

# Four chances within one lease: three renewals may fail or be late before anybody may claim the entry.
RENEWALS_PER_LEASE = 4
# However long the lease: a renewal is how a worker hears that its task was cancelled.
PAUSE_MS_MAX = 1_000


class Renewer:
    """Renews every lease of its partition four times within its term, and once a second at least.

    Args:
        broker: that keeps the leases.
        deliveries: in flight, those of other partitions as well.
        partition: whose leases it keeps.
        consumer: this worker's name.
        lease_ms: the term of a lease.
        stop: ends a pause early.
        loops: where it notes its rounds.

    Attributes:
        patience_ms: the longest wait while Redis is away: when it is back, there must be time for another renewal.
    """

    def __init__(
        self,
        broker: Broker,
        deliveries: Deliveries,
        *,
        partition: int,
        consumer: str,
        lease_ms: int,
        stop: asyncio.Event,
        loops: Loops,
    ) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._partition = partition
        self._consumer = consumer
        self._pause_ms = min(lease_ms / RENEWALS_PER_LEASE, PAUSE_MS_MAX)
        self.patience_ms = self._pause_ms / 2
        self._stop = stop
        self._progress = loops.add(f"renewer:{partition}", round_ms=self._pause_ms)
        self._log = get_log()

    async def step(self) -> None:
        """One round: one renewal of each delivery of the partition; those that are lost are stopped; then a pause.

        Raises:
            BrokerUnavailable: Redis is away; the round is repeated without the pause.
        """
        ours = [delivery for delivery in self._deliveries if delivery.entry.partition == self._partition]
        await asyncio.gather(*(self._renew(delivery) for delivery in ours if not delivery.lost))
        self._progress.note()
        await pause(self._pause_ms, self._stop)

    async def _renew(self, delivery: Delivery) -> None:
        async with delivery.renewal:
            kept = delivery.handed_back or await self._broker.renew(self._consumer, delivery.entry)
        if not kept:
            # Somebody else has the entry, or its task was cancelled. Our outcome would be refused; the sooner the
            # handler stops, the better.
            delivery.lost = True
            if delivery.interrupt():
                entry = delivery.entry
                self._log.warning(Event.TASK_LOST, lane=entry.lane, entry=entry.entry_id, attempt=entry.deliveries)
