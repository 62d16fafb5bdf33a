"""Clock, randomness and ids: everything that differs from run to run has its home here.

Services are given a `Chance`; a simulation gives them a seeded one. For durations, use the running loop's `time()`.
"""

import random
import time
import uuid
from typing import Protocol


class Chance(Protocol):
    """What a process may not know beforehand."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 by this process's clock, which may be wrong and may step."""

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high, both included."""

    def new_id(self) -> str:
        """32 hexadecimal digits that nobody else has drawn."""


class SystemChance:
    """The machine's own clock and randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high, from the system's entropy."""
        return self._random.uniform(low, high)

    def new_id(self) -> str:
        """A random (version 4) UUID without dashes."""
        return uuid.uuid4().hex
