"""Sorted sets: members ordered by score, then by name."""

from bisect import bisect_left, bisect_right, insort

_MEMBER_BYTES = 64


class SortedSet:
    """Members with scores.

    Attributes:
        scores: by member.
    """

    __slots__ = ("_ordered", "scores")

    def __init__(self) -> None:
        self.scores: dict[bytes, float] = {}
        self._ordered: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scores)

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return _MEMBER_BYTES * len(self.scores)

    def put(self, member: bytes, score: float) -> None:
        """Set the score of a member, new or not."""
        self.remove(member)
        self.scores[member] = score
        insort(self._ordered, (score, member))

    def remove(self, member: bytes) -> bool:
        """Remove a member; False when there is none."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self._ordered[bisect_left(self._ordered, (score, member))]
        return True

    def by_rank(self) -> list[tuple[float, bytes]]:
        """All scores and members, the lowest first."""
        return list(self._ordered)

    def by_score(
        self, low: float, high: float, *, without_low: bool = False, without_high: bool = False
    ) -> list[tuple[float, bytes]]:
        """Scores and members between two scores, the lowest first; the bounds are included unless said otherwise."""

        def score_of(pair: tuple[float, bytes]) -> float:
            return pair[0]

        start = (bisect_right if without_low else bisect_left)(self._ordered, low, key=score_of)
        end = (bisect_left if without_high else bisect_right)(self._ordered, high, key=score_of)
        return self._ordered[start:end]
