"""Effects of toxics that know nothing but bytes."""

from collections import Counter
from collections.abc import Iterator
from random import Random  # noqa: TID251 - seeded by whoever makes the proxy
from typing import Any

from edgescale.harness.chaos.effect import PASSES, VANISHES, Effect, End, Fate, Piece, Victim
from edgescale.harness.chaos.toxic import Toxic
from edgescale.harness.chaos.toxics import (
    Bandwidth,
    BlackHole,
    HalfOpen,
    Latency,
    LimitBytes,
    Reset,
    SlowDrip,
    Stall,
)

# What takes longer than this is sent bit by bit.
_BANDWIDTH_STEP_S = 0.1


class Late(Effect[Latency]):
    """Holds everything for a while."""

    def delay_s(self, piece: Piece) -> float:
        """All but the news of an end."""
        if piece.is_end:
            return 0.0
        self.strike()
        jitter_ms = piece.line.rng.uniform(-self.toxic.jitter_ms, self.toxic.jitter_ms)
        return (self.toxic.latency_ms + jitter_ms) / 1000


class Narrow(Effect[Bandwidth]):
    """Waits for as long as bytes take, then passes them."""

    def steps(self, data: bytes, rng: Random) -> Iterator[bytes | float]:
        """In parts that each take a moment."""
        del rng
        self.strike()
        bytes_per_s = self.toxic.kilobytes_per_s * 1000
        size = int(bytes_per_s * _BANDWIDTH_STEP_S)
        for at in range(0, len(data), size):
            part = data[at : at + size]
            yield len(part) / bytes_per_s
            yield part


class Drip(Effect[SlowDrip]):
    """Cuts everything up."""

    def steps(self, data: bytes, rng: Random) -> Iterator[bytes | float]:
        """In pieces of drawn sizes."""
        self.strike()
        at = 0
        while at < len(data):
            size = self.toxic.piece_bytes + rng.randint(-self.toxic.spread_bytes, self.toxic.spread_bytes)
            yield data[at : at + size]
            yield self.toxic.pause_us / 1_000_000
            at += size


class Hole(Effect[BlackHole]):
    """Swallows bytes."""

    def fate(self, piece: Piece) -> Fate:
        """Nothing arrives but the news of an end."""
        if piece.is_end:
            return PASSES
        self.strike()
        return VANISHES

    def heal(self, line: Victim) -> None:
        """Whatever comes next would be out of its context."""
        line.end(End.CLOSE)


class CutCable(Effect[HalfOpen]):
    """Swallows everything."""

    outlasts = True

    def fate(self, piece: Piece) -> Fate:
        """Nothing arrives, be it the news of an end."""
        del piece
        self.strike()
        return VANISHES


class Refuse(Effect[Reset]):
    """Resets whoever sends."""

    def fate(self, piece: Piece) -> Fate:
        """Nothing arrives."""
        del piece
        self.strike()
        return Fate(0, End.RESET)


class Limit(Effect[LimitBytes]):
    """Counts what passes, by connection."""

    def __init__(self, toxic: LimitBytes, struck: Counter[Toxic]) -> None:
        super().__init__(toxic, struck)
        self._passed: Counter[Victim] = Counter()

    def fate(self, piece: Piece) -> Fate:
        """The last byte that may pass is the last one."""
        left = max(self.toxic.bytes_max - self._passed[piece.line], 0)
        if len(piece.data) < left or piece.is_end:
            self._passed[piece.line] += len(piece.data)
            return PASSES
        self.strike()
        return Fate(left, End.CLOSE)


class Deaf(Effect[Stall]):
    """Takes nothing in."""

    async def admits(self) -> None:
        """Not before it is over."""
        self.strike()
        await self.over.wait()


ON_BYTES: dict[type[Toxic], type[Effect[Any]]] = {
    Latency: Late,
    Bandwidth: Narrow,
    SlowDrip: Drip,
    BlackHole: Hole,
    HalfOpen: CutCable,
    Reset: Refuse,
    LimitBytes: Limit,
    Stall: Deaf,
}
