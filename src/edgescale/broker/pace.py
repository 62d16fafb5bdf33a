"""A pace: so many turns in a second, and no bursts."""

import asyncio


class Pace:
    """Gives turns, one after the other.

    Args:
        per_second: turns in a second at most; 0 for no limit.
    """

    def __init__(self, per_second: int) -> None:
        self._between_s = 1 / per_second if per_second else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for a turn; who asks first has it first."""
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + self._between_s
        await asyncio.sleep(turn - now)
