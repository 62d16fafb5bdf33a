"""The broker's clock, which stamps entries and by which tasks are due and expire, as a worker knows it."""

import asyncio


class BrokerClock:
    """What the server's clock shows, from when it was last heard of: late by no more than half a round trip."""

    def __init__(self) -> None:
        self._heard: tuple[int, float] | None = None

    def heard(self, now_ms: int) -> None:
        """A reply told the server's time, in milliseconds since 1970."""
        self._heard = now_ms, asyncio.get_running_loop().time()

    def now_ms(self) -> int | None:
        """Milliseconds since 1970 by the server's clock; None before it was ever heard of."""
        if self._heard is None:
            return None
        then_ms, heard_s = self._heard
        return then_ms + int((asyncio.get_running_loop().time() - heard_s) * 1000)
