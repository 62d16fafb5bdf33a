"""Forms that are sent to do harm: each ends in a refusal before it has cost more than a bounded amount of memory."""

from collections.abc import Callable

import pytest

from edgescale.errors import EdgeScaleError, InvalidInput, TooLarge, UnsupportedMediaType
from edgescale.gateway.multipart import FIELD_BYTES_MAX, HEADER_BYTES_MAX, OVERHEAD_BYTES_MAX, MultipartReader

CONTENT_TYPE = "multipart/form-data; boundary=b0"
FILE = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'


def fed_until_refused(opening: bytes, endless: Callable[[int], bytes]) -> tuple[EdgeScaleError, int]:
    """The error, and how many bytes it took to come."""
    reader = MultipartReader(CONTENT_TYPE)
    taken = len(opening)
    reader.feed(opening)
    for number in range(100_000):
        piece = endless(number)
        taken += len(piece)
        try:
            reader.feed(piece)
        except EdgeScaleError as error:
            return error, taken
    raise AssertionError("never refused")


@pytest.mark.parametrize(
    ("opening", "endless", "bytes_max"),
    [
        (FILE, lambda n: b"X-%d: y\r\n" % n, 2_000),
        (FILE, lambda _: b"X" * 100, HEADER_BYTES_MAX + 1_000),
        (FILE + b"X: ", lambda _: b"y" * 100, HEADER_BYTES_MAX + 1_000),
        (b"", lambda _: b"\r\n", OVERHEAD_BYTES_MAX + 1_000),
        (b"", lambda _: b"preamble", 100),
        (b'--b0\r\nContent-Disposition: form-data; name="name"\r\n\r\n', lambda _: b"n" * 100, FIELD_BYTES_MAX + 1_000),
        (FILE + b"\r\nx\r\n--b0--\r\n", lambda _: b"epilogue", OVERHEAD_BYTES_MAX + 1_000),
        (FILE + b"\r\nx\r\n--b0", lambda _: b" \t", OVERHEAD_BYTES_MAX + 1_000),
    ],
    ids=["headers", "header name", "header value", "empty lines", "preamble", "field", "epilogue", "padding"],
)
def test_what_never_ends_is_refused(opening: bytes, endless: Callable[[int], bytes], bytes_max: int) -> None:
    error, taken = fed_until_refused(opening, endless)

    assert isinstance(error, InvalidInput)
    assert taken <= bytes_max


def test_a_large_file_is_no_overhead() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(FILE + b"\r\n")

    passed_on = sum(len(event) for _ in range(100) for event in reader.feed(b"\r" * 10_000) if isinstance(event, bytes))

    assert passed_on > 990_000


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "gzip"])
def test_an_encoded_part_is_refused(encoding: str) -> None:
    reader = MultipartReader(CONTENT_TYPE)

    with pytest.raises(UnsupportedMediaType, match="file"):
        reader.feed(FILE + b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n")


def test_a_field_at_the_limit_passes_and_one_over_it_is_too_large() -> None:
    opening = b'--b0\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(opening + b"n" * FIELD_BYTES_MAX)

    with pytest.raises(TooLarge, match="name"):
        reader.feed(b"n" + b"\r\n--b0")


@pytest.mark.parametrize("body", [b"", b"\r\n", b"--b0\r\n", FILE + b"\r\nx", FILE + b"\r\nx\r\n--b0", b"--b0-"])
def test_a_form_that_breaks_off_is_refused(body: bytes) -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(body)

    with pytest.raises(InvalidInput, match="breaks off"):
        reader.close()


@pytest.mark.parametrize(
    "body", [b"--other\r\n", b"--b0x", b"--b0\r\nno header\r\n\r\n", b"--b0\r\n: nameless\r\n\r\n", b"--b0\r\nX: y\rz"]
)
def test_a_malformed_form_is_refused(body: bytes) -> None:
    reader = MultipartReader(CONTENT_TYPE)

    with pytest.raises(InvalidInput):
        reader.feed(body)
