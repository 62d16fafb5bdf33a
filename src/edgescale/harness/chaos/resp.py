"""Where one request or reply of Redis ends and the next one begins, however the bytes arrive.

The bytes are cut, not changed: what was fed comes out again, in frames. Of what a frame says, only its first word is
read. Source: Redis serialization protocol, versions 2 and 3; its streamed types, which no server sends, are not known.
"""

from typing import NamedTuple

CRLF = b"\r\n"
_LINES = frozenset(b"+-:,#_(")
_BLOBS = frozenset(b"$=!")
_LISTS = frozenset(b"*~>")
_MAPS = frozenset(b"%|")
_ATTRIBUTE = ord("|")
_REQUEST = ord("*")
# No line is longer that Redis takes or sends. Source: Redis, PROTO_INLINE_MAX_SIZE.
LINE_BYTES_MAX = 64 * 1024


class NotResp(Exception):
    """These bytes are no RESP, and nobody can tell where the next frame begins."""


class Frame(NamedTuple):
    """One request, or one reply.

    Attributes:
        raw: all of its bytes.
        sign: the first of them, which tells its type; empty for a command that was typed as a line.
        size: how many values or words it holds; 0 for what is no list, and for a null.
        head: the first of them, where it is a string.
    """

    raw: bytes
    sign: bytes
    size: int = 0
    head: bytes = b""


class RespSplitter:
    """Cuts a stream of bytes into frames. A frame may be as long as it likes; it is kept until it is whole.

    Args:
        requests: the stream is a client's, who may type commands as plain lines, too.
    """

    def __init__(self, *, requests: bool) -> None:
        self._requests = requests
        self._buffer = bytearray()
        self._begin()

    def _begin(self) -> None:
        self._at = 0
        # Values that have yet to come before the frame is whole; each list adds its own, however deep it is.
        self._missing = 1
        self._values = 0
        self._sign = b""
        self._size = 0
        self._head = b""

    def take_back(self) -> bytes:
        """What was fed and has not come out; it begins anew with what is fed next."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._begin()
        return rest

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._buffer += data

    def next(self) -> Frame | None:
        """The next frame, None when it is not whole yet.

        Raises:
            NotResp: no frame begins here; there is nothing left to do but to take it back.
        """
        while self._missing:
            if not self._step():
                return None
        frame = Frame(bytes(self._buffer[: self._at]), self._sign, self._size, self._head)
        del self._buffer[: self._at]
        self._begin()
        return frame

    def _step(self) -> bool:
        """Go behind the next value, into it where it is a list; False when it is not all there."""
        end = self._buffer.find(b"\n", self._at)
        if end < 0 or end - self._at > LINE_BYTES_MAX:
            if len(self._buffer) - self._at > LINE_BYTES_MAX:
                raise NotResp("no line ends here")
            return False
        if self._requests and not self._values and self._buffer[self._at] != _REQUEST:
            self._typed(bytes(self._buffer[:end]), end + 1)
            return True
        line = bytes(self._buffer[self._at : end + 1])
        if not line.endswith(CRLF):
            raise NotResp(f"this line does not end as lines do: {line[:20]!r}")
        return self._value(line[0], line[1:-2], end + 1)

    def _typed(self, line: bytes, after: int) -> None:
        words = line.split()
        self._size, self._head = len(words), words[0] if words else b""
        self._at, self._missing = after, 0

    def _value(self, sign: int, text: bytes, after: int) -> bool:
        word, count = text, 0
        if sign in _BLOBS:
            size = _length(text)
            blob_end = after + size + len(CRLF) if size >= 0 else after
            if len(self._buffer) < blob_end:
                return False
            word = bytes(self._buffer[after : max(blob_end - len(CRLF), after)]) if self._values == 1 else b""
            after = blob_end
            if size >= 0 and self._buffer[after - len(CRLF) : after] != CRLF:
                raise NotResp("a string is longer than it says")
        elif sign in _LISTS or sign in _MAPS:
            word, count = b"", max(_length(text), 0)
        elif sign not in _LINES:
            raise NotResp(f"no value begins with {chr(sign)!r}")
        self._count(sign, count, word)
        self._at = after
        return True

    def _count(self, sign: int, count: int, word: bytes) -> None:
        if self._values == 0:
            self._sign, self._size = bytes((sign,)), count
        elif self._values == 1 and self._size:
            self._head = word
        self._values += 1
        # An attribute stands before a value, and is none.
        self._missing += (2 * count if sign in _MAPS else count) - (sign != _ATTRIBUTE)


def _length(text: bytes) -> int:
    if not text.isdigit() and text != b"-1":
        raise NotResp(f"this is no length: {text[:20]!r}")
    return int(text)
