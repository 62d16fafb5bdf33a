"""Composition: each service built from its parts. Nothing below this module constructs a collaborator of its own."""

import asyncio
import os
import platform
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgescale.broker.agents import AgentRegistry
from edgescale.broker.broker import Broker
from edgescale.broker.cancel import Canceller
from edgescale.broker.connection import Connection
from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.fence import Fence
from edgescale.broker.inbox import Inbox
from edgescale.broker.inspect import LaneInspector
from edgescale.broker.keys import Keys
from edgescale.chance import Chance, SystemChance
from edgescale.config import Settings
from edgescale.errors import ConfigError

if TYPE_CHECKING:
    from edgescale.handlers.base import Handler
    from edgescale.worker.worker import Worker

Ready = Callable[[str], None]
Service = Callable[[Settings, asyncio.Event, Ready], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Craft:
    """What services are made of; the harness has parts that write down what they see.

    Attributes:
        fence: of `strict`, from the settings; None for none.
        broker: from connection, names, settings and chance.
        inbox: from connection, broker, names, settings and chance.
        handlers: of the worker with this name, from those that it would have.
    """

    fence: Callable[[Settings], Fence | None] = Fence.of
    broker: Callable[[Connection, Keys, Settings, Chance], Broker] = Broker
    inbox: Callable[[Connection, Broker, Keys, Settings, Chance], Inbox] = Inbox
    handlers: "Callable[[Sequence[Handler], str], Sequence[Handler]]" = lambda handlers, _: handlers


USUAL = Craft()


def blob_url(settings: Settings) -> str:
    """Where files are kept: as set, or in the data directory."""
    return settings.blob_url or (settings.data_dir / "blobs").absolute().as_uri()


def consumer_name(chance: Chance) -> str:
    """`<host>-<pid>-<random>`: tells people which process it is, and is unlike any other there ever was."""
    return f"{platform.node() or 'host'}-{os.getpid()}-{chance.new_id()[:8]}"


@asynccontextmanager
async def open_broker(
    settings: Settings, chance: Chance, craft: Craft = USUAL
) -> AsyncIterator[tuple[Connection, Keys, Broker]]:
    """The connection, the names and the broker, closed at the end."""
    keys = Keys(settings.partitions)
    fence = craft.fence(settings)
    connection = Connection(settings.redis_url, timeout_ms=settings.redis_timeout_ms, fence=fence)
    try:
        yield connection, keys, craft.broker(connection, keys, settings, chance)
    finally:
        await connection.close()


async def run_ingestion(settings: Settings, stop: asyncio.Event, on_ready: Ready, craft: Craft = USUAL) -> None:
    """Run one ingestion process until `stop` is set.

    Raises:
        ConfigError: it cannot work with these settings.
    """
    from edgescale.ingestion.intake import Intake  # noqa: PLC0415 - gRPC is slow to import, and others do not need it
    from edgescale.ingestion.server import IngestionServer  # noqa: PLC0415
    from edgescale.ingestion.service import IngestionService  # noqa: PLC0415
    from edgescale.uploads.store import BlobStore  # noqa: PLC0415

    chance = SystemChance()
    store = BlobStore.open(blob_url(settings))
    async with open_broker(settings, chance, craft) as (connection, keys, broker):
        inbox = craft.inbox(connection, broker, keys, settings, chance)
        service = IngestionService(
            Intake(broker, inbox, store, settings, chance),
            AgentRegistry(connection, keys, settings),
            LaneInspector(connection, keys, settings),
            Canceller(connection, keys, settings, chance),
            DeadLetters(connection, keys, settings, chance),
            settings,
        )
        await IngestionServer(service, inbox, connection, settings, chance).run(stop, on_ready=on_ready)
        await store.aclose()


async def run_worker(settings: Settings, stop: asyncio.Event, on_ready: Ready, craft: Craft = USUAL) -> None:
    """Run one worker process until `stop` is set.

    Raises:
        ConfigError: it cannot work with these settings.
    """
    from edgescale.handlers.analysis import warm  # noqa: PLC0415 - analysis libraries are slow to import
    from edgescale.handlers.file import FileHandler  # noqa: PLC0415
    from edgescale.handlers.heartbeat import HeartbeatHandler  # noqa: PLC0415
    from edgescale.handlers.registry import Registry  # noqa: PLC0415
    from edgescale.handlers.text import TextHandler  # noqa: PLC0415
    from edgescale.uploads.store import BlobStore  # noqa: PLC0415
    from edgescale.worker.pool import HandlerPool  # noqa: PLC0415
    from edgescale.worker.share import Share  # noqa: PLC0415
    from edgescale.worker.watchdog import Watchdog  # noqa: PLC0415
    from edgescale.worker.worker import Worker  # noqa: PLC0415

    chance = SystemChance()
    store = BlobStore.open(blob_url(settings))
    pool = HandlerPool(settings.pool_processes)
    consumer = consumer_name(chance)
    async with open_broker(settings, chance, craft) as (connection, keys, broker):
        heartbeats = HeartbeatHandler(AgentRegistry(connection, keys, settings))
        texts = TextHandler(pool, offload_above_bytes=settings.pool_above_bytes)
        handlers = craft.handlers([heartbeats, texts, FileHandler(store)], consumer)
        registry = Registry(handlers)
        if strangers := sorted(settings.worker_lanes.keys() - registry.lanes()):
            known = ", ".join(sorted(registry.lanes()))
            raise ConfigError(f"worker_lanes: no handler serves lane {strangers[0]!r}; those that are served: {known}")
        if texts in handlers and TextHandler.lane in settings.worker_lanes:
            # Before work is taken: loading models with the first text would hold up the loop, and leases with it.
            await asyncio.to_thread(warm)
        worker = Worker(
            connection,
            keys,
            broker,
            registry,
            settings,
            chance,
            consumer=consumer,
            lanes=settings.worker_lanes,
            share=Share(settings.slots_max, settings.weights),
        )
        asked = asyncio.create_task(_when(stop, worker.stop))
        try:
            async with _probed(worker, settings.worker_health_bind):
                with Watchdog().watching():
                    await worker.run(on_ready=on_ready)
        finally:
            asked.cancel()
            pool.close()


@asynccontextmanager
async def _probed(worker: "Worker", bind: str) -> AsyncIterator[None]:
    """Answer probes within the block, if the worker is to answer any."""
    if not bind:
        yield
        return
    from edgescale.worker.health import health_served  # noqa: PLC0415 - so that who asks for none loads no HTTP server

    async with health_served(bind, lambda: worker.readiness):
        yield


async def run_gateway(settings: Settings, stop: asyncio.Event, on_ready: Ready) -> None:
    """Run one gateway process until `stop` is set.

    Raises:
        ConfigError: it cannot work with these settings.
    """
    from edgescale.gateway.server import serve_gateway  # noqa: PLC0415 - FastAPI is slow to import

    serving = asyncio.create_task(serve_gateway(settings, SystemChance(), ready=on_ready))
    asked = asyncio.create_task(_when(stop, serving.cancel))
    try:
        await asyncio.wait([serving])
    finally:
        asked.cancel()
    if not serving.cancelled():
        await serving


async def _when(event: asyncio.Event, then: Callable[[], object]) -> None:
    await event.wait()
    then()


def run_service(service: Service, settings: Settings, *, name: str, until_stdin_closes: bool = False) -> None:
    """Run a service on uvloop until SIGTERM or SIGINT, and say on standard output when it is ready.

    Args:
        service: one of this module's `run_*`.
        settings: checked.
        name: for the line `ready <name> <address>`.
        until_stdin_closes: stop, too, when standard input ends: so a supervisor that is killed leaves nobody behind.

    Raises:
        ConfigError: the service cannot work with these settings.
    """
    import uvloop  # noqa: PLC0415 - only services need it

    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if until_stdin_closes:
            await loop.connect_read_pipe(lambda: _StopAtEnd(stop), sys.stdin)
        await service(settings, stop, lambda address: print(f"ready {name} {address}", flush=True))  # noqa: T201

    uvloop.run(main())


class _StopAtEnd(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        del exc
        self._stop.set()
