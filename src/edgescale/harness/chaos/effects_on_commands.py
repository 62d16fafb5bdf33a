"""Effects of toxics that are aimed at requests and messages of Redis."""

from collections import Counter
from typing import Any, TypeVar

from edgescale.harness.chaos.dialogue import Request
from edgescale.harness.chaos.effect import PASSES, VANISHES, Effect, End, Fate, Piece
from edgescale.harness.chaos.toxic import Direction, Toxic
from edgescale.harness.chaos.toxics import Aimed, Delay, ExecuteThenCut, MessageLoss, RequestLost, ResetInBatch

A = TypeVar("A", bound=Aimed)


class AimedEffect(Effect[A]):
    """Counts the requests that match, over all connections."""

    def __init__(self, toxic: A, struck: Counter[Toxic]) -> None:
        super().__init__(toxic, struck)
        self._matched = 0

    def concerns(self, direction: Direction) -> bool:
        """Requests only."""
        return direction == "upstream"

    def befalls(self, request: Request | None) -> bool:
        """Whether this request is one of those; ask once for each."""
        if request is None or not self.toxic.matches(request.frame):
            return False
        self._matched += 1
        return 0 <= self._matched - self.toxic.nth < self.toxic.times


class CutAfter(AimedEffect[ExecuteThenCut]):
    """Remembers the requests whose replies must not arrive."""

    def __init__(self, toxic: ExecuteThenCut, struck: Counter[Toxic]) -> None:
        super().__init__(toxic, struck)
        self._doomed: set[Request] = set()

    def concerns(self, direction: Direction) -> bool:
        """Requests, to choose from, and replies, to cut."""
        return bool(direction)

    def fate(self, piece: Piece) -> Fate:
        """A chosen request passes, its reply does not."""
        if piece.direction == "upstream":
            if piece.request is not None and self.befalls(piece.request):
                self._doomed.add(piece.request)
            return PASSES
        if piece.request not in self._doomed:
            return PASSES
        self.strike()
        return Fate(0, End.CLOSE)


class CutBefore(AimedEffect[RequestLost]):
    """Resets the client in place of a request."""

    def fate(self, piece: Piece) -> Fate:
        """Not a byte of a chosen request passes."""
        if not self.befalls(piece.request):
            return PASSES
        self.strike()
        return Fate(0, End.RESET_CLIENT)


class Hold(AimedEffect[Delay]):
    """Holds a request, and all behind it."""

    def delay_s(self, piece: Piece) -> float:
        """A chosen request."""
        if not self.befalls(piece.request):
            return 0.0
        self.strike()
        return self.toxic.delay_ms / 1000


class CutBatch(Effect[ResetInBatch]):
    """Resets the client in the midst of what it sent in one go."""

    def __init__(self, toxic: ResetInBatch, struck: Counter[Toxic]) -> None:
        super().__init__(toxic, struck)
        self._cut = 0

    def fate(self, piece: Piece) -> Fate:
        """The first request of a pipeline that is one too many does not pass."""
        is_next = piece.direction == "upstream" and piece.request and piece.request.ahead == self.toxic.after_requests
        if not is_next or self._cut == self.toxic.times:
            return PASSES
        self._cut += 1
        self.strike()
        return Fate(0, End.RESET_CLIENT)


class Lossy(Effect[MessageLoss]):
    """Drops messages, drawn one by one."""

    def fate(self, piece: Piece) -> Fate:
        """Nothing but messages is lost."""
        if not piece.is_message or piece.line.rng.random() >= self.toxic.share:
            return PASSES
        self.strike()
        return VANISHES


ON_COMMANDS: dict[type[Toxic], type[Effect[Any]]] = {
    ExecuteThenCut: CutAfter,
    RequestLost: CutBefore,
    Delay: Hold,
    ResetInBatch: CutBatch,
    MessageLoss: Lossy,
}
