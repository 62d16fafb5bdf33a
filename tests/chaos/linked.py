"""What tests of links share: a client on each side of the project's connection, and what they see."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.link import Link, Links
from tests.redis_wire import encode

L = TypeVar("L", bound=Link)
# Longer than any test: what is held for so long arrives by the heal or not at all.
LONG_MS = 600_000
PONG = b"+PONG\r\n"


class Raw:
    """A client that sends bytes and sees what becomes of its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *commands: str) -> None:
        """In one write."""
        self.writer.write(b"".join(encode(command.encode().split()) for command in commands))

    async def read(self, size: int) -> bytes:
        """So many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(size), 20)

    async def read_until(self, end: bytes) -> bytes:
        """All up to these bytes, and them."""
        return await asyncio.wait_for(self.reader.readuntil(end), 20)

    async def story(self, size: int | None = None) -> tuple[bytes, str]:
        """What arrives, at most so many bytes, and how it ends: `open`, `closed` or `reset`."""
        told = b""
        async with asyncio.timeout(20):
            while size is None or len(told) < size:
                try:
                    data = await self.reader.read(1024)
                except ConnectionResetError:
                    return told, "reset"
                if not data:
                    return told, "closed"
                told += data
        return told, "open"

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def raw(link: Link) -> AsyncIterator[Raw]:
    """A connection through the link."""
    client = Raw(*await asyncio.open_connection(link.host, link.port))
    try:
        yield client
    finally:
        await client.close()


@dataclass(frozen=True)
class Client(Generic[L]):
    """The project's connection, by way of a link."""

    link: L
    connection: Connection

    def begin(self, *command: str) -> asyncio.Task[Any]:
        """Send a command; its reply is awaited for longer than any test takes."""
        return asyncio.create_task(self.connection.command(*command))


@asynccontextmanager
async def linked(links: Links, url: str, *, timeout_ms: int = 60_000) -> AsyncIterator[Client[Any]]:
    """A link to a server, and a connection through it."""
    # Somebody else may run these tests by the same Toxiproxy.
    async with links.link(f"{os.getpid()}-test->redis", url) as link, reached(link, timeout_ms=timeout_ms) as client:
        yield client


@asynccontextmanager
async def reached(link: L, *, timeout_ms: int = 60_000) -> AsyncIterator[Client[L]]:
    """A connection through a link."""
    connection = Connection(link.url, timeout_ms=timeout_ms)
    try:
        yield Client(link, connection)
    finally:
        await connection.close()


async def counted(operator: Connection, key: str = "n") -> int:
    """How often INCR was carried out."""
    return int(await operator.command("GET", key) or 0)
