"""How much one process takes on at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from edgescale.errors import NotServing, TooManyRequests


class Admission:
    """Counts what is under way, and refuses beyond a limit. It is closed until it is opened.

    gRPC's own `maximum_concurrent_rpcs` stops limiting after rejections, so the counting is done here.
    Source: grpc issue 41531.

    Args:
        what: for the message, such as "requests".
        most: how many may be under way.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what = what
        self._most = most
        self._under_way = 0
        self._closed_because = "is not ready yet"
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def under_way(self) -> int:
        """How many are under way."""
        return self._under_way

    def open(self) -> None:
        """Take requests from now on."""
        self._closed_because = ""

    def close(self) -> None:
        """Refuse everything new from now on."""
        self._closed_because = "is about to stop"

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one.

        Raises:
            TooManyRequests: all places are taken.
            NotServing: it is closed.
        """
        if self._closed_because:
            raise NotServing(f"this server {self._closed_because}")
        if self._under_way >= self._most:
            raise TooManyRequests(f"this server already has {self._most} {self._what} under way")
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()
