"""Keys, their values and their times to live."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

from edgescale.harness.simulation.redis.replies import ReplyError
from edgescale.harness.simulation.redis.stream import Stream
from edgescale.harness.simulation.redis.zset import SortedSet

Hash: TypeAlias = dict[bytes, bytes]
Value: TypeAlias = bytes | Hash | SortedSet | Stream
Kind = TypeVar("Kind", bytes, Hash, SortedSet, Stream)
WRONG_TYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"
TYPE_NAMES: dict[type, bytes] = {bytes: b"string", dict: b"hash", SortedSet: b"zset", Stream: b"stream"}

_LOOKED_AT, _EXPIRED_MANY = 20, 3


class Keyspace:
    """The one database. Plain data but for its two callbacks.

    Attributes:
        values: by key, in the order the keys were made.
        deadlines: of keys that expire, in milliseconds since 1970.

    Args:
        now_ms: the server's clock.
        on_expired: is told of a key that was removed because its time had come.
        on_stream: is told of the key of a stream that was made (True) or has gone (False).
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        on_expired: Callable[[bytes], None],
        on_stream: Callable[[bytes, bool], None],
    ) -> None:
        self.values: dict[bytes, Value] = {}
        self.deadlines: dict[bytes, int] = {}
        # Those that are still to be looked at in this round.
        self._may_have_expired: list[bytes] = []
        self._now_ms = now_ms
        self._on_expired = on_expired
        self._on_stream = on_stream

    def find(self, key: bytes) -> Value | None:
        """The value, None when there is none or its time has come."""
        deadline_ms = self.deadlines.get(key)
        if deadline_ms is not None and deadline_ms < self._now_ms():
            self._on_expired(key)
            self.remove(key)
            return None
        return self.values.get(key)

    def typed(self, key: bytes, kind: type[Kind]) -> Kind | None:
        """The value, which must be of this kind; None when there is none.

        Raises:
            ReplyError: it is of another kind.
        """
        value = self.find(key) if key in self.deadlines else self.values.get(key)
        if value is None or type(value) is kind:
            return value
        raise ReplyError(WRONG_TYPE)

    def put(self, key: bytes, value: Value) -> None:
        """Set the value of a key, new or not; a time to live stays as it is."""
        replaced = self.values.get(key)
        self.values[key] = value
        if type(replaced) is Stream:
            self._on_stream(key, False)
        elif type(value) is Stream:
            self._on_stream(key, True)

    def remove(self, key: bytes) -> bool:
        """Remove a key with its time to live; False when there is none."""
        value = self.values.pop(key, None)
        if value is None:
            return False
        self.deadlines.pop(key, None)
        if type(value) is Stream:
            self._on_stream(key, False)
        return True

    def clear(self) -> None:
        """Remove everything."""
        for key in list(self.values):
            self.remove(key)

    def live_keys(self) -> list[bytes]:
        """All keys whose time has not come, in the order they were made."""
        return [key for key in list(self.values) if self.find(key) is not None]

    def expire_some(self) -> None:
        """Look at some of the keys that expire, and at more as long as many of them have expired.

        Source: Redis, "How Redis expires keys": 20 at a time, again if more than a tenth of them had expired.
        """
        expired = _EXPIRED_MANY
        while expired >= _EXPIRED_MANY and self.deadlines:
            if not self._may_have_expired:
                self._may_have_expired = list(reversed(self.deadlines))
            some = [self._may_have_expired.pop() for _ in range(min(_LOOKED_AT, len(self._may_have_expired)))]
            expired = sum(key in self.deadlines and self.find(key) is None for key in some)

    def sizes(self) -> Iterator[int]:
        """What each key takes, in bytes, roughly."""
        for key, value in self.values.items():
            yield len(key) + 64 + _size(value)


def _size(value: Value) -> int:
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(len(field) + len(content) + 16 for field, content in value.items())
    return value.size
