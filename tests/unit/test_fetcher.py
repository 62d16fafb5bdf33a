"""The fetcher where its server may be silent, and where what it finds is in flight already."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from edgescale.broker.model import Entry
from edgescale.errors import BrokerUnavailable
from edgescale.telemetry.progress import Progress
from edgescale.worker.deliveries import Deliveries, Delivery
from edgescale.worker.fetcher import Fetcher
from edgescale.worker.places import Places, Slots
from edgescale.worker.share import Share

SLOTS = 8
ENTRY = Entry(0, "text", "1-0", 1, {b"request_id": b"r1"})


class Server:
    """Away or there; what it has for a reader whose reply was lost."""

    def __init__(self) -> None:
        self.away, self.asked, self.unheard = True, 0, self
        self.lost: list[Entry] = []

    async def read(self, *_: Any, count: int, **__: Any) -> list[Entry]:
        return await self._answer(count, [])

    async def find(self, *_: Any, count: int, **__: Any) -> list[Entry]:
        return await self._answer(count, self.lost)

    async def _answer(self, count: int, entries: list[Entry]) -> list[Entry]:
        self.asked = count
        if self.away:
            raise BrokerUnavailable("away")
        return entries


def fetcher_of(server: Server) -> tuple[Fetcher, Deliveries, list[str]]:
    begun: list[str] = []

    async def execute(delivery: Delivery) -> None:
        begun.append(delivery.entry.entry_id)
        await asyncio.Event().wait()

    async def hand_back(delivery: Delivery) -> None:
        raise AssertionError(f"{delivery} is not to be handed back")

    deliveries = Deliveries(execute, hand_back)
    places = Places("text", Slots(SLOTS), Share(SLOTS, {"text": 1}))
    fetcher = Fetcher(
        server,  # type: ignore[arg-type] # as much of a broker as it asks for
        SimpleNamespace(),  # type: ignore[arg-type] # it hands its reader on
        deliveries,
        places,
        partition=0,
        lane="text",
        consumer="worker-1",
        block_ms=60_000,
        progress=Progress(1_000),
    )
    return fetcher, deliveries, begun


async def test_a_server_that_may_be_silent_is_asked_with_one_place() -> None:
    server = Server()
    fetcher, _, _ = fetcher_of(server)
    for asked in (SLOTS, 1, 1):
        with pytest.raises(BrokerUnavailable):
            await fetcher.step()
        assert server.asked == asked


@pytest.mark.parametrize("on_its_way_back", [False, True])
async def test_what_is_found_and_in_flight_already_is_not_started_beside_itself(*, on_its_way_back: bool) -> None:
    server = Server()
    fetcher, deliveries, begun = fetcher_of(server)
    with pytest.raises(BrokerUnavailable):
        await fetcher.step()
    server.away, server.lost = False, [ENTRY]
    await fetcher.step()
    await asyncio.sleep(0)
    assert begun == ["1-0"]
    [delivery] = deliveries
    if on_its_way_back:
        await delivery.let_go()
    await fetcher.step()
    await asyncio.sleep(0)
    assert begun == ["1-0"]
    assert delivery.task is not None
    delivery.task.cancel()
