"""A map whose keys are kept in order: the shape of streams and of lists of pending entries."""

from bisect import bisect_left, insort
from typing import Generic, TypeVar

V = TypeVar("V")


class SortedMap(Generic[V]):
    """Values by number.

    New keys are nearly always the highest so far and old ones leave at the front, so that a list does as well as a
    tree would.

    Attributes:
        keys: ascending.
        values: by key.
    """

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[int] = []
        self.values: dict[int, V] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.keys)

    def put(self, key: int, value: V) -> None:
        """Set the value of a key, new or not."""
        if key not in self.values:
            if not self.keys or key > self.keys[-1]:
                self.keys.append(key)
            else:
                insort(self.keys, key)
        self.values[key] = value

    def pop(self, key: int) -> V | None:
        """Remove a key; its value, or None when there is none."""
        value = self.values.pop(key, None)
        if value is not None:
            del self.keys[bisect_left(self.keys, key)]
        return value

    def between(self, first: int, last: int, count: int = 0) -> list[int]:
        """The keys from first to last, both included, at most `count` of them unless that is 0."""
        if first == last:
            return [first] if first in self.values else []
        start = bisect_left(self.keys, first)
        end = bisect_left(self.keys, last + 1)
        return self.keys[start : min(end, start + count) if count else end]

    def between_reversed(self, first: int, last: int, count: int = 0) -> list[int]:
        """As `between`, from the highest down."""
        start = bisect_left(self.keys, first)
        end = bisect_left(self.keys, last + 1)
        return self.keys[max(start, end - count) if count else start : end][::-1]
