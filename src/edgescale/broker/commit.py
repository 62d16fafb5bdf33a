"""Group commit: what arrives while a round trip is under way shares the next one.

There is no timer. A lone item goes out in the loop turn it came in; under load, batches grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from edgescale.errors import EdgeScaleError, InternalError, Unavailable

Item = TypeVar("Item")
Reply = TypeVar("Reply")


class GroupCommit(Generic[Item, Reply]):
    """Calls `flush` with the items gathered, one call at a time, and gives each caller its own reply.

    A caller that is cancelled abandons its reply, not the round trip: the item was given and is sent.

    Args:
        flush: takes items in order and returns as many replies, in that order.
        weigh: an item's share of `weight_max`, such as its bytes.
        items_max: items in one call at most.
        weight_max: weight of one call at most, unless a single item is heavier.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Reply]]],
        *,
        weigh: Callable[[Item], int] = lambda _: 1,
        items_max: int = 256,
        weight_max: int = 4 * 1024 * 1024,
    ) -> None:
        self._flush = flush
        self._weigh = weigh
        self._items_max = items_max
        self._weight_max = weight_max
        self._waiting: deque[tuple[Item, asyncio.Future[Reply]]] = deque()
        self._flusher: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Reply:
        """The reply to this item.

        Raises:
            EdgeScaleError: whatever the flush raised; all items of its call get the same.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((item, future))
        if self._flusher is None:
            self._flusher = loop.create_task(self._flush_all())
        return await future

    async def drain(self) -> None:
        """Wait until everything given so far has gone out."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush_all(self) -> None:
        try:
            while self._waiting:
                await self._flush_batch(self._next_batch())
        finally:
            self._flusher = None
            # Somebody is left here only when the loop is closing.
            _fail(self._waiting, InternalError())
            self._waiting.clear()

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Reply]]]:
        batch = [self._waiting.popleft()]
        weight = self._weigh(batch[0][0])
        while self._waiting and len(batch) < self._items_max:
            weight += self._weigh(self._waiting[0][0])
            if weight > self._weight_max:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _flush_batch(self, batch: Sequence[tuple[Item, asyncio.Future[Reply]]]) -> None:
        try:
            replies = await self._flush([item for item, _ in batch])
            answered = list(zip(batch, replies, strict=True))
        except InternalError as error:
            await self._part(batch, error)
        except EdgeScaleError as error:
            _fail([*batch, *self._given_up(error)], error)
        except Exception as error:  # noqa: BLE001 - a defect of one item must neither strand nor fail the others
            defect = InternalError()
            defect.__cause__ = error
            await self._part(batch, defect)
        except BaseException:
            # The loop is closing: nobody may be left waiting.
            _fail(batch, InternalError())
            raise
        else:
            for (_, future), reply in answered:
                if not future.done():
                    future.set_result(reply)

    def _given_up(self, error: EdgeScaleError) -> Sequence[tuple[Item, asyncio.Future[Reply]]]:
        """Who else hears of it now: with the server away, those behind would time out one batch after the other."""
        waiting = list(self._waiting) if isinstance(error, Unavailable) else []
        if waiting:
            self._waiting.clear()
        return waiting

    async def _part(self, batch: Sequence[tuple[Item, asyncio.Future[Reply]]], error: InternalError) -> None:
        """One item that cannot be sent must not take its neighbours along: send each by itself."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        for single in batch:
            await self._flush_batch([single])


def _fail(batch: Sequence[tuple[Item, asyncio.Future[Reply]]], error: EdgeScaleError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
