"""The deliveries in flight: the only state that a worker process has."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from edgescale.broker.model import Entry
from edgescale.broker.reconnect import pause


class Slots:
    """A lane's places for running tasks.

    Whoever waits longest is served first, so that neither new entries nor reclaimed ones can starve the others.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = asyncio.Semaphore(total)
        self._closed = False

    async def take(self, most: int) -> int:
        """Wait for a free slot, take up to `most`, and say how many; 0 once the slots are closed."""
        await self._free.acquire()
        if self._closed:
            self._free.release()
            return 0
        taken = 1
        while taken < most and not self._free.locked():
            await self._free.acquire()
            taken += 1
        return taken

    def release(self, count: int = 1) -> None:
        """Free so many."""
        for _ in range(count):
            self._free.release()

    def close(self) -> None:
        """Let nobody take one any more; those who wait are answered with 0."""
        self._closed = True
        # One more than there are: it wakes the first waiter, who passes it on.
        self._free.release()


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
    """Starts deliveries in slots that were taken for them, and keeps them until they end.

    Args:
        execute: does all that is to be done with one delivery; raises nothing but CancelledError.
    """

    def __init__(self, execute: Callable[[Delivery], Awaitable[None]]) -> None:
        self._execute = execute
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

    def start(self, entry: Entry, slots: Slots) -> None:
        """Begin with a delivery, in one slot that the caller has taken; the slot is freed at its end."""
        delivery = Delivery(entry)
        self._in_flight[delivery] = None
        self._none.clear()
        delivery.task = asyncio.get_running_loop().create_task(self._run(delivery, slots))

    async def _run(self, delivery: Delivery, slots: Slots) -> None:
        try:
            await self._execute(delivery)
        finally:
            del self._in_flight[delivery]
            slots.release()
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
