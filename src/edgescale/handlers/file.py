"""Files: each one is read back from the blob store, checked against its reference, and looked into."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from edgescale.handlers.base import Completed, Context, Outcome, Rejected
from edgescale.handlers.counting import TextCounter
from edgescale.handlers.names import display_name
from edgescale.handlers.payload import decode
from edgescale.handlers.sniff import HEAD_BYTES, image_dimensions, media_type
from edgescale.v1 import file_pb2, task_pb2


class Blobs(Protocol):
    """Where files are; `edgescale.uploads.store.BlobStore` is one."""

    def read(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in pieces of a bounded size.

        Raises:
            FileNotFoundError: there is no such file.
        """


class FileHandler:
    """Reports on files. The memory it needs does not depend on their size.

    Nothing is offloaded: digesting and counting a piece takes a few milliseconds, and the loop turns between pieces.

    Args:
        blobs: where files are.
    """

    kind = "file"
    lane = "file"

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """Look into the file of one `edgescale.v1.FileReference`; the result is its report.

        A file that is not in the store, or not what was sent, is rejected: no attempt can change that.

        Raises:
            InvalidInput: the payload is no reference.
            StoreUnavailable: the store did not answer; the file is looked into later.
        """
        del context
        reference = decode(file_pb2.FileReference, payload)
        scan = FileScan()
        try:
            async with aclosing(self._blobs.read(reference.file_id)) as pieces:
                async for piece in pieces:
                    scan.feed(piece)
        except FileNotFoundError:
            return Rejected("FILE_MISSING", "the file is not in the blob store that this worker reads")
        report = scan.report(reference)
        if (report.size_bytes, report.sha256) != (reference.size_bytes, reference.sha256):
            return Rejected("FILE_CORRUPT", "the stored bytes are not the bytes that were sent")
        return Completed(task_pb2.TaskResult(file_report=report).SerializeToString(deterministic=True))


class FileScan:
    """What is found in the bytes of one file, piece by piece."""

    def __init__(self) -> None:
        self._size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._head = bytearray()
        self._text = TextCounter()

    def feed(self, piece: bytes) -> None:
        """Take the next piece into account."""
        self._size_bytes += len(piece)
        self._sha256.update(piece)
        self._head += piece[: HEAD_BYTES - len(self._head)]
        self._text.feed(piece)

    def report(self, reference: file_pb2.FileReference) -> file_pb2.FileReport:
        """What was found, after the last piece."""
        head = bytes(self._head)
        text = self._text.finish() if head else None
        detected_type = media_type(head, is_text=text is not None)
        return file_pb2.FileReport(
            file_id=reference.file_id,
            display_name=display_name(reference.metadata.name),
            size_bytes=self._size_bytes,
            sha256=self._sha256.hexdigest(),
            detected_type=detected_type,
            text=text,
            image=image_dimensions(head, detected_type),
        )
