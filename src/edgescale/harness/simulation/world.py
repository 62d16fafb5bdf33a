"""A world in one object: a Redis model, nodes that run the real services, a blob store, and what they all saw."""

import asyncio
import contextvars
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - the seed of a simulation is the one source of its chance
from typing import Any

from edgescale.broker.keys import Keys
from edgescale.config import Settings
from edgescale.harness.recording.recorder import Recorder
from edgescale.harness.simulation.gateway import GatewayLife, start_gateway
from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import GRAVEYARD, Node, SimulatedChance
from edgescale.harness.simulation.rpc import Rpc
from edgescale.harness.simulation.server import RedisServer
from edgescale.harness.simulation.services import (
    Handlers,
    Ingestion,
    Service,
    WorkerLife,
    start_ingestion,
    start_worker,
)
from edgescale.harness.simulation.store import SimulatedStore


@dataclass(eq=False)
class World:
    """Everything of one simulated run.

    Args:
        seed: decides everything that is not in `settings` and in what is done to the world.
        settings: of all services.
        handlers: makes a worker's handlers.
        redis: options of the Redis model, such as `appendfsync`.
        clocks: how wrong the clocks of nodes are, in milliseconds, by name.
        shuffled: the turns of the loop whose callbacks run in any order; a negative end is none.

    Attributes:
        services: the present life of each service, by name.
    """

    seed: int
    settings: Settings
    handlers: Handlers
    redis: Mapping[str, Any] = field(default_factory=dict)
    clocks: Mapping[str, int] = field(default_factory=dict)
    shuffled: tuple[int, int] = (0, -1)
    incarnations: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build what outlives every node."""
        self.outside = contextvars.copy_context()
        self.loop = SimulationLoop(self.rng("schedule"), shuffled=self.shuffled)  # type: ignore[abstract] # the rest is set by name
        self.network = SimulatedNetwork(self.loop, self.rng("network"))
        self.loop.network = self.network
        self.recorder = Recorder(self.now_ns)
        self.keys = Keys(self.settings.partitions)
        self.store = SimulatedStore(self.rng("store"))
        self.rpc = Rpc(self.network, self.rng("rpc"))
        self.server = RedisServer(self.network, self.recorder, self.keys, self.redis, self.clocks.get("redis", 0))

    @property
    def ingestions(self) -> dict[str, Ingestion]:
        """The ingestion processes among the services."""
        return {name: life for name, life in self.services.items() if isinstance(life, Ingestion)}

    @property
    def ingestion_names(self) -> Collection[str]:
        """The names of the ingestion processes."""
        return self.ingestions

    def now_ns(self) -> int:
        """Virtual nanoseconds since the run began."""
        return self.loop.now_ns

    def clock_ms(self) -> int:
        """Milliseconds since 1970 by the clock of Redis."""
        return self.server.model.clock_ms()

    @property
    def workers(self) -> dict[str, WorkerLife]:
        """The workers among the services."""
        return {name: life for name, life in self.services.items() if isinstance(life, WorkerLife)}

    def rng(self, purpose: str) -> Random:
        """A source of chance of its own for each purpose, so that one more draw here moves nothing there."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - chance that can be replayed is the point

    def new_node(self, name: str) -> tuple[Node, SimulatedChance]:
        """The next life of a process, and its clock and chance."""
        self.incarnations[name] = self.incarnations.get(name, 0) + 1
        # A machine that is back answers whatever still comes over its old connections with resets.
        self.network.reset_all(name)
        node = Node(self.loop, name, self.incarnations[name])
        return node, SimulatedChance(self.loop, self.rng(node.actor), wall_offset_ms=self.clocks.get(name, 0))

    def start(self, name: str) -> None:
        """Start a service by its name, such as `worker-1`; it serves when it has noted that it is ready."""
        kinds: dict[str, Callable[[str], Service]] = {
            "ingestion": self.start_ingestion,
            "gateway": self.start_gateway,
            "worker": self.start_worker,
        }
        kinds[name.partition("-")[0]](name)

    def start_ingestion(self, name: str) -> Ingestion:
        """Start an ingestion process; it serves as soon as its inbox is subscribed."""
        life = start_ingestion(self, name)
        self._began(life)
        return life

    def start_gateway(self, name: str) -> GatewayLife:
        """Start a gateway process; it serves at once."""
        life = start_gateway(self, name)
        self._began(life)
        return life

    def start_worker(self, name: str) -> WorkerLife:
        """Start a worker process."""
        life = start_worker(self, name)
        self._began(life)
        return life

    def _began(self, life: Service) -> None:
        self.services[life.node.name] = life
        self.recorder.note("nemesis", "start", node=life.node.actor)

    def start_again(self, node: Node) -> None:
        """Start the next life of a process that has ended, unless somebody did that."""
        if self.services[node.name].node is node and node.crashed:
            self.start(node.name)

    def node(self, name: str) -> Node:
        """The present life of a service's process."""
        return self.services[name].node

    def crash(self, node: Node, *, silent: bool = False) -> None:
        """Kill a process. Its connections are reset, or fall silent as when the whole machine is gone."""
        if node.crashed:
            return
        self.recorder.note("nemesis", "crash", node=node.actor)
        node.crash(silent=silent)
        if not silent:
            self.network.reset_all(node.name)

    def pause(self, node: Node) -> bool:
        """Freeze a process; False when it does not run."""
        if not node.running:
            return False
        self.recorder.note("nemesis", "pause", node=node.actor)
        node.pause()
        return True

    def resume(self, node: Node) -> None:
        """Thaw a process that has not crashed meanwhile."""
        if not node.crashed:
            self.recorder.note("nemesis", "resume", node=node.actor)
            node.resume()

    async def stop(self, name: str) -> None:
        """Ask a service politely to stop, as SIGTERM does, and wait until it has ended, however."""
        life = self.services[name]
        if not life.node.running:
            return
        self.recorder.note("nemesis", "stop", node=life.node.actor)
        life.node.call_soon(life.stop)
        await asyncio.wait([life.main, life.node.died], return_when=asyncio.FIRST_COMPLETED)

    def run(self, story: "Story") -> None:
        """Run a story to its end. What still runs then is left where it is.

        Raises:
            SimulationError: it got stuck.
            Exception: whatever a node failed with.
        """
        try:
            self.loop.run_until_complete(story(self))
        finally:
            # Kept for good, so that nobody runs the `finally` of what was left in the midst of its work.
            GRAVEYARD.append((self, asyncio.all_tasks(self.loop)))
        self.loop.close()


Story = Callable[[World], Coroutine[Any, Any, None]]
