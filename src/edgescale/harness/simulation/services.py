"""The real services as nodes of a simulation: how each is put together, started and asked to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgescale.broker.agents import AgentRegistry
from edgescale.broker.cancel import Canceller
from edgescale.broker.connection import Connection
from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.fence import Fence
from edgescale.broker.inspect import LaneInspector
from edgescale.handlers.base import Handler
from edgescale.handlers.registry import Registry
from edgescale.harness.recording.recorded import RecordingBroker, RecordingHandler, RecordingInbox
from edgescale.harness.recording.recorded_fence import RecordingFence
from edgescale.harness.recording.recorded_share import RecordingShare
from edgescale.harness.simulation.node import Node, SimulatedChance
from edgescale.harness.simulation.server import URL
from edgescale.ingestion.intake import Intake
from edgescale.ingestion.service import IngestionService
from edgescale.worker.share import Share
from edgescale.worker.worker import Worker

if TYPE_CHECKING:
    from edgescale.harness.simulation.world import World


class Service(Protocol):
    """One life of a service.

    Attributes:
        node: its process.
        chance: its clock, and all that it draws.
        main: done when it has ended by itself.
    """

    node: Node
    chance: SimulatedChance
    main: asyncio.Task[None]

    def stop(self) -> None:
        """What it does at SIGTERM; called as part of its process."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker's handlers may be made of.

    Attributes:
        world: the world.
        node: the worker's process.
        chance: the worker's.
        agents: the registry of agents.
    """

    world: "World"
    node: Node
    chance: SimulatedChance
    agents: AgentRegistry


Handlers = Callable[[Parts], list[Handler]]


@dataclass(eq=False)
class Ingestion:
    """One life of an ingestion process."""

    node: Node
    chance: SimulatedChance
    service: IngestionService
    inbox: RecordingInbox
    stopping: asyncio.Event
    main: asyncio.Task[None]

    def stop(self) -> None:
        """Take nothing new, answer what is open, end."""
        self.stopping.set()


@dataclass(eq=False)
class WorkerLife:
    """One life of a worker process."""

    node: Node
    chance: SimulatedChance
    worker: Worker
    main: asyncio.Task[None]
    noted: Callable[[], None]

    def stop(self) -> None:
        """Drain."""
        self.noted()
        self.worker.stop()


def spawn_main(world: "World", node: Node, main: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run what a process is; should it end with an error, so does the run: it is a defect."""

    async def until_ended() -> None:
        try:
            await main
        except Exception as error:  # noqa: BLE001 - whatever it is, it would have ended the process
            world.loop.call_exception_handler({"message": f"{node.actor} failed", "exception": error})
        # The process is gone, and with it whatever it left open.
        node.crash()
        world.network.reset_all(node.name)

    return node.spawn(until_ended())


def _broker(world: "World", node: Node, chance: SimulatedChance) -> tuple[Connection, RecordingBroker]:
    fence = RecordingFence.around(Fence.of(world.settings), world.recorder, node.actor)
    connection = Connection(URL, timeout_ms=world.settings.redis_timeout_ms, fence=fence)
    collaborators = (connection, world.keys, world.settings, chance)
    return connection, RecordingBroker(world.recorder, node.actor, *collaborators)


def start_ingestion(world: "World", name: str) -> Ingestion:
    """Start an ingestion process; as `edgescale.ingestion.server` does, without gRPC."""
    node, chance = world.new_node(name)
    connection, broker = _broker(world, node, chance)
    inbox = RecordingInbox(world.recorder, node.actor, connection, broker, world.keys, world.settings, chance)
    service = IngestionService(
        Intake(broker, inbox, world.store, world.settings, chance),
        AgentRegistry(connection, world.keys, world.settings),
        LaneInspector(connection, world.keys, world.settings),
        Canceller(connection, world.keys, world.settings, chance),
        DeadLetters(connection, world.keys, world.settings, chance),
        world.settings,
    )
    stopping = asyncio.Event()

    async def serve() -> None:
        await _ingest(world, node, inbox, service, stopping)
        await connection.close()

    main = spawn_main(world, node, serve())
    return Ingestion(node, chance, service, inbox, stopping, main)


async def _ingest(
    world: "World", node: Node, inbox: RecordingInbox, service: IngestionService, stopping: asyncio.Event
) -> None:
    listening = asyncio.create_task(inbox.run())
    opening = asyncio.create_task(_open_when_ready(world, node, inbox, service))
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()
    if listening.done():
        listening.result()
    world.recorder.note(node.actor, "stopping")
    service.requests.close()
    service.uploads.close()
    idle = asyncio.create_task(_idle(service))
    await asyncio.wait([idle], timeout=world.settings.drain_grace_ms / 1000)
    idle.cancel()
    listening.cancel()
    await asyncio.wait([listening])
    # What is left open is cut off with the process.
    world.recorder.note(node.actor, "stopped")


async def _open_when_ready(world: "World", node: Node, inbox: RecordingInbox, service: IngestionService) -> None:
    await inbox.ready.wait()
    service.requests.open()
    service.uploads.open()
    world.recorder.note(node.actor, "ready")


async def _idle(service: IngestionService) -> None:
    await service.requests.idle()
    await service.uploads.idle()


def _share(world: "World", node: Node) -> Share:
    """The share of a worker; one that is never short of permits is not worth writing down."""
    settings = world.settings
    if not settings.worker_slots_max:
        return Share(settings.slots_max, settings.weights)
    return RecordingShare(world.recorder, node.actor, settings.slots_max, settings.weights)


def start_worker(world: "World", name: str) -> WorkerLife:
    """Start a worker process."""
    node, chance = world.new_node(name)
    connection, broker = _broker(world, node, chance)
    consumer = f"{node.name}-{node.incarnation}-{chance.new_id()[:8]}"
    parts = Parts(world, node, chance, AgentRegistry(connection, world.keys, world.settings))
    registry = Registry(
        RecordingHandler(handler, world.recorder, actor=node.actor, consumer=consumer)
        for handler in world.handlers(parts)
    )
    lanes = world.settings.worker_lanes
    share = _share(world, node)
    worker = Worker(
        connection, world.keys, broker, registry, world.settings, chance, consumer=consumer, lanes=lanes, share=share
    )
    slots = ",".join(f"{lane}={count}" for lane, count in lanes.items())

    async def work() -> None:
        await worker.run(on_ready=lambda _: world.recorder.note(node.actor, "ready", slots=slots))
        world.recorder.note(node.actor, "stopped")
        await connection.close()

    main = spawn_main(world, node, work())
    return WorkerLife(node, chance, worker, main, lambda: world.recorder.note(node.actor, "stopping"))
