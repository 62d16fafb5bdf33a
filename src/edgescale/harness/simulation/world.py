"""A world in one object: a Redis model, nodes that run the real services, clients, and what they all saw."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - the seed of a simulation is the one source of its chance
from typing import TYPE_CHECKING, Any

from edgescale.broker.agents import AgentRegistry
from edgescale.broker.connection import Connection
from edgescale.broker.inbox import Inbox
from edgescale.broker.inspect import LaneInspector
from edgescale.broker.keys import Keys
from edgescale.config import Settings
from edgescale.handlers.base import Handler
from edgescale.handlers.registry import Registry
from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import EPOCH_MS, Node, SimulatedChance
from edgescale.harness.simulation.recording import Recorder, RecordingBroker, RecordingHandler
from edgescale.harness.simulation.redis.model import RedisModel
from edgescale.harness.simulation.rpc import Rpc
from edgescale.harness.simulation.store import SimulatedStore
from edgescale.harness.simulation.transport import SimulatedTransport
from edgescale.ingestion.intake import Intake
from edgescale.ingestion.service import IngestionService
from edgescale.worker.worker import Worker

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.session import Session

REDIS_HOST, REDIS_PORT = "redis", 6379
Handlers = Callable[[SimulatedChance], list[Handler]]


class RedisEnd(asyncio.Protocol):
    """The server's end of a connection: bytes in, bytes out of the model."""

    def __init__(self, model: RedisModel, transport: SimulatedTransport) -> None:
        self._session: Session = model.connect(transport.write, transport.close)

    def data_received(self, data: bytes) -> None:
        """Feed the model."""
        self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the model."""
        del exc
        self._session.disconnect()


@dataclass(eq=False)
class Ingestion:
    """One life of an ingestion process."""

    node: Node
    service: IngestionService
    inbox: Inbox


@dataclass(eq=False)
class WorkerLife:
    """One life of a worker process."""

    node: Node
    worker: Worker
    task: asyncio.Task[None]


@dataclass(eq=False)
class World:
    """Everything of one simulated run.

    Args:
        seed: decides everything that is not in `settings` and in what is done to the world.
        settings: of all services.
        handlers: makes a worker's handlers.
    """

    seed: int
    settings: Settings
    handlers: Handlers
    incarnations: dict[str, int] = field(default_factory=dict)
    ingestions: dict[str, Ingestion] = field(default_factory=dict)
    workers: dict[str, WorkerLife] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build what outlives every node."""
        self.loop = SimulationLoop(self.rng("schedule"))  # type: ignore[abstract] # the rest is set by name
        self.network = SimulatedNetwork(self.loop, self.rng("network"))
        self.loop.network = self.network
        self.recorder = Recorder(self.loop)
        self.store = SimulatedStore(self.rng("store"))
        self.rpc = Rpc(self.network, self.rng("rpc"))
        self.redis = Node(self.loop, REDIS_HOST)
        self.model = RedisModel(
            lambda: self.loop.now_ns // 1000,
            lambda delay_s, call: self.loop.call_later(delay_s, call, context=self.redis.context).cancel,
            wall_offset_us=EPOCH_MS * 1000,
        )
        self.network.listen(REDIS_HOST, REDIS_HOST, REDIS_PORT, lambda end: RedisEnd(self.model, end))

    def rng(self, purpose: str) -> Random:
        """A source of chance of its own for each purpose, so that one more draw here moves nothing there."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - chance that can be replayed is the point

    def _new_node(self, name: str) -> tuple[Node, SimulatedChance]:
        self.incarnations[name] = self.incarnations.get(name, 0) + 1
        node = Node(self.loop, name, self.incarnations[name])
        return node, SimulatedChance(self.loop, self.rng(node.actor))

    def _broker(self, node: Node, chance: SimulatedChance) -> tuple[Connection, Keys, RecordingBroker]:
        keys = Keys(self.settings.partitions)
        url = f"redis://{REDIS_HOST}:{REDIS_PORT}/0"
        connection = Connection(url, timeout_ms=self.settings.redis_timeout_ms)
        broker = RecordingBroker(connection, keys, self.settings, chance)
        broker.recorder, broker.actor = self.recorder, node.actor
        return connection, keys, broker

    def start_ingestion(self, name: str) -> Ingestion:
        """Start an ingestion process; it serves as soon as its inbox is subscribed."""
        node, chance = self._new_node(name)
        connection, keys, broker = self._broker(node, chance)
        inbox = Inbox(connection, broker, keys, self.settings, chance)
        service = IngestionService(
            Intake(broker, inbox, self.store, self.settings, chance),
            AgentRegistry(connection, keys, self.settings),
            LaneInspector(connection, keys, self.settings),
            self.settings,
        )
        node.spawn(inbox.run())
        node.spawn(self._open_when_ready(node, inbox, service))
        life = self.ingestions[name] = Ingestion(node, service, inbox)
        self.recorder.note("nemesis", "start", node=node.actor)
        return life

    async def _open_when_ready(self, node: Node, inbox: Inbox, service: IngestionService) -> None:
        await inbox.ready.wait()
        service.requests.open()
        service.uploads.open()
        self.recorder.note(node.actor, "ready")

    def start_worker(self, name: str) -> WorkerLife:
        """Start a worker process."""
        node, chance = self._new_node(name)
        connection, _, broker = self._broker(node, chance)
        consumer = f"{node.name}-{node.incarnation}-{chance.new_id()[:8]}"
        registry = Registry(
            RecordingHandler(handler, self.recorder, actor=node.actor, consumer=consumer)
            for handler in self.handlers(chance)
        )
        lanes = self.settings.worker_lanes
        worker = Worker(connection, broker, registry, self.settings, chance, consumer=consumer, lanes=lanes)
        slots = ",".join(f"{lane}={count}" for lane, count in lanes.items())

        async def main() -> None:
            await worker.run(on_ready=lambda _: self.recorder.note(node.actor, "ready", slots=slots))
            self.recorder.note(node.actor, "stopped")

        life = self.workers[name] = WorkerLife(node, worker, node.spawn(main()))
        self.recorder.note("nemesis", "start", node=node.actor)
        return life

    def crash(self, node: Node, *, silent: bool = False) -> None:
        """Kill a process. Its connections are reset, or fall silent as when the whole machine is gone."""
        self.recorder.note("nemesis", "crash", node=node.actor)
        node.crash()
        if not silent:
            self.network.reset_all(node.name)

    def run(self, story: "Story") -> None:
        """Run a story to its end. What still runs then is left where it is.

        Raises:
            SimulationError: it got stuck.
            Exception: whatever a node failed with.
        """
        self.loop.run_until_complete(story(self))
        self.loop.close()


Story = Callable[[World], Coroutine[Any, Any, None]]
