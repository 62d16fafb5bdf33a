"""Renewers with several partitions: each keeps the leases of its own, and none waits for another one's server."""

import asyncio
import dataclasses

from edgescale.broker.broker import Broker
from edgescale.broker.model import Entry
from edgescale.broker.reconnect import keep_running
from edgescale.telemetry.progress import Loops
from edgescale.worker.deliveries import Deliveries, Delivery
from edgescale.worker.places import Places, Slots
from edgescale.worker.renewer import Renewer
from edgescale.worker.share import Share
from tests.parts import entry_of
from tests.support import SeededChance, eventually

LEASE_MS = 40


class Leases(Broker):
    """Notes renewals of each partition's entries; partition 0 is asked, and never answers."""

    def __init__(self) -> None:
        self.asked = [0, 0]

    async def renew(self, consumer: str, entry: Entry) -> bool:
        del consumer
        self.asked[entry.partition] += 1
        if entry.partition == 0:
            await asyncio.Event().wait()
        return True


async def held(delivery: Delivery) -> None:
    del delivery
    await asyncio.Event().wait()


async def in_flight(*partitions: int) -> Deliveries:
    """An entry of each of these partitions, in hands that never let go."""
    places, deliveries = Places("text", Slots(2), Share(2, {"text": 1})), Deliveries(held, held)
    for partition in partitions:
        await places.take(1)
        deliveries.start(dataclasses.replace(entry_of(), partition=partition), places)
    return deliveries


def renewer_of(partition: int, broker: Broker, deliveries: Deliveries, loops: Loops) -> Renewer:
    stop = asyncio.Event()
    return Renewer(
        broker, deliveries, partition=partition, consumer="worker-1", lease_ms=LEASE_MS, stop=stop, loops=loops
    )


async def test_a_renewer_leaves_the_leases_of_other_partitions_to_theirs() -> None:
    broker, deliveries = Leases(), await in_flight(0, 1)
    await renewer_of(1, broker, deliveries, Loops(timeout_ms=100)).step()
    assert broker.asked == [0, 1]


async def test_leases_of_other_partitions_are_kept_while_one_partition_is_silent() -> None:
    broker, deliveries, loops = Leases(), await in_flight(0, 1), Loops(timeout_ms=100)
    renewers = [renewer_of(partition, broker, deliveries, loops) for partition in range(2)]
    duties = [asyncio.create_task(keep_running("renewer", each.step, SeededChance())) for each in renewers]
    await eventually(lambda: list(loops.stalled()) == ["renewer:0"])
    renewed = broker.asked[1]
    await eventually(lambda: broker.asked[1] > renewed)
    assert broker.asked[0] == 1
    for duty in duties:
        duty.cancel()
    await asyncio.gather(*duties, return_exceptions=True)
