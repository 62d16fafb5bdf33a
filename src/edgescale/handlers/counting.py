"""Counting lines and words of a text that comes in pieces. The counts do not depend on where it was cut."""

import codecs

from edgescale.v1 import file_pb2

# What ends a line where people read; "\r\n" ends one line. Form feeds, vertical tabs and U+001C to U+001E do not,
# although str.splitlines takes them for ends. Source: The Unicode Standard, 5.8, "Newline Guidelines".
LINE_ENDS = "\n\r\x85\u2028\u2029"


class LineCounter:
    """Counts lines; an end of line at the very end of the text begins no further line."""

    def __init__(self) -> None:
        self._ends = 0
        self._last = ""

    @property
    def lines(self) -> int:
        """Lines so far, one that has only begun included."""
        return self._ends + (self._last != "" and self._last not in LINE_ENDS)

    def feed(self, text: str) -> None:
        """Count on."""
        if not text:
            return
        self._ends += sum(map(text.count, LINE_ENDS)) - text.count("\r\n")
        if self._last == "\r" and text[0] == "\n":
            # One end of line, cut in two.
            self._ends -= 1
        self._last = text[-1]


class WordCounter:
    """Counts what white space sets apart, as `wc -w` does; unlike UAX 29 that needs no more memory than one bit."""

    def __init__(self) -> None:
        self.words = 0
        self._inside = False

    def feed(self, text: str) -> None:
        """Count on."""
        if not text:
            return
        self.words += len(text.split())
        if self._inside and not text[0].isspace():
            # The first word began in the piece before.
            self.words -= 1
        self._inside = not text[-1].isspace()


class TextCounter:
    """Counts bytes that may be text: UTF-8 without NUL from the first byte to the last."""

    def __init__(self) -> None:
        # A byte order mark is no part of the text.
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8-sig")()
        self._lines = LineCounter()
        self._words = WordCounter()

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Count on; once the bytes have turned out to be no text, nothing more happens."""
        if self._decoder is None:
            return
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self._decoder = None
            return
        if "\0" in text:
            self._decoder = None
            return
        self._lines.feed(text)
        self._words.feed(text)

    def finish(self) -> file_pb2.TextCounts | None:
        """The counts after the last byte; None when the bytes are no text."""
        self.feed(b"", final=True)
        if self._decoder is None:
            return None
        return file_pb2.TextCounts(lines=self._lines.lines, words=self._words.words)


def count_lines(text: str) -> int:
    """The lines of a whole text; an empty one has none."""
    counter = LineCounter()
    counter.feed(text)
    return counter.lines
