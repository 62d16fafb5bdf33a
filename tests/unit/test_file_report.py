import asyncio
import gzip
import hashlib
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.errors import InvalidInput, StoreUnavailable
from edgescale.handlers.base import Completed, Context, Outcome, Rejected
from edgescale.handlers.file import FileHandler, FileScan
from edgescale.handlers.sniff import HEAD_BYTES
from edgescale.uploads.store import BlobStore
from edgescale.v1.file_pb2 import FileMetadata, FileReference, FileReport, ImageDimensions, TextCounts
from edgescale.v1.task_pb2 import TaskResult

FILE_ID = "00112233445566778899aabbccddeeff"


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, *, thumbnail_bytes: int = 0) -> bytes:
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    extra = b""
    while thumbnail_bytes > 0:
        extra += b"\xff\xe2" + struct.pack(">H", 60_002) + bytes(60_000)
        thumbnail_bytes -= 60_000
    frame = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + b"\x01\x11\0" * 3
    return start + extra + frame + b"\xff\xd9"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(20)


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IHHI", 70, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, *[0] * 6)
    return b"BM" + header + bytes(16)


def avif(width: int, height: int) -> bytes:
    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", len(data) + 8, kind) + data

    size = box(b"ispe", bytes(4) + struct.pack(">II", width, height))
    properties = box(b"iprp", box(b"ipco", size))
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + properties)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


def scanned(content: bytes, *, step: int = 70_000, name: str = "") -> FileReport:
    scan = FileScan()
    for start in range(0, len(content), step):
        scan.feed(content[start : start + step])
    return scan.report(FileReference(metadata=FileMetadata(name=name)))


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path.as_uri())


def context() -> Context:
    return Context(request_id="r", kind="file", attempt=1, attempts_max=5, accepted_ms=1, file_id=FILE_ID)


def reference_to(content: bytes, name: str = "dir/a\u202e.bin") -> FileReference:
    sha256 = hashlib.sha256(content).hexdigest()
    return FileReference(file_id=FILE_ID, metadata=FileMetadata(name=name), size_bytes=len(content), sha256=sha256)


async def put(store: BlobStore, content: bytes) -> None:
    async with store.writer(FILE_ID) as blob:
        await blob.write(content)


async def handled(store: BlobStore, reference: FileReference) -> Outcome:
    return await FileHandler(store).handle(reference.SerializeToString(), context())


async def test_a_stored_file_is_reported(store: BlobStore) -> None:
    content = "première ligne\nzweite Zeile\n".encode() * 100_000
    await put(store, content)
    reference = reference_to(content, "a/b/ré\0sumé.txt")

    outcome = await handled(store, reference)

    assert isinstance(outcome, Completed)
    assert TaskResult.FromString(outcome.result).file_report == FileReport(
        file_id=FILE_ID,
        display_name="résumé.txt",
        size_bytes=len(content),
        sha256=reference.sha256,
        detected_type="text/plain",
        text=TextCounts(lines=200_000, words=400_000),
    )


@pytest.mark.parametrize(
    "stored", [b"other bytes of the same size!", b"shorter", b"the bytes that were sent, and more", b""]
)
async def test_a_file_that_is_not_what_was_sent_is_rejected(store: BlobStore, stored: bytes) -> None:
    await put(store, stored)
    outcome = await handled(store, reference_to(b"the bytes that were sent, all"))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "FILE_CORRUPT"


async def test_a_file_that_is_not_there_is_rejected(store: BlobStore) -> None:
    outcome = await handled(store, reference_to(b"bytes"))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "FILE_MISSING"


async def test_a_store_that_is_away_is_tried_again(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to(tmp_path / "files")
    with pytest.raises(StoreUnavailable) as raised:
        await handled(store, reference_to(b"bytes"))
    assert raised.value.retryable


@pytest.mark.parametrize("payload", [b"\xff", FileReference(file_id="../../etc/passwd").SerializeToString(), b""])
async def test_a_payload_that_is_no_reference_is_refused(store: BlobStore, payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        await FileHandler(store).handle(payload, context())


async def test_the_loop_turns_while_a_large_file_is_read(store: BlobStore) -> None:
    await put(store, bytes(8_000_000))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await handled(store, reference_to(bytes(8_000_000)))
    counter.cancel()
    assert turns >= 8_000_000 // (512 * 1024)


async def test_the_memory_of_a_scan_does_not_grow_with_the_file() -> None:
    piece = os.urandom(262_144)

    class Endless:
        async def read(self, file_id: str) -> AsyncGenerator[bytes, None]:
            assert file_id == FILE_ID
            for _ in range(200):
                yield bytes(bytearray(piece))

    tracemalloc.start()
    try:
        await FileHandler(Endless()).handle(reference_to(b"").SerializeToString(), context())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * 1024**2


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"", "application/x-empty"),
        (png(1, 1), "image/png"),
        (jpeg(1, 1), "image/jpeg"),
        (gif(1, 1), "image/gif"),
        (avif(1, 1), "image/avif"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "application/pdf"),
        (gzip.compress(b"x" * 100, mtime=0), "application/x-gzip"),
        (zipped(), "application/zip"),
        (tarred(), "application/x-tar"),
        (b"SQLite format 3\0" + bytes(100), "application/x-sqlite3"),
        (b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2" + bytes(40), "video/mp4"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "application/octet-stream"),
        (b"\0\x01\x02 nothing known", "application/octet-stream"),
        (b"plain words\n", "text/plain"),
        ("żółw 語 👍".encode(), "text/plain"),
        (b"\xef\xbb\xbfwith a byte order mark", "text/plain"),
        (b"BMW and MZ are makers of cars", "text/plain"),
        (b"if this were a module of music", "text/plain"),
        (b"Article 1: all is text", "text/plain"),
        (b"import os\n", "text/plain"),
        (b"#define X 1\n", "text/plain"),
        (b"<!DOCTYPE html><html></html>", "text/html"),
        (b'<?xml version="1.0"?><a/>', "application/xml"),
        (b"{\\rtf1 words}", "application/rtf"),
        (b"text and then NUL\0", "application/octet-stream"),
        (b"{\xff", "application/octet-stream"),
        (b"\1" * (HEAD_BYTES - 18) + b"TRUEVISION-XFILE.\0 in the middle", "application/octet-stream"),
        (b"latin-1 text: caf\xe9", "application/octet-stream"),
    ],
)
def test_the_media_type_is_found_in_the_bytes(content: bytes, media_type: str) -> None:
    assert scanned(content).detected_type == media_type


@pytest.mark.parametrize(
    "content", [png(640, 480), jpeg(640, 480), jpeg(640, 480, thumbnail_bytes=180_000), gif(640, 480), bmp(640, 480)]
)
@pytest.mark.parametrize("step", [1000, 1_000_000])
def test_the_dimensions_of_an_image_are_read(content: bytes, step: int) -> None:
    assert scanned(content, step=step).image == ImageDimensions(width=640, height=480)


def test_the_dimensions_of_a_large_image_are_read() -> None:
    assert scanned(png(4_294_967_295, 3)).image.width == 4_294_967_295
    assert scanned(avif(8000, 6000)).image == ImageDimensions(width=8000, height=6000)


@pytest.mark.parametrize(
    "content",
    [
        png(640, 480)[:20],
        jpeg(640, 480, thumbnail_bytes=2 * HEAD_BYTES),
        gif(640, 0),
        b'<svg width="10" height="20"></svg>',
        b"P5 3 3 255\n\xff\0",
        b"GIF89 but not really",
        b"not an image",
    ],
)
def test_what_has_no_readable_header_has_no_dimensions(content: bytes) -> None:
    assert not scanned(content).HasField("image")


def test_a_header_that_asks_for_endless_work_is_not_obeyed() -> None:
    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", len(data) + 8, kind) + data

    # Locations of 40,000 items with 65,535 extents each, which take no bytes at all.
    locations = b"\x00\0\0\0\0\0" + struct.pack(">H", 40_000) + struct.pack(">HHH", 1, 0, 65_535) * 40_000
    heif = box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4) + box(b"iloc", locations))
    scanned(heif)
    # A number of 260,000 digits, for a reader that joins them one by one.
    scanned(b"P5 " + b"1" * 260_000 + b"\xff")


@pytest.mark.parametrize(
    ("content", "lines", "words"),
    [
        (b"one\ntwo three\n", 2, 3),
        (b"no end", 1, 2),
        (b"\r\n\r\n", 2, 0),
        ("語 語".encode(), 1, 2),
        (b"\xef\xbb\xbfafter a mark", 1, 3),
        (b"\xef\xbb\xbf", 0, 0),
        (b"<html>\n<p>a b</p>\n</html>", 3, 4),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_lines_and_words_of_a_text_are_counted(content: bytes, lines: int, words: int, step: int) -> None:
    assert scanned(content, step=step).text == TextCounts(lines=lines, words=words)


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff", b"cut \xe2\x82", png(1, 1)])
def test_what_is_no_text_has_no_counts(content: bytes) -> None:
    assert not scanned(content, step=1).HasField("text")


def test_text_that_ends_in_other_bytes_after_a_long_time_is_no_text() -> None:
    report = scanned(b"words " * 100_000 + b"\xff")
    assert not report.HasField("text")
    assert report.detected_type == "application/octet-stream"


MAGIC = [png(2, 2), jpeg(2, 2), gif(2, 2), bmp(2, 2), avif(2, 2), b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBPVP8 ", b"P6 "]
MAGIC += [b"\0\0\0\x0cjP  \r\n\x87\n", b"<svg ", b"<?xml", b""]


@given(st.sampled_from(MAGIC), st.integers(0, 60), st.binary(max_size=200), st.integers(1, 300))
def test_any_bytes_can_be_scanned(magic: bytes, kept: int, rest: bytes, step: int) -> None:
    content = magic[:kept] + rest
    report = scanned(content, step=step)
    assert report.size_bytes == len(content)
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert "/" in report.detected_type
    assert report == scanned(content)
