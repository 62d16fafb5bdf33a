import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from edgescale.errors import InvalidInput, OutOfRange, TooLarge
from edgescale.uploads.assembler import check_metadata, store_upload
from edgescale.uploads.store import BlobStore
from edgescale.v1.file_pb2 import FileMetadata, FileReference

FILE_ID = "fedcba9876543210fedcba9876543210"
LIMIT = 1_000_000
CHUNKS = [os.urandom(65536), os.urandom(1), os.urandom(40_000)]
DATA = b"".join(CHUNKS)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path.as_uri())


def on_disk(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file()]


async def arriving(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def upload(store: BlobStore, metadata: FileMetadata, chunks: Iterable[bytes] = CHUNKS) -> FileReference:
    return await store_upload(store, FILE_ID, metadata, arriving(chunks), upload_bytes_max=LIMIT)


async def stored(store: BlobStore) -> bytes:
    return b"".join([piece async for piece in store.read(FILE_ID)])


@pytest.mark.parametrize(
    "metadata",
    [
        FileMetadata(),
        FileMetadata(name="../../etc/passwd\0\u202e", content_type="text/plain; charset=utf-8"),
        FileMetadata(name="é" * 8192, content_type="x" * 255, size_bytes=len(DATA), sha256=SHA256.upper()),
    ],
)
async def test_what_was_declared_and_came_is_stored_and_referred_to(store: BlobStore, metadata: FileMetadata) -> None:
    reference = await upload(store, metadata)

    assert await stored(store) == DATA
    assert reference == FileReference(file_id=FILE_ID, metadata=metadata, size_bytes=len(DATA), sha256=SHA256)


@pytest.mark.parametrize("metadata", [FileMetadata(), FileMetadata(size_bytes=0)])
async def test_an_empty_file_is_a_file(store: BlobStore, metadata: FileMetadata) -> None:
    reference = await upload(store, metadata, [])

    assert reference.size_bytes == 0
    assert reference.sha256 == hashlib.sha256().hexdigest()
    assert await store.size(FILE_ID) == 0


@pytest.mark.parametrize(
    ("metadata", "chunks", "error", "field"),
    [
        (FileMetadata(), [b"a", b""], InvalidInput, "chunk"),
        (FileMetadata(), [bytes(65537)], InvalidInput, "chunk"),
        (FileMetadata(), [bytes(62_500)] * 16 + [b"a"], TooLarge, "file"),
        (FileMetadata(size_bytes=len(DATA) + 1), CHUNKS, OutOfRange, "metadata.size_bytes"),
        (FileMetadata(size_bytes=0), [b"a"], OutOfRange, "metadata.size_bytes"),
        (FileMetadata(sha256="0" * 64), CHUNKS, OutOfRange, "metadata.sha256"),
        (FileMetadata(sha256=SHA256), [], OutOfRange, "metadata.sha256"),
    ],
)
async def test_what_is_not_right_is_refused_and_nothing_is_kept(
    store: BlobStore,
    tmp_path: Path,
    metadata: FileMetadata,
    chunks: list[bytes],
    error: type[InvalidInput],
    field: str,
) -> None:
    with pytest.raises(error) as raised:
        await upload(store, metadata, chunks)

    assert type(raised.value) is error
    assert raised.value.field == field
    assert on_disk(tmp_path) == []


async def test_a_file_of_exactly_the_limit_is_taken(store: BlobStore) -> None:
    reference = await upload(store, FileMetadata(size_bytes=LIMIT), [bytes(62_500)] * 16)
    assert reference.size_bytes == LIMIT


async def test_bytes_over_the_declared_size_are_refused_at_once(store: BlobStore) -> None:
    asked = []

    def endless() -> Iterable[bytes]:
        while True:
            asked.append(1)
            yield bytes(1000)

    with pytest.raises(OutOfRange):
        await upload(store, FileMetadata(size_bytes=2500), endless())
    assert len(asked) == 3


async def test_a_sender_who_goes_away_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    def broken() -> Iterable[bytes]:
        yield from [bytes(60_000)] * 10
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await upload(store, FileMetadata(), broken())
    assert on_disk(tmp_path) == []


@pytest.mark.parametrize(
    ("metadata", "error", "field"),
    [
        (FileMetadata(name="é" * 8192 + "x"), TooLarge, "metadata.name"),
        (FileMetadata(content_type="x" * 256), InvalidInput, "metadata.content_type"),
        (FileMetadata(content_type="text/plain\r\nX-Evil: 1"), InvalidInput, "metadata.content_type"),
        (FileMetadata(content_type="text/plain\x7f"), InvalidInput, "metadata.content_type"),
        (FileMetadata(sha256="ab"), InvalidInput, "metadata.sha256"),
        (FileMetadata(sha256="g" * 64), InvalidInput, "metadata.sha256"),
        (FileMetadata(sha256="0" * 64 + "\n"), InvalidInput, "metadata.sha256"),
        (FileMetadata(size_bytes=LIMIT + 1), TooLarge, "metadata.size_bytes"),
    ],
)
async def test_a_declaration_that_cannot_be_right_is_refused_before_any_byte_is_read(
    store: BlobStore, metadata: FileMetadata, error: type[InvalidInput], field: str
) -> None:
    def unread() -> Iterable[bytes]:
        pytest.fail("a chunk was read")
        yield b""

    with pytest.raises(error) as raised:
        await upload(store, metadata, unread())
    assert type(raised.value) is error
    assert raised.value.field == field


def test_a_declaration_of_the_largest_size_is_taken() -> None:
    check_metadata(FileMetadata(size_bytes=LIMIT), upload_bytes_max=LIMIT)
