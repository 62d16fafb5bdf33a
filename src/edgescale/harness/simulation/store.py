"""A blob store in memory: obstore works in threads of its own, which no simulation can order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from random import Random  # noqa: TID251 - drawn from the simulation's seed

from edgescale.errors import StoreUnavailable


class SimulatedWriter:
    """Takes the bytes of one file, each write after a delay."""

    def __init__(self, store: "SimulatedStore") -> None:
        self._store = store
        self.parts: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """Add bytes to the file.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self._store.answer()
        self.parts.append(data)


class SimulatedStore:
    """Keeps files across crashes of nodes, as a bucket does; behaves as `edgescale.uploads.store.BlobStore`.

    Args:
        rng: draws how long each operation takes.
    """

    def __init__(self, rng: Random) -> None:
        self.files: dict[str, bytes] = {}
        self.away = False
        self._rng = rng

    async def answer(self) -> None:
        """Take as long as an operation takes.

        Raises:
            StoreUnavailable: the store is away.
        """
        await asyncio.sleep(self._rng.uniform(0.0002, 0.003))
        if self.away:
            raise StoreUnavailable("the blob store does not answer")

    @asynccontextmanager
    async def writer(self, file_id: str) -> AsyncIterator[SimulatedWriter]:
        """Take a file in: visible as a whole once the block has ended, without a trace when it raises.

        Raises:
            StoreUnavailable: the store is away.
        """
        writer = SimulatedWriter(self)
        yield writer
        await self.answer()
        self.files[file_id] = b"".join(writer.parts)

    async def read(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in one piece.

        Raises:
            FileNotFoundError: there is no such file.
            StoreUnavailable: the store is away.
        """
        await self.answer()
        if file_id not in self.files:
            raise FileNotFoundError(file_id)
        if self.files[file_id]:
            yield self.files[file_id]

    async def delete(self, file_id: str) -> None:
        """Remove a file.

        Raises:
            StoreUnavailable: the store is away.
        """
        await self.answer()
        self.files.pop(file_id, None)

    async def size(self, file_id: str) -> int | None:
        """How many bytes a file has; None when there is no such file."""
        await self.answer()
        return len(self.files[file_id]) if file_id in self.files else None

    async def aclose(self) -> None:
        """Nothing to wait for."""
