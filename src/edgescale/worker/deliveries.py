"""The deliveries in flight: the only state that a worker process has."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from edgescale.broker.model import Entry
from edgescale.broker.reconnect import pause
from edgescale.worker.places import Places


@dataclass(slots=True, eq=False)
class Delivery:
    """One entry in this worker's hands.

    Attributes:
        entry: as it was delivered last; it may come again while it is in flight.
        settling: True from the moment its outcome is on the way to the broker; from then on it is not interrupted.
        lost: True when the broker says that somebody else owns it.
        handed_back: True from the moment it is on its way back; from then on its lease is not renewed.
        renewal: held while its lease is being renewed.
    """

    entry: Entry
    settling: bool = False
    lost: bool = False
    handed_back: bool = False
    renewal: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def interrupt(self) -> bool:
        """Stop its handler, unless the outcome is on its way already."""
        return not self.settling and self.task is not None and self.task.cancel()

    async def let_go(self) -> None:
        """Stop its renewal; to be called before it is handed back.

        A renewal that overtook the hand-back, or came late, would keep everybody from the entry for a whole lease.
        """
        self.handed_back = True
        async with self.renewal:
            pass


class Deliveries:
    """Starts deliveries in places that were taken for them, and keeps them until they end.

    Args:
        execute: does all that is to be done with one delivery; raises nothing but CancelledError.
        hand_back: lets others have one that cannot be begun any more; raises nothing but CancelledError.
    """

    def __init__(
        self, execute: Callable[[Delivery], Awaitable[None]], hand_back: Callable[[Delivery], Awaitable[None]]
    ) -> None:
        self._execute = execute
        self._hand_back = hand_back
        # A dict, for its order. An entry that is on its way back may be in flight a second time already.
        self._in_flight: dict[Delivery, None] = {}
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._in_flight)

    def __iter__(self) -> Iterator[Delivery]:
        """Those in flight, oldest first."""
        return iter(list(self._in_flight))

    def adopt(self, entry: Entry) -> bool:
        """Go on with an entry that came again while it is in flight here, neither lost nor on its way back.

        It goes on under the count that it came with, by which the broker knows it now. False when it is not in flight.
        """
        for delivery in self:
            if _key(delivery.entry) == _key(entry) and not delivery.lost and not delivery.handed_back:
                delivery.entry = entry
                return True
        return False

    def has(self, entry: Entry) -> bool:
        """Whether the entry is in flight, be it lost or on its way back."""
        return any(_key(delivery.entry) == _key(entry) for delivery in self)

    def start(self, entry: Entry, places: Places, asked: "asyncio.Future[bool] | None" = None) -> None:
        """Begin with a delivery, in one place that the caller has taken; the place is freed at its end.

        Args:
            entry: as it was delivered.
            places: of its lane.
            asked: where the caller has taken a slot only: its permit, which is waited for. It is in flight all the
                while, so that its lease is renewed.
        """
        delivery = Delivery(entry)
        self._in_flight[delivery] = None
        self._none.clear()
        delivery.task = asyncio.get_running_loop().create_task(self._run(delivery, places, asked))

    async def _run(self, delivery: Delivery, places: Places, asked: "asyncio.Future[bool] | None") -> None:
        permitted = asked is None
        try:
            if asked is not None:
                permitted = await places.granted(asked)
            if permitted:
                await self._execute(delivery)
            else:
                # A drain has begun before its turn came.
                delivery.settling = True
                await self._hand_back(delivery)
        finally:
            del self._in_flight[delivery]
            if permitted:
                places.release()
            else:
                places.release_slot()
            if not self._in_flight:
                self._none.set()

    async def finish(self, grace_ms: float, *, settle_grace_ms: float) -> list[Delivery]:
        """Wait for all to end; stop those that are not done in time, and return them.

        Args:
            grace_ms: for handlers.
            settle_grace_ms: for outcomes on their way to the broker; after that they are dropped, and their entries
                are reclaimed after the lease.
        """
        await pause(grace_ms, self._none)
        # Not those that begin from here on: they would be stopped, and nobody would hand them back.
        ending = [delivery.task for delivery in self if delivery.task is not None]
        interrupted = [delivery for delivery in self if delivery.interrupt()]
        if ending:
            await asyncio.wait(ending, timeout=settle_grace_ms / 1000)
        for task in ending:
            task.cancel()
        return interrupted


def _key(entry: Entry) -> tuple[int, str, str]:
    return entry.partition, entry.lane, entry.entry_id
