"""A real Sentinel setup of local processes: a primary, its replica, and three sentinels that watch them."""

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edgescale.broker.connection import Connection, flat_dict
from edgescale.errors import EdgeScaleError
from edgescale.local.child import LOOPBACK, free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import program
from tests.support import eventually

PRIMARY = "primary"
SENTINELS, QUORUM = 3, 2
# A sentinel connects once a second at most: were it less patient, it would take for dead what has just taken over.
# Source: Valkey, sentinelReconnectInstance.
DOWN_AFTER_MS = 1_500
READY_WITHIN_S = 20.0


class Replicated(EmbeddedValkey):
    """A server that follows another one, or none; sentinels change that."""

    def __init__(self, data_dir: Path, binary: Path, follows: "Replicated | None" = None) -> None:
        super().__init__(data_dir, port=free_port(), binary=binary)
        self._follows = follows

    def _options(self) -> list[str]:
        # Later options win; the file that sentinels have it rewrite is of no use here.
        follows = ["--replicaof", f"{LOOPBACK} {self._follows.port}"] if self._follows else []
        return [*super()._options(), "--repl-diskless-sync-delay", "0", *follows]


class SentinelProcess(EmbeddedValkey):
    """A sentinel."""

    def __init__(self, data_dir: Path, binary: Path, watched: EmbeddedValkey, down_after_ms: int) -> None:
        super().__init__(data_dir, port=free_port(), binary=binary)
        self._config = data_dir / "sentinel.conf"
        data_dir.mkdir(parents=True)
        lines = [
            f"port {self.port}",
            f"bind {LOOPBACK}",
            f"dir {data_dir}",
            f"sentinel monitor {PRIMARY} {LOOPBACK} {watched.port} {QUORUM}",
            f"sentinel down-after-milliseconds {PRIMARY} {down_after_ms}",
            f"sentinel failover-timeout {PRIMARY} 3000",
        ]
        self._config.write_text("\n".join(lines) + "\n")

    def _options(self) -> list[str]:
        return [str(self._config), "--sentinel"]

    async def _serves(self, process: Process) -> bool:
        connection = Connection(self.url, timeout_ms=1_000, connections_max=1)
        try:
            while process.returncode is None:
                with contextlib.suppress(EdgeScaleError):
                    return bool(await connection.command("PING") == b"PONG")
                await asyncio.sleep(0.02)
            return False
        finally:
            await connection.close()


class Watched:
    """A primary with one replica, and its sentinels.

    Args:
        data_dir: for the data of all.
        kind: of servers; see `own_names`.
        down_after_ms: after which silence a sentinel takes a server for dead.

    Attributes:
        url: by which the primary is found, whichever it is.
        servers: both.
        sentinels: all of them.
    """

    def __init__(self, data_dir: Path, kind: str, down_after_ms: int) -> None:
        binary = program(kind)
        primary = Replicated(data_dir / "server-0", binary)
        self.servers = [primary, Replicated(data_dir / "server-1", binary, primary)]
        self.sentinels = [
            SentinelProcess(data_dir / f"sentinel-{number}", binary, primary, down_after_ms)
            for number in range(SENTINELS)
        ]
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{PRIMARY}/0"
        self._connections = [Connection(sentinel.url, timeout_ms=1_000) for sentinel in self.sentinels]

    async def start(self) -> None:
        """Start everything, and return once the sentinels know of each other and of the replica."""
        await asyncio.gather(*(server.start() for server in self.servers))
        await asyncio.gather(*(sentinel.start() for sentinel in self.sentinels))
        await eventually(self.whole, READY_WITHIN_S)

    async def whole(self) -> bool:
        """Whether every sentinel sees a primary with a replica that could take over, and can ask the others to vote."""
        for connection in self._connections:
            seen = flat_dict(await connection.command("SENTINEL", "MASTER", PRIMARY))
            [replica] = [flat_dict(row) for row in await connection.command("SENTINEL", "REPLICAS", PRIMARY)]
            others = [flat_dict(row) for row in await connection.command("SENTINEL", "SENTINELS", PRIMARY)]
            if (
                seen[b"flags"] != b"master"
                or len(others) < SENTINELS - 1
                or any(b"disconnected" in other[b"flags"] for other in others)
                or replica[b"flags"] != b"slave"
                or replica[b"master-link-status"] != b"ok"
            ):
                return False
        return True

    async def primary(self) -> Replicated:
        """The server that the first sentinel that answers takes for the primary."""
        for connection in self._connections:
            with contextlib.suppress(EdgeScaleError):
                _, port = await connection.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY)
                return next(server for server in self.servers if server.port == int(port))
        raise AssertionError("no sentinel answers")

    async def fail_over(self, *how: str) -> None:
        """Have the replica take over from a primary that is well.

        Args:
            how: `COORDINATED` for a primary that hands over everything and follows at once, as Valkey 9.1 can.
                Without it, it is told some seconds later, and what it takes until then is lost.
        """
        before = await self.primary()
        await self._connections[0].command("SENTINEL", "FAILOVER", PRIMARY, *how)

        async def changed() -> bool:
            return await self.primary() is not before

        await eventually(changed, READY_WITHIN_S)

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(*(connection.close() for connection in self._connections))
        await asyncio.gather(*(process.kill() for process in (*self.sentinels, *self.servers)))


@asynccontextmanager
async def watched_by_sentinels(
    data_dir: Path, kind: str, *, down_after_ms: int = DOWN_AFTER_MS
) -> AsyncIterator[Watched]:
    """A setup that runs."""
    watched = Watched(data_dir, kind, down_after_ms)
    try:
        await watched.start()
        yield watched
    finally:
        await watched.stop()
