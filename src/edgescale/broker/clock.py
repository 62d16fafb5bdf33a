"""The broker's clock, which stamps entries and by which tasks are due and expire, as a worker knows it."""

import asyncio

# A reply that took longer says too little, unless nothing better was heard for a while.
PROMPT_S, FRESH_S = 0.1, 10.0


class BrokerClock:
    """What the server's clock shows, by what was heard of it: never ahead, and behind by a round trip at most."""

    def __init__(self) -> None:
        self._told_ms = 0
        self._heard_s: float | None = None

    @staticmethod
    def ask() -> float:
        """To be called before the server is asked; `heard` takes it."""
        return asyncio.get_running_loop().time()

    def heard(self, told_ms: int, asked: float) -> None:
        """A reply told the server's time, in milliseconds since 1970."""
        now_s = asyncio.get_running_loop().time()
        fresh = self._heard_s is not None and now_s - self._heard_s < FRESH_S
        if now_s - asked <= PROMPT_S or not fresh:
            self._told_ms, self._heard_s = told_ms, now_s

    def now_ms(self) -> int | None:
        """Milliseconds since 1970 by the server's clock; None before it was ever heard of."""
        if self._heard_s is None:
            return None
        return self._told_ms + int((asyncio.get_running_loop().time() - self._heard_s) * 1000)
