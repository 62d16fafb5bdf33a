"""Deliveries in flight: slots are freed, ends are waited for, outcomes on their way are left alone."""

import asyncio

import pytest

from edgescale.worker.deliveries import Deliveries, Delivery
from edgescale.worker.places import Places, Slots
from edgescale.worker.share import Share
from tests.parts import entry_of, turns


class Work:
    """Executes deliveries: each waits until `gate` is set; `stubborn` ones do not let themselves be stopped."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun: list[Delivery] = []
        self.stubborn = False
        self.settles = False

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery)
        delivery.settling = self.settles
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await self.gate.wait()


def places_of(slots: int, permits: int = 4) -> Places:
    return Places("text", Slots(slots), Share(permits, {"text": 1}))


def deliveries_of(work: Work, handed: list[Delivery] | None = None) -> Deliveries:
    async def hand_back(delivery: Delivery) -> None:
        assert handed is not None, "nothing was to be handed back"
        handed.append(delivery)

    return Deliveries(work, hand_back)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_the_slot_is_freed_when_the_delivery_ends(work: Work) -> None:
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    waiting = asyncio.create_task(places.take(1))
    await turns()
    assert (len(deliveries), waiting.done()) == (1, False)
    work.gate.set()
    assert await asyncio.wait_for(waiting, 1) == 1
    assert len(deliveries) == 0


async def test_an_entry_that_comes_again_while_it_is_in_flight_goes_on_under_its_new_count(work: Work) -> None:
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    assert deliveries.adopt(entry_of(deliveries=2))
    assert [delivery.entry.deliveries for delivery in deliveries] == [2]
    work.gate.set()
    await turns()
    assert not deliveries.adopt(entry_of())


async def test_finishing_waits_for_those_who_end_in_time(work: Work) -> None:
    places, deliveries = places_of(2), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    finishing = asyncio.create_task(deliveries.finish(60_000, settle_grace_ms=60_000))
    await turns()
    assert not finishing.done()
    work.gate.set()
    assert await asyncio.wait_for(finishing, 1) == []


async def test_nothing_in_flight_is_finished_at_once(work: Work) -> None:
    finishing = deliveries_of(work).finish(60_000, settle_grace_ms=60_000)
    assert await asyncio.wait_for(finishing, 1) == []


async def test_handlers_that_run_past_the_grace_are_stopped_and_named(work: Work) -> None:
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    [interrupted] = await asyncio.wait_for(deliveries.finish(10, settle_grace_ms=60_000), 1)
    assert interrupted is work.begun[0]
    assert len(deliveries) == 0


async def test_an_outcome_on_its_way_is_not_interrupted_by_the_end_of_the_grace(work: Work) -> None:
    work.settles = True
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    finishing = asyncio.create_task(deliveries.finish(10, settle_grace_ms=60_000))
    await asyncio.sleep(0.05)
    assert len(deliveries) == 1
    work.gate.set()
    assert await asyncio.wait_for(finishing, 1) == []
    assert work.begun[0].task is not None
    assert not work.begun[0].task.cancelled()


async def test_an_outcome_that_never_arrives_holds_up_the_end_for_its_own_grace_only(work: Work) -> None:
    work.settles = True
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    assert await asyncio.wait_for(deliveries.finish(10, settle_grace_ms=10), 1) == []
    await turns()
    assert len(deliveries) == 0


async def test_a_handler_that_will_not_be_stopped_holds_up_the_end_for_a_bounded_time(work: Work) -> None:
    work.stubborn = True
    places, deliveries = places_of(1), deliveries_of(work)
    await places.take(1)
    deliveries.start(entry_of(), places)
    [interrupted] = await asyncio.wait_for(deliveries.finish(10, settle_grace_ms=10), 1)
    assert interrupted is work.begun[0]
    work.gate.set()
    await turns()
    assert len(deliveries) == 0


async def test_what_begins_during_the_end_is_neither_waited_for_nor_stopped(work: Work) -> None:
    work.settles = True
    places, deliveries = places_of(2), deliveries_of(work, [])
    await places.take(2)
    deliveries.start(entry_of("r1"), places)
    finishing = asyncio.create_task(deliveries.finish(0, settle_grace_ms=50))
    await turns()
    deliveries.start(entry_of("r2"), places)
    assert await asyncio.wait_for(finishing, 1) == []
    await turns()
    assert [delivery.entry.fields[b"request_id"] for delivery in deliveries] == [b"r2"]
    work.gate.set()
    await turns()
    assert len(deliveries) == 0


async def a_waiting_one(work: Work, handed: list[Delivery]) -> tuple[Places, Deliveries]:
    """One that runs with the only permit, and one that has a slot and waits for it."""
    places, deliveries = places_of(2, permits=1), deliveries_of(work, handed)
    await places.take(1)
    deliveries.start(entry_of("r1"), places)
    assert await places.take_slot() == 1
    deliveries.start(entry_of("r2"), places, places.ask())
    await turns()
    assert [delivery.entry for delivery in work.begun] == [entry_of("r1")]
    assert len(deliveries) == 2, "it is in flight, so that its lease is renewed"
    return places, deliveries


async def test_what_waits_for_its_permit_begins_with_the_first_that_is_free(work: Work) -> None:
    places, deliveries = await a_waiting_one(work, [])
    work.gate.set()
    await turns()
    assert [delivery.entry for delivery in work.begun] == [entry_of("r1"), entry_of("r2")]
    assert len(deliveries) == 0
    assert await asyncio.wait_for(places.take(2), 1) == 1


async def test_what_waits_for_its_permit_when_a_drain_begins_is_handed_back_at_once(work: Work) -> None:
    handed: list[Delivery] = []
    places, deliveries = await a_waiting_one(work, handed)
    places.close()
    await turns()
    assert [delivery.entry for delivery in handed] == [entry_of("r2")]
    assert (len(work.begun), len(deliveries)) == (1, 1)
    work.gate.set()
    assert await asyncio.wait_for(deliveries.finish(60_000, settle_grace_ms=60_000), 1) == []


async def test_what_is_lost_while_it_waits_for_its_permit_takes_none_along(work: Work) -> None:
    places, deliveries = await a_waiting_one(work, [])
    [_, waiting] = deliveries
    assert waiting.interrupt()
    await turns()
    assert len(deliveries) == 1
    work.gate.set()
    await turns()
    assert len(work.begun) == 1
    assert await asyncio.wait_for(places.take(1), 1) == 1
