"""What a toxic in force may do to what is on its way through the built-in proxy: hold it, spread it, end it.

An effect is made when its toxic is put on a link, and asked about every piece of every connection there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from random import Random  # noqa: TID251 - seeded by whoever makes the proxy
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

from edgescale.harness.chaos.dialogue import Request
from edgescale.harness.chaos.link import same_fault
from edgescale.harness.chaos.toxic import Direction, Toxic

T = TypeVar("T", bound=Toxic)


class End(IntEnum):
    """What becomes of a connection, the mildest first."""

    NONE = 0
    CLOSE = 1
    """Both ends are closed, behind what was let through."""
    RESET_CLIENT = 2
    """The client's end is reset; the server's is closed, behind what was let through."""
    RESET = 3
    """Both ends are reset."""


class Fate(NamedTuple):
    """What becomes of a piece, and then of its connection.

    Attributes:
        passes_bytes: only so many of its first bytes; None for all.
        end: of the connection.
    """

    passes_bytes: int | None = None
    end: End = End.NONE


PASSES = Fate()
VANISHES = Fate(0)


class Victim(Protocol):
    """A connection, as effects see it.

    Attributes:
        rng: draws what befalls it; it has its own, so that others change nothing.
    """

    rng: Random

    def end(self, how: End) -> None:
        """Have it end."""


@dataclass(slots=True, eq=False)
class Piece:
    """Bytes on their way: a request, a reply, or on links to others than Redis what arrived at once.

    Attributes:
        line: its connection.
        direction: which way it goes.
        at_s: when it arrived here, by the loop's clock.
        data: empty for the news that the sender has closed its end.
        request: that it is, or that it answers; None for anything else.
        is_message: it was pushed to a subscriber.
    """

    line: Victim
    direction: Direction
    at_s: float
    data: bytes
    request: Request | None = None
    is_message: bool = False

    @property
    def is_end(self) -> bool:
        """The sender has closed its end."""
        return not self.data


class Effect(Generic[T]):
    """A toxic in force on a link. As it stands, it does nothing.

    Args:
        toxic: what it does.
        struck: counts whom it befalls.

    Attributes:
        toxic: as it is now.
        over: set once it is lifted.
        outlasts: on connections where it was in force it stays so.
    """

    outlasts: ClassVar[bool] = False

    def __init__(self, toxic: T, struck: Counter[Toxic]) -> None:
        self.toxic = toxic
        self._struck = struck
        self.over = asyncio.Event()
        self._woken = asyncio.Event()

    def concerns(self, direction: Direction) -> bool:
        """Whether it may do anything to what goes this way."""
        return getattr(self.toxic, "direction", direction) == direction

    def delay_s(self, piece: Piece) -> float:
        """How much later a piece may go on. Asked once for each."""
        del piece
        return 0.0

    def fate(self, piece: Piece) -> Fate:
        """What becomes of a piece as it leaves. Asked once for each."""
        del piece
        return PASSES

    def steps(self, data: bytes, rng: Random) -> Iterator[bytes | float]:
        """How bytes leave: some of them, seconds to wait, some more."""
        del rng
        yield data

    async def admits(self) -> None:
        """Wait until what arrived may be taken in."""

    def heal(self, line: Victim) -> None:
        """The toxic is no longer in force on a connection."""

    def strike(self) -> None:
        """Count something that it befell."""
        self._struck[self.toxic] += 1

    async def change(self, toxic: Toxic) -> None:
        """Go on with other numbers; what is held goes on at once."""
        self.toxic = same_fault(self.toxic, toxic)
        self._woken.set()
        self._woken = asyncio.Event()

    def lift(self) -> None:
        """It is over; what is held goes on at once."""
        self.over.set()
        self._woken.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until it is changed or over."""
        if seconds > 0 and not self.over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
