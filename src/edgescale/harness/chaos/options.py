"""What a fault may be told: its options, each with what is allowed, and what holds where nothing is said.

The unit of a number is the end of its name, as everywhere: `high_ms`, `bytes_per_s`.
"""

from dataclasses import dataclass

from edgescale.harness.chaos.fields import known, whole
from edgescale.harness.chaos.terms import LANES
from edgescale.harness.chaos.toxic import ANY, scripts


@dataclass(frozen=True, slots=True)
class Words:
    """An option that is one of some words.

    Attributes:
        allowed: each of them.
        default: where nothing is said.
    """

    allowed: tuple[str, ...]
    default: str

    def check(self, where: str, value: object) -> None:
        """See that a value is allowed.

        Raises:
            ConfigError: it is not; says what is.
        """
        known(where, value, self.allowed)

    def __str__(self) -> str:
        """For people."""
        return f"{', '.join(self.allowed)} ({self.default})"


@dataclass(frozen=True, slots=True)
class Numbers:
    """An option that is a whole number.

    Attributes:
        low, high: bounds, which are allowed.
        default: where nothing is said.
    """

    low: int
    high: int
    default: int

    def check(self, where: str, value: object) -> None:
        """See that a value is allowed.

        Raises:
            ConfigError: it is not; says what is.
        """
        whole(self.low, self.high)(where, value)

    def __str__(self) -> str:
        """For people."""
        return f"{self.low} to {self.high} ({self.default})"


Allowed = Words | Numbers

# What requests to Redis are told apart by: our scripts, and the commands that services send beside them.
SENT = ("XREADGROUP", "XRANGE", "XLEN", "XDEL", "XTRIM", "HGET", "HGETALL", "SSUBSCRIBE", "TIME", "PING", "EVALSHA")
COMMAND = Words((ANY, *scripts(), *SENT), ANY)
LANE = Words(LANES, "text")
TIMES = Numbers(1, 1_000, 1)
