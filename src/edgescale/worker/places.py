"""A lane's places in a worker: slots of its own, and permits of the share that it has with the worker's other lanes."""

import asyncio

from edgescale.worker.share import Share


class Slots:
    """A lane's places for running tasks.

    Whoever waits longest is served first, so that neither new entries nor reclaimed ones can starve the others.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = asyncio.Semaphore(total)
        self._taken = 0
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
        self._taken += taken
        assert self._taken <= self.total, "more slots were taken than there are"  # noqa: S101 - an invariant
        return taken

    def release(self, count: int = 1) -> None:
        """Free so many."""
        self._taken -= count
        assert self._taken >= 0, "a slot was freed twice"  # noqa: S101 - an invariant
        for _ in range(count):
            self._free.release()

    def close(self) -> None:
        """Let nobody take one any more; those who wait are answered with 0."""
        self._closed = True
        # One more than there are: it wakes the first waiter, who passes it on.
        self._free.release()


class Places:
    """What a lane's tasks run in: each in a slot of the lane, and with a permit of the share.

    A slot is always taken first. Who holds a permit runs, or asks the broker for what to run, and waits for neither; so
    whoever waits for a permit gets one.

    Args:
        lane: whose places these are.
        slots: of the lane.
        share: of the worker.
    """

    def __init__(self, lane: str, slots: Slots, share: Share) -> None:
        self._lane = lane
        self._slots = slots
        self._share = share

    async def take(self, most: int) -> int:
        """Wait for a place, take up to `most`, and say how many; 0 once they are closed."""
        taken, permits = await self._slots.take(most), 0
        try:
            if taken:
                permits = await self._share.take(self._lane, taken)
        finally:
            self._slots.release(taken - permits)
        return permits

    def release(self, count: int = 1) -> None:
        """Free so many."""
        self._slots.release(count)
        self._share.release(count)

    async def take_slot(self) -> int:
        """Wait for a slot alone, for who may have to wait long for what to run; 0 once they are closed."""
        return await self._slots.take(1)

    def release_slot(self) -> None:
        """Free a slot that has no permit."""
        self._slots.release()

    def ask(self) -> "asyncio.Future[bool]":
        """Ask for the permit of a slot that was taken alone; see `Share.ask`."""
        return self._share.ask(self._lane)

    async def granted(self, answer: "asyncio.Future[bool]") -> bool:
        """Wait for that permit; see `Share.granted`."""
        return await self._share.granted(answer)

    def close(self) -> None:
        """Let nobody take a place any more."""
        self._slots.close()
        self._share.close()
