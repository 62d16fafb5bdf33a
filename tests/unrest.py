"""Setups of many servers that tests share, and what becomes of them meanwhile.

Each test has an event loop of its own, which comes and goes. A setup lives in one that lasts, in a thread of its own.
"""

import asyncio
import itertools
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.clusters import READY_WITHIN_S, Cluster, clustered, migrate_at_once
from tests.load import name_in
from tests.sentinels import watched_by_sentinels
from tests.servers import Server
from tests.support import CLUSTER_PARTITIONS, Rig, eventually

T = TypeVar("T")
# Has something done in another loop.
Do = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
# One in so many of the tests that have a rig sees a primary replaced; it takes a second or two.
EVERY = int(os.environ.get("TEST_UNREST_EVERY", "10"))
# Tests freeze a server for seconds, and a sentinel is not to take it for dead.
PATIENT_MS = 15_000
# What has become of the setups, told at the end.
DONE: Counter[str] = Counter()


@dataclass(frozen=True)
class Setup:
    """Many servers behind one URL.

    Attributes:
        url: of all of them.
        replace: has another server take over a partition from its primary; None where that is not done.
        still: held while a partition is on its way from one server to another.
    """

    url: str
    replace: Callable[[int], Coroutine[Any, Any, None]] | None = None
    still: asyncio.Lock = field(default_factory=asyncio.Lock)


@asynccontextmanager
async def cluster(data_dir: Path) -> AsyncIterator[Setup]:
    """A cluster of which nothing becomes."""
    async with clustered(data_dir, "valkey") as running:
        yield Setup(running.url)


@asynccontextmanager
async def failing(data_dir: Path) -> AsyncIterator[Setup]:
    """A cluster whose primaries are killed now and then; the dead one comes back, a replica, before the next dies."""
    async with clustered(data_dir, "valkey") as running:

        async def replace(partition: int) -> None:
            await asyncio.gather(*(node.start() for node in running.nodes if node.pid is None))
            await eventually(running.whole, READY_WITHIN_S)
            await running.kill_owner(partition)
            DONE["primaries killed"] += 1

        yield Setup(running.url, replace)


@asynccontextmanager
async def migrating(data_dir: Path) -> AsyncIterator[Setup]:
    """A cluster whose partitions are on their way from one primary to the next all the time."""
    async with clustered(data_dir, "valkey") as running:
        setup = Setup(running.url)
        moving = asyncio.create_task(keep_migrating(running, setup.still))
        yield setup
        moving.cancel()
        with suppress(asyncio.CancelledError):
            await moving


async def keep_migrating(running: Cluster, still: asyncio.Lock) -> None:
    for partition in itertools.cycle(range(CLUSTER_PARTITIONS)):
        async with still:
            moved = await migrate_at_once(running, partition, await running.next_to(partition))
        DONE["slots migrated" if moved else "migrations called off"] += 1


@asynccontextmanager
async def sentinel(data_dir: Path) -> AsyncIterator[Setup]:
    """A primary that hands over to its replica now and then, by order of the sentinels."""
    async with watched_by_sentinels(data_dir, "valkey", down_after_ms=PATIENT_MS) as running:

        async def replace(partition: int) -> None:
            del partition
            await eventually(running.whole, READY_WITHIN_S)
            await running.fail_over("COORDINATED")
            DONE["failovers by Sentinel"] += 1

        yield Setup(running.url, replace)


SETUPS = {setup.__name__: setup for setup in (cluster, failing, migrating, sentinel)}


@dataclass(frozen=True)
class Shared(Server):
    """A setup as tests see it, from loops of their own.

    Attributes:
        setup: which lives in another loop.
        do: has something done there.
        due: whether a primary is to be replaced now.
        turns: count what was.
    """

    setup: Setup
    do: Do
    due: Iterator[bool] = field(default_factory=lambda: itertools.cycle([*[False] * (EVERY - 1), True]))
    turns: Iterator[int] = field(default_factory=itertools.count)

    async def flush(self) -> None:
        # Or what is on its way to a server that is empty already would stay.
        async with at_rest(self):
            await super().flush()


@asynccontextmanager
async def shared(name: str, data_dir: Path) -> AsyncIterator[Shared]:
    """A setup that runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    try:
        async with entered(SETUPS[name](data_dir), do) as setup:
            yield Shared(name, setup.url, setup, do)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def entered(context: AbstractAsyncContextManager[T], do: Do) -> AsyncIterator[T]:
    """A context that is entered and left in another loop."""
    stack = AsyncExitStack()
    inside: T = await do(stack.enter_async_context(context))
    try:
        yield inside
    finally:
        await do(stack.aclose())


@asynccontextmanager
async def at_rest(server: Server) -> AsyncIterator[None]:
    """No partition is on its way meanwhile."""
    if isinstance(server, Shared):
        async with entered(server.setup.still, server.do):
            yield
    else:
        yield


async def outlive(server: Server, rig: Rig) -> None:
    """Have a primary replaced, where one is due, while the rig is connected: it finds by itself what has taken over."""
    if not isinstance(server, Shared) or server.setup.replace is None or not next(server.due):
        return
    partitions = rig.keys.partitions
    names = [name_in(rig.keys, partition) for partition in range(partitions)]
    await rig.submit(*names)
    await server.do(server.setup.replace(next(server.turns) % partitions))
    await rig.submit(*names)
    await rig.connection.everywhere("FLUSHALL")
