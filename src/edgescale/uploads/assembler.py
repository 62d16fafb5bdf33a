"""Checks a file while it is on its way into the blob store."""

import hashlib
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from edgescale.config import CHUNK_BYTES_MAX
from edgescale.errors import InvalidInput, OutOfRange, TooLarge
from edgescale.v1 import file_pb2

NAME_BYTES_MAX = 16 * 1024
CONTENT_TYPE_CHARS_MAX = 255
SHA256_HEX = re.compile(r"[0-9A-Fa-f]{64}")


class Sink(Protocol):
    """Where the bytes go; `edgescale.uploads.writer.BlobWriter` is one."""

    async def write(self, data: bytes, /) -> None:
        """Add bytes to the file."""


class Sinks(Protocol):
    """Where files go."""

    def writer(self, file_id: str) -> AbstractAsyncContextManager[Sink]:
        """A sink that keeps the file when the block ends well, and nothing of it otherwise."""


class Files(Sinks, Protocol):
    """Where files are kept; `edgescale.uploads.store.BlobStore` is one."""

    async def delete(self, file_id: str) -> None:
        """Remove a file; one that is not there is as good as removed."""


def check_metadata(metadata: file_pb2.FileMetadata, *, upload_bytes_max: int) -> None:
    """What a sender says of its file. The name may hold anything: it is data, and never a path.

    Raises:
        InvalidInput: a field does not have the right form.
        TooLarge: the name, or the declared size, is over its limit.
    """
    if len(metadata.name.encode()) > NAME_BYTES_MAX:
        raise TooLarge("metadata.name", f"must be at most {NAME_BYTES_MAX} bytes of UTF-8")
    if len(metadata.content_type) > CONTENT_TYPE_CHARS_MAX:
        raise InvalidInput("metadata.content_type", f"must be at most {CONTENT_TYPE_CHARS_MAX} characters")
    if any(unicodedata.category(character) == "Cc" for character in metadata.content_type):
        raise InvalidInput("metadata.content_type", "must not hold control characters")
    if metadata.sha256 and not SHA256_HEX.fullmatch(metadata.sha256):
        raise InvalidInput("metadata.sha256", "must be 64 hexadecimal digits, or absent")
    if metadata.size_bytes > upload_bytes_max:
        raise TooLarge("metadata.size_bytes", f"must be at most {upload_bytes_max}, not {metadata.size_bytes}")


class Assembler:
    """Counts and digests the chunks of one file, and refuses the first one that cannot be right.

    Args:
        metadata: the sender's declaration, checked.
        upload_bytes_max: the largest file that is taken.
    """

    def __init__(self, metadata: file_pb2.FileMetadata, *, upload_bytes_max: int) -> None:
        self._metadata = metadata
        self._upload_bytes_max = upload_bytes_max
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()

    def accept(self, chunk: bytes) -> None:
        """Take the next chunk into account.

        Raises:
            InvalidInput: the chunk is empty or too long.
            TooLarge: the file is.
            OutOfRange: more bytes came than were declared.
        """
        if not 1 <= len(chunk) <= CHUNK_BYTES_MAX:
            raise InvalidInput("chunk", f"must have 1 to {CHUNK_BYTES_MAX} bytes, not {len(chunk)}")
        self._size_bytes += len(chunk)
        if self._metadata.HasField("size_bytes") and self._size_bytes > self._metadata.size_bytes:
            raise OutOfRange("metadata.size_bytes", f"{self._metadata.size_bytes} bytes were declared, and more came")
        if self._size_bytes > self._upload_bytes_max:
            raise TooLarge("file", f"must be at most {self._upload_bytes_max} bytes")
        self._sha256.update(chunk)

    def reference(self, file_id: str) -> file_pb2.FileReference:
        """What came, after the last chunk.

        Raises:
            OutOfRange: it is not what was declared.
        """
        declared, sha256 = self._metadata, self._sha256.hexdigest()
        if declared.HasField("size_bytes") and declared.size_bytes != self._size_bytes:
            raise OutOfRange(
                "metadata.size_bytes", f"{declared.size_bytes} bytes were declared, and {self._size_bytes} came"
            )
        if declared.sha256 and declared.sha256.lower() != sha256:
            raise OutOfRange("metadata.sha256", f"the bytes that came have the digest {sha256}")
        return file_pb2.FileReference(file_id=file_id, metadata=declared, size_bytes=self._size_bytes, sha256=sha256)


async def store_upload(
    store: Sinks,
    file_id: str,
    metadata: file_pb2.FileMetadata,
    chunks: AsyncIterator[bytes],
    *,
    upload_bytes_max: int,
) -> file_pb2.FileReference:
    """Store a file whose bytes equal what was declared, or nothing.

    Args:
        store: where it goes.
        file_id: 32 hexadecimal digits that no other file has.
        metadata: the sender's declaration; checked here.
        chunks: 1 byte to 64 KiB each; none for an empty file.
        upload_bytes_max: the largest file that is taken.

    Raises:
        InvalidInput, TooLarge, OutOfRange: the declaration, a chunk or the whole is not right.
        StoreUnavailable: the store did not answer; the file may be sent again.
    """
    check_metadata(metadata, upload_bytes_max=upload_bytes_max)
    assembler = Assembler(metadata, upload_bytes_max=upload_bytes_max)
    async with store.writer(file_id) as sink:
        async for chunk in chunks:
            assembler.accept(chunk)
            await sink.write(chunk)
        # Still inside the block: a file that is not as declared must never become visible.
        return assembler.reference(file_id)
