"""The faults after which everybody must consume again, and the services that must: rows and columns of one table."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import GROUP
from edgescale.chance import SystemChance
from edgescale.gateway.app import make_app
from edgescale.gateway.upstream import Ingestion
from edgescale.local.valkey import EmbeddedValkey
from edgescale.worker.worker import Worker
from tests.door import Caller, ingesting
from tests.parts import answer_with_attempt, ask, working
from tests.proxy import Proxy, proxied
from tests.support import LANE, Rig, eventually, open_rig, serving

# Short, so that a standstill shows soon, and waits for a server that is away end soon.
SETTINGS: dict[str, Any] = {
    "redis_timeout_ms": 300,
    "redis_patience_ms": 1_000,
    "redis_block_ms": 100,
    "sweep_ms": 100,
    "inbox_recheck_ms": 300,
}
PATIENCE_S = 20.0
BURST = 60
# More than all buffers on the way to a slow reader hold together.
MESSAGE_BYTES, MESSAGES_MAX = 1024 * 1024, 32


@dataclass(frozen=True)
class Scene:
    """A server of the test's own, the proxy that the service under test goes through, and an operator who does not."""

    server: EmbeddedValkey
    proxy: Proxy
    operator: Rig


@asynccontextmanager
async def scene_of(server: EmbeddedValkey) -> AsyncIterator[Scene]:
    async with proxied(server.url) as proxy, open_rig(server.url) as operator:
        yield Scene(server, proxy, operator)


# --- rows -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def black_hole(scene: Scene) -> AsyncIterator[None]:
    """Nothing arrives, and nobody is told; connections that were made before or meanwhile stay half-open."""
    with scene.proxy.black_hole():
        yield


@asynccontextmanager
async def half_open(scene: Scene) -> AsyncIterator[None]:
    """All connections are dead, and nobody was told."""
    scene.proxy.darken()
    yield


@asynccontextmanager
async def reset(scene: Scene) -> AsyncIterator[None]:
    """All connections are reset, and new ones are for a while."""
    scene.proxy.refuses = True
    scene.proxy.sever()
    yield
    scene.proxy.refuses = False


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
    with scene.proxy.choked():
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


# --- columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """What must consume again.

    Attributes:
        consumes: what its health says, asked as a probe asks.
        answer: sends a request of this id, and returns once it is answered.
    """

    consumes: Callable[[], Awaitable[bool]]
    answer: Callable[[str], Awaitable[object]]


@asynccontextmanager
async def worker(scene: Scene, folder: Path) -> AsyncIterator[Subject]:
    """A worker behind the proxy; its callers are not."""
    del folder
    async with _callers(scene) as (rig, inbox), working(scene.proxy.url, answer_with_attempt, **SETTINGS) as it:
        yield Subject(lambda: consumes(it), lambda request_id: ask(rig, inbox, request_id))


@asynccontextmanager
async def _callers(scene: Scene) -> AsyncIterator[tuple[Rig, Inbox]]:
    async with open_rig(scene.server.url, **SETTINGS) as rig, serving(rig.inbox()) as inbox:
        yield rig, inbox


async def consumes(it: Worker) -> bool:
    return it.readiness.state == "consuming"


@asynccontextmanager
async def ingestion(scene: Scene, folder: Path) -> AsyncIterator[Subject]:
    """An ingestion process behind the proxy; the worker is not."""
    async with (
        working(scene.server.url, answer_with_attempt, **SETTINGS),
        ingesting(scene.proxy.url, folder, **SETTINGS) as (_, caller),
    ):
        yield Subject(caller.serving, lambda request_id: _analyse(caller, request_id))


async def _analyse(caller: Caller, request_id: str) -> object:
    return await caller.client.analyze_text("The ferry was early.", request_id=request_id, timeout_s=5)


@asynccontextmanager
async def everything(scene: Scene, folder: Path) -> AsyncIterator[Subject]:
    """Gateway, ingestion and worker, as a caller over HTTP sees them; all behind the proxy."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(working(scene.proxy.url, answer_with_attempt, **SETTINGS))
        door, _ = await stack.enter_async_context(ingesting(scene.proxy.url, folder, **SETTINGS))
        settings = door.settings.model_copy(update={"ingestion_target": door.address})
        upstream = await stack.enter_async_context(Ingestion.connect(settings))
        app = make_app(settings, upstream, SystemChance())
        transport = httpx.ASGITransport(app)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway"))

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200 and await consumes(it)

        async def answered(request_id: str) -> object:
            headers = {"Idempotency-Key": request_id}
            return (await http.post("/v1/text-analyses", json={"text": "Late."}, headers=headers)).raise_for_status()

        yield Subject(ready, answered)


Make = Callable[[Scene, Path], AbstractAsyncContextManager[Subject]]
SUBJECTS: tuple[Make, ...] = (worker, ingestion, everything)


async def answered_again(subject: Subject, request_id: str) -> None:
    """Wait until requests are answered, each repeated by its caller as long as it is told to."""

    async def answered() -> bool:
        await subject.answer(request_id)
        return True

    await eventually(answered, timeout_s=PATIENCE_S)


async def burst(subject: Subject, name: str) -> None:
    """Many at once, more than there are connections: so all of these are in use, or come anew at once."""
    async with asyncio.TaskGroup() as group:
        for number in range(BURST):
            group.create_task(answered_again(subject, f"{name}-{number}"))
