"""multipart/form-data, parsed as it arrives (source: RFC 7578, RFC 2046).

The push parser does the work; this adapter turns its callbacks into events, and holds the form to what an upload may
look like: short fields first, then one file, then nothing. Nothing of the file is kept here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from edgescale.errors import InvalidInput, TooLarge, UnsupportedMediaType

FILE_FIELD = "file"
FIELDS = ("sha256", "name")
# The longest file name that is kept as data, and the header line around it.
FIELD_BYTES_MAX = 16 * 1024
HEADER_BYTES_MAX = FIELD_BYTES_MAX + 256
HEADERS_MAX = 8
# Everything that is not the file: delimiters, headers, fields, preamble and epilogue.
OVERHEAD_BYTES_MAX = 64 * 1024
PLAIN_ENCODINGS = ("", "7bit", "8bit", "binary")


@dataclass(frozen=True, slots=True)
class FileOpened:
    """The file's part begins.

    Attributes:
        filename: as sent; never empty.
        content_type: as sent, or empty.
        fields: the fields before it, by name.
    """

    filename: str
    content_type: str
    fields: dict[str, str]


Event = FileOpened | bytes


class MultipartReader:
    """One form, fed piece by piece.

    Args:
        content_type: the request's Content-Type.

    Raises:
        InvalidInput: no boundary, or an impossible one.
    """

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise InvalidInput("Content-Type", "multipart/form-data needs a boundary")
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            self._parser = MultipartParser(
                boundary,
                callbacks,  # type: ignore[arg-type]  # its TypedDict cannot be spelled outside TYPE_CHECKING
                max_header_count=HEADERS_MAX,
                max_header_size=HEADER_BYTES_MAX,
            )
        except FormParserError as error:
            raise InvalidInput("Content-Type", "the boundary is too long") from error
        self._events: list[Event] = []
        self._fields: dict[str, str] = {}
        self._headers: dict[str, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._field: str | None = None
        self._value = b""
        self._overhead_bytes = 0
        self._begun = False
        self._file_seen = False
        self._in_file = False
        self._complete = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """What this piece completes: the file's opening, once, and the file's bytes, in order.

        Raises:
            InvalidInput: the form is malformed, or not what an upload looks like.
        """
        self._overhead_bytes += len(piece)
        try:
            self._parser.write(self._begin(piece))
        except FormParserError as error:
            raise InvalidInput("body", "is no well-formed multipart/form-data") from error
        events, self._events = self._events, []
        self._overhead_bytes -= sum(len(event) for event in events if isinstance(event, bytes))
        if self._overhead_bytes > OVERHEAD_BYTES_MAX:
            raise TooLarge("body", f"has over {OVERHEAD_BYTES_MAX} bytes beside the file")
        return iter(events)

    def _begin(self, piece: bytes) -> bytes:
        # The parser skips a preamble that comes in one piece with the first delimiter and refuses one that does not.
        # No form has a preamble, so all are refused; empty lines before the first delimiter are common.
        if self._begun:
            return piece
        piece = piece.lstrip(b"\r\n")
        self._begun = bool(piece)
        if self._begun and not piece.startswith(b"-"):
            raise InvalidInput("body", "does not begin with the boundary")
        return piece

    def close(self) -> None:
        """Check that the form was whole.

        Raises:
            InvalidInput: it breaks off, or holds no file.
        """
        if not self._complete:
            raise InvalidInput("body", "breaks off before the closing boundary")
        if not self._file_seen:
            raise InvalidInput(FILE_FIELD, "is required: one part of this name, with a filename")

    def _on_part_begin(self) -> None:
        self._headers = {}

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = _text("name", options.get(b"name", b""))
        encoding = self._headers.get("content-transfer-encoding", b"").decode("latin-1").strip().lower()
        if encoding not in PLAIN_ENCODINGS:
            raise UnsupportedMediaType(name or "body", f"parts encoded as {encoding[:40]!r} are not read here")
        if name == FILE_FIELD:
            self._open_file(_text("filename", options.get(b"filename", b"")))
        else:
            self._open_field(name)

    def _open_file(self, filename: str) -> None:
        if self._file_seen:
            raise InvalidInput(FILE_FIELD, "one file a request")
        if not filename:
            raise InvalidInput(FILE_FIELD, "needs a filename; an empty one means that no file was chosen")
        content_type = self._headers.get("content-type", b"").decode("latin-1").strip()
        self._file_seen = self._in_file = True
        self._events.append(FileOpened(filename, content_type, self._fields))

    def _open_field(self, name: str) -> None:
        if name not in FIELDS:
            raise InvalidInput(
                name[:100] or "body", f"is not known here; the parts are {', '.join(FIELDS)}, {FILE_FIELD}"
            )
        if self._file_seen:
            raise InvalidInput(name, "must come before the file, whose bytes are on their way already")
        if name in self._fields:
            raise InvalidInput(name, "is given twice")
        self._field, self._value = name, b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._events.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > FIELD_BYTES_MAX:
            raise TooLarge(self._field or "body", f"is over the limit of {FIELD_BYTES_MAX} bytes")

    def _on_part_end(self) -> None:
        if self._field is not None:
            self._fields[self._field] = _text(self._field, self._value)
        self._field, self._in_file = None, False

    def _on_end(self) -> None:
        self._complete = True


def _text(field: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(field, "must be UTF-8") from None
