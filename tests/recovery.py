"""The services that must consume again after each fault: the columns of a table. See `faults` for its rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edgescale.broker.inbox import Inbox
from edgescale.chance import SystemChance
from edgescale.gateway.app import make_app
from edgescale.gateway.upstream import Ingestion
from edgescale.worker.worker import Worker
from tests.door import Caller, ingesting
from tests.faults import Scene
from tests.parts import answer_with_attempt, ask, working
from tests.support import Rig, eventually, open_rig, serving

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
