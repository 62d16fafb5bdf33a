"""A server and its replica, both of the test's own, and the link between them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.fault_proxy import FaultProxy
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import own_server
from tests.support import eventually


async def ask(server: EmbeddedValkey, *words: str | int) -> str:
    """The reply to one command, as text."""
    connection = Connection(server.url, timeout_ms=5_000, connections_max=1)
    try:
        reply = await connection.command(*words)
    finally:
        await connection.close()
    return reply.decode() if isinstance(reply, bytes) else str(reply)


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary that syncs before it replies, and its replica, which follows it through a proxy."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    link: FaultProxy

    def freeze(self) -> None:
        """Have the replica stand still: it hears nothing, and nobody is told."""
        assert self.replica.pid is not None
        os.kill(self.replica.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        if self.replica.pid is not None:
            os.kill(self.replica.pid, signal.SIGCONT)

    async def follow(self) -> None:
        """Have the replica follow the primary, and wait until it acknowledges."""
        await ask(self.replica, "REPLICAOF", self.link.host, self.link.port)
        await eventually(self._acknowledges, timeout_s=20)

    async def _acknowledges(self) -> bool:
        connection = Connection(self.primary.url, timeout_ms=5_000, connections_max=1)
        try:
            await connection.command("SET", "probe", "")
            return bool(await connection.command("WAIT", 1, 1_000))
        finally:
            await connection.close()

    def cut(self) -> None:
        """Have the replica hear nothing: unlike one that is frozen, it will never have what is sent meanwhile."""
        self.link.darken()

    async def part(self) -> None:
        """Have the replica be a primary of its own, with what it has."""
        await ask(self.replica, "REPLICAOF", "NO", "ONE")

    async def fail_over(self) -> None:
        """The primary dies, and the replica takes its place."""
        await self.primary.kill()
        await self.part()


@asynccontextmanager
async def paired(name: str, directory: Path) -> AsyncIterator[Pair]:
    """Start a pair, the replica online.

    Args:
        name: of the kind of server; see `own_server`.
        directory: for the data of both.
    """
    primary = own_server(name, directory / "primary")
    pair = Pair(primary, own_server(name, directory / "replica"), FaultProxy(primary.url, Random(0)))
    await pair.link.start()
    try:
        await asyncio.gather(pair.primary.start(), pair.replica.start())
        # Or it would wait for further replicas before it sends the data.
        await ask(pair.primary, "CONFIG", "SET", "repl-diskless-sync-delay", "0", "appendfsync", "always")
        await pair.follow()
        yield pair
    finally:
        # A polite stop would wait for the replica.
        await asyncio.gather(pair.primary.kill(), pair.replica.kill())
        await pair.link.close()
