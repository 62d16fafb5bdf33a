"""RESP as tests need it: commands encoded, replies taken apart with their types kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CRLF = b"\r\n"
_AGGREGATES = frozenset(b"*%~>")
_BLOBS = frozenset(b"$=!")


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One value on the wire.

    Attributes:
        sign: the first byte, which tells the type.
        value: bytes, a list of frames, or None for a null of this sign.
    """

    sign: str
    value: Any

    def __repr__(self) -> str:
        return f"{self.sign}{self.value!r}"


def encode(words: Sequence[bytes]) -> bytes:
    """A command as clients send it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def decode(data: bytes) -> tuple[list[Frame], bytes]:
    """The frames that are complete, and the bytes after them."""
    frames: list[Frame] = []
    at = 0
    while True:
        parsed = _frame(data, at)
        if parsed is None:
            return frames, data[at:]
        frame, at = parsed
        frames.append(frame)


def _frame(data: bytes, at: int) -> tuple[Frame, int] | None:
    end = data.find(CRLF, at)
    if end < 0:
        return None
    sign, line, after = data[at], data[at + 1 : end], end + 2
    if sign in _BLOBS:
        return _blob(data, chr(sign), int(line), after)
    if sign in _AGGREGATES:
        return _aggregate(data, chr(sign), int(line), after)
    return Frame(chr(sign), line), after


def _blob(data: bytes, sign: str, size: int, at: int) -> tuple[Frame, int] | None:
    if size < 0:
        return Frame(sign, None), at
    if len(data) < at + size + 2:
        return None
    return Frame(sign, data[at : at + size]), at + size + 2


def _aggregate(data: bytes, sign: str, count: int, at: int) -> tuple[Frame, int] | None:
    if count < 0:
        return Frame(sign, None), at
    items = []
    for _ in range(count * 2 if sign == "%" else count):
        parsed = _frame(data, at)
        if parsed is None:
            return None
        item, at = parsed
        items.append(item)
    return Frame(sign, items), at
