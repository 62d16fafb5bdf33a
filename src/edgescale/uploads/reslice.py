"""Cuts a stream of bytes anew, into pieces of one size."""

from collections.abc import Iterator

from edgescale.config import CHUNK_BYTES_MAX


class Reslicer:
    """Turns pieces of any size into pieces of `size` bytes each, the last one excepted.

    Holds less than one piece between calls. A byte is copied at most once, and not at all when it arrives in a piece
    of the right size.

    Args:
        size: of the pieces that come out, in bytes; at least 1.
    """

    def __init__(self, size: int = CHUNK_BYTES_MAX) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self._size = size
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The whole pieces that are complete with these bytes; must be read to its end before the next call."""
        start = 0
        while self._held_bytes + len(data) - start >= self._size:
            end = start + self._size - self._held_bytes
            yield self._joined(data[start:end])
            start = end
        if start < len(data):
            self._held.append(data[start:])
            self._held_bytes += len(data) - start

    def flush(self) -> bytes | None:
        """What is left over, shorter than a whole piece; None when nothing is."""
        return self._joined(b"") if self._held else None

    def _joined(self, last: bytes) -> bytes:
        if not self._held:
            return last
        piece = b"".join((*self._held, last))
        self._held.clear()
        self._held_bytes = 0
        return piece
