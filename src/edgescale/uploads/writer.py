"""One file on its way into the blob store."""

import asyncio
import os
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import LocalStore

from edgescale.uploads.faults import store_errors
from edgescale.uploads.reslice import Reslicer

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# The smallest part that S3 takes, the last one excepted. At most 10,000 parts make a file, so that it may have up to
# 48 GiB. Source: Amazon S3 User Guide, "Amazon S3 multipart upload limits".
PART_BYTES = 5 * 1024**2
# With the part that is being filled this bounds the memory of an upload to three parts.
PARTS_IN_FLIGHT = 2


class BlobWriter:
    """Takes the bytes of one file; comes from `BlobStore.writer`.

    A call of obstore is never interrupted: cancelling one that opens, continues or completes a multipart upload leaves
    that upload behind in the store, where nobody knows of it. So each call runs to its end in the background when its
    caller is cancelled, and `undo` waits for it.

    Args:
        store: any store of obstore.
        key: where the file will be.
    """

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._store = store
        self._key = key
        self._sink = obstore.open_writer_async(store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_IN_FLIGHT)
        # obstore keeps each buffer as it came until the part is sent; a part made of single bytes would take many
        # times its size.
        self._reslicer = Reslicer()
        self._call: asyncio.Future[object] | None = None
        self._closing = False

    async def write(self, data: bytes) -> None:
        """Add bytes to the file; waits while two parts are on their way.

        Raises:
            StoreUnavailable: the store did not answer, or refused; the file cannot be completed.
        """
        for piece in self._reslicer.feed(data):
            await self._run(self._sink.write(piece))

    async def commit(self) -> None:
        """Make the file visible, as a whole.

        Raises:
            StoreUnavailable: it is unknown whether the file is visible now.
        """
        if rest := self._reslicer.flush():
            await self._run(self._sink.write(rest))
        self._closing = True
        await self._run(self._sink.close())
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            await self._run(asyncio.to_thread(_flush_to_disk, Path(self._store.prefix, self._key)))

    async def undo(self) -> None:
        """Leave nothing of the file behind, as far as the store answers."""
        if self._call is not None:
            await asyncio.wait([self._call])
        with suppress(Exception):
            if self._closing:
                # Completing may have succeeded although its answer was lost or nobody waited for it.
                await obstore.delete_async(self._store, self._key)
            else:
                await self._sink.__aexit__(Exception, None, None)

    async def _run(self, call: Awaitable[object]) -> None:
        self._call = asyncio.ensure_future(call)
        with store_errors():
            await asyncio.shield(self._call)


def _flush_to_disk(path: Path) -> None:
    """Make the file and its place in the directory outlive a loss of power, before anybody is told that it is kept.

    obstore renames a complete file into place, but leaves it to the kernel when that reaches the disk.
    """
    for target in (path, path.parent, path.parent.parent):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
