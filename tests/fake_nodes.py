"""Servers that answer as a test says, for what real clusters do too seldom."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import hiredis

from edgescale.broker.address import Node

Answer = Callable[[list[bytes]], "bytes | None"]
LAST_SLOT = 16_383


class FakeNode:
    """A server on loopback.

    Attributes:
        answer: makes the bytes of a reply to a command; None for no reply at all.
        heard: all commands that came, but for CLUSTER.
        slots: its reply to CLUSTER SLOTS; None for none.
        maps_told: how often it was asked for that.
        links: connections that are open now.
        accepted: how many there were.
    """

    def __init__(self) -> None:
        self.answer: Answer = lambda _: b"+OK\r\n"
        self.heard: list[list[bytes]] = []
        self.slots: bytes | None = b"*0\r\n"
        self.maps_told = 0
        self.links: set[asyncio.StreamWriter] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.node = Node("127.0.0.1", self._server.sockets[0].getsockname()[1])

    def vanish(self) -> None:
        """Refuse connections from now on, and reset those that are open."""
        assert self._server is not None
        self._server.close()
        for link in self.links:
            link.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links.add(writer)
        self.accepted += 1
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65_536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    reply = self._reply(command)
                    if reply is not None:
                        writer.write(reply)
        except OSError:
            pass
        finally:
            self.links.discard(writer)
            writer.close()

    def _reply(self, command: list[bytes]) -> bytes | None:
        if command[0] == b"CLUSTER":
            self.maps_told += 1
            return self.slots
        self.heard.append(command)
        return self.answer(command)

    def send_all(self, data: bytes) -> None:
        """Write to everybody who is connected."""
        for link in self.links:
            link.write(data)


def bulk(text: str | int) -> bytes:
    """A reply of this text."""
    encoded = str(text).encode()
    return b"$%d\r\n%s\r\n" % (len(encoded), encoded)


def slots(*ranges: tuple[int, int, Sequence[Node]]) -> bytes:
    """A reply to CLUSTER SLOTS: first and last slot, then the owner and its replicas."""
    rows = []
    for first, last, nodes in ranges:
        told = [b"*3\r\n" + bulk(node.host) + b":%d\r\n" % node.port + bulk("id") for node in nodes]
        rows.append(b"*%d\r\n:%d\r\n:%d\r\n%s" % (2 + len(nodes), first, last, b"".join(told)))
    return b"*%d\r\n%s" % (len(rows), b"".join(rows))


def everything(*nodes: Node) -> bytes:
    """A reply to CLUSTER SLOTS: the first node has all slots, the others are its replicas."""
    return slots((0, LAST_SLOT, nodes))


@asynccontextmanager
async def fake_nodes(count: int) -> AsyncIterator[list[FakeNode]]:
    """So many, each of which knows of no slots."""
    nodes = [FakeNode() for _ in range(count)]
    for node in nodes:
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            node.vanish()
