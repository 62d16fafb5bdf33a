"""What the reader of one partition has yet to read again."""

import asyncio

from edgescale.telemetry.progress import Progress


class Stale:
    """Request ids of one partition whose stored results are to be read again.

    Args:
        progress: of their reader; its time stands still while there is nothing to read.
    """

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._request_ids: set[str] = set()
        self._some = asyncio.Event()

    def mark(self, request_id: str) -> None:
        """Have it read in the next round."""
        self._request_ids.add(request_id)
        self._some.set()

    async def take(self) -> list[str]:
        """All of them, in order, as soon as there are any.

        What is marked from here on is for the next round: the replies to come may be older than that.
        """
        with self.progress.waiting():
            await self._some.wait()
        request_ids, self._request_ids = sorted(self._request_ids), set()
        self._some.clear()
        return request_ids
