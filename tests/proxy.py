"""A TCP proxy in front of a server, for faults that the server itself does not offer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

CHUNK_BYTES = 64 * 1024


class Link:
    """One client's connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.reply_is_lost = False
        self.dark = False

    def abort(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Passes bytes on, until it is told to do otherwise.

    Attributes:
        refuses: new connections are closed at once.
        replies_lost: how many replies were cut off.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "", target.port or 0)
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._marker = b""
        self._losses_left = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._swallows = False
        self.refuses = False
        self.replies_lost = 0

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    @property
    def links(self) -> int:
        """Connections that are open now."""
        return len(self._links)

    def lose_reply(self, marker: bytes, *, times: int = 1) -> None:
        """Pass the next request with this marker on, but close the connection in place of its reply."""
        self._marker, self._losses_left = marker, times

    def sever(self) -> None:
        """Reset all connections."""
        for link in self._links:
            link.abort()

    def darken(self) -> None:
        """Swallow what is sent over the present connections, both ways; they stay open. New ones are not touched."""
        for link in self._links:
            link.dark = True

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Within the block, swallow what is sent, over connections that are made meanwhile, too; nobody is told.

        What was swallowed is gone: to both ends, these connections are half-open for good.
        """
        self._swallows = True
        self.darken()
        try:
            yield
        finally:
            self._swallows = False

    @contextmanager
    def choked(self) -> Iterator[None]:
        """Within the block, read nothing of what the server sends, as a client that is too slow."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.ensure_future(self._serve(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link(writer, to_server)
        link.dark = self._swallows
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._requests(link, reader))
                pumps.create_task(self._replies(link, from_server))
        finally:
            link.abort()
            self._links.discard(link)

    async def _requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await _read(reader):
            if self._losses_left and self._marker in data:
                self._losses_left -= 1
                link.reply_is_lost = True
            if not link.dark:
                link.server.write(data)
        link.abort()

    async def _replies(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await _read(reader):
            if link.reply_is_lost:
                self.replies_lost += 1
                break
            if not link.dark:
                link.client.write(data)
            await self._flows.wait()
        link.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(CHUNK_BYTES)
    except OSError:
        return b""


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A running proxy in front of the server."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
