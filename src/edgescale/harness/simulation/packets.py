"""Bytes on their way, and what may become of them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What becomes of a packet."""

    HOLD = "hold"
    """It waits, and all behind it, until no rule holds it any more: a black hole, a partition."""
    RESET = "reset"
    """Both ends see a reset; what is on its way is gone."""


@dataclass(frozen=True, slots=True)
class Packet:
    """Some bytes on their way.

    Attributes:
        source, target: names of nodes.
        data: as written; empty for the end of the stream.
        number: of the packet in its direction, from 0.
        bytes_before: sent in this direction before it.
    """

    source: str
    target: str
    data: bytes
    number: int
    bytes_before: int


# A verdict, a delay in seconds beside the usual latency, or None for no opinion.
Rule = Callable[[Packet], Verdict | float | None]
