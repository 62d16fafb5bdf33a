"""Faults after which everybody must consume again, on a real server: rows of a table. `recovery` has the columns."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from edgescale.broker.keys import GROUP
from edgescale.harness.chaos.fault_proxy import FaultProxy, proxied
from edgescale.harness.chaos.toxics import HalfOpen, Refused, Stall
from edgescale.local.valkey import EmbeddedValkey
from tests.support import LANE, Rig, open_rig

# More than all buffers on the way to a slow reader hold together.
MESSAGE_BYTES, MESSAGES_MAX = 1024 * 1024, 32


@dataclass(frozen=True)
class Scene:
    """A server of the test's own, the proxy that the service under test goes through, and an operator who does not."""

    server: EmbeddedValkey
    proxy: FaultProxy
    operator: Rig


@asynccontextmanager
async def scene_of(server: EmbeddedValkey) -> AsyncIterator[Scene]:
    async with proxied(server.url) as proxy, open_rig(server.url) as operator:
        yield Scene(server, proxy, operator)


@asynccontextmanager
async def black_hole(scene: Scene) -> AsyncIterator[None]:
    """Nothing arrives, and nobody is told; connections that were made before or meanwhile stay half-open."""
    both_ways = (HalfOpen(direction="upstream"), HalfOpen(direction="downstream"))
    async with scene.proxy.toxic(both_ways[0]), scene.proxy.toxic(both_ways[1]):
        yield


@asynccontextmanager
async def half_open(scene: Scene) -> AsyncIterator[None]:
    """All connections are dead, and nobody was told."""
    scene.proxy.darken()
    yield


@asynccontextmanager
async def reset(scene: Scene) -> AsyncIterator[None]:
    """All connections are reset, and new ones are refused for a while."""
    scene.proxy.sever()
    async with scene.proxy.toxic(Refused()):
        yield


@asynccontextmanager
async def restart(scene: Scene) -> AsyncIterator[None]:
    """The server is killed, and started with what it had written."""
    await scene.server.kill()
    yield
    await scene.server.start()


@asynccontextmanager
async def flushed(scene: Scene) -> AsyncIterator[None]:
    """Everything is deleted."""
    await scene.operator.connection.command("FLUSHALL")
    yield


@asynccontextmanager
async def group_destroyed(scene: Scene) -> AsyncIterator[None]:
    """The lane's group is gone; its stream is there."""
    await scene.operator.connection.command("XGROUP", "DESTROY", scene.operator.keys.stream(0, LANE), GROUP)
    yield


@asynccontextmanager
async def clients_killed(scene: Scene) -> AsyncIterator[None]:
    """The server closes every connection but the operator's."""
    for kind in ("normal", "pubsub"):
        await scene.operator.connection.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    yield


@asynccontextmanager
async def buffer_overflown(scene: Scene) -> AsyncIterator[None]:
    """Whoever listens to a channel reads too slowly, and is dropped once its output buffer is full."""
    connection = scene.operator.connection
    await connection.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0")
    async with scene.proxy.toxic(Stall()):
        for channel in await connection.command("PUBSUB", "SHARDCHANNELS"):
            for _ in range(MESSAGES_MAX):
                if not await connection.command("SPUBLISH", channel, bytes(MESSAGE_BYTES)):
                    break
    yield
    await connection.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60")


@asynccontextmanager
async def places_taken(scene: Scene) -> AsyncIterator[None]:
    """The server drops everybody and takes nobody: others have all its places. Then all come at once."""
    connection = scene.operator.connection
    await connection.command("CONFIG", "SET", "maxclients", 1)
    async with clients_killed(scene):
        yield
    await connection.command("CONFIG", "SET", "maxclients", 10_000)


@dataclass(frozen=True)
class Fault:
    """A row.

    Attributes:
        number: in the catalogue of faults.
        strike: does it; it lasts as long as its block.
        lasts: as long as it does, who suffers cannot consume, and must say so.
    """

    number: int
    strike: Callable[[Scene], AbstractAsyncContextManager[None]]
    lasts: bool

    @property
    def name(self) -> str:
        return self.strike.__name__


FAULTS = (
    Fault(2, black_hole, lasts=True),
    Fault(2, half_open, lasts=False),
    Fault(3, reset, lasts=True),
    Fault(12, restart, lasts=True),
    Fault(15, flushed, lasts=False),
    Fault(15, group_destroyed, lasts=False),
    Fault(16, clients_killed, lasts=False),
    Fault(16, buffer_overflown, lasts=False),
    Fault(19, places_taken, lasts=True),
)
