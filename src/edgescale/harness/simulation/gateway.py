"""The gateway as a node of a simulation: the real application, with simulated HTTP before it and gRPC behind it."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from edgescale.gateway.app import make_app
from edgescale.gateway.upstream import Ingestion
from edgescale.harness.simulation.calls import SimulatedCall, SimulatedUpload
from edgescale.harness.simulation.services import spawn_main
from edgescale.harness.simulation.upstream import SimulatedChannel

if TYPE_CHECKING:
    from grpc.aio import Channel
    from starlette.types import ASGIApp

    from edgescale.config import Settings
    from edgescale.harness.simulation.http import Exchange
    from edgescale.harness.simulation.node import Node, SimulatedChance
    from edgescale.harness.simulation.world import World

# The settings that the application looks at; it is given no others, so that one that is missing here is noticed.
SETTINGS = (
    "redis_patience_ms",
    "redis_timeout_ms",
    "text_bytes_max",
    "upload_bytes_max",
    "wait_default_ms",
    "wait_max_ms",
)
# How long cancelled requests may take to say so.
LAST_WORDS_S = 1.0
CHANNELS = ("unary", "uploads")
APPS_KEPT = 16


@dataclass(eq=False)
class GatewayLife:
    """One life of a gateway process.

    Attributes:
        node: its process.
        chance: its ids.
        app: what answers requests.
        unary, uploads: its channels to ingestion.
        stopping: set at SIGTERM.
        exchanges: requests that it is about to answer.
        main: done when it has ended by itself.
    """

    node: "Node"
    chance: "SimulatedChance"
    app: "ASGIApp"
    unary: SimulatedChannel
    uploads: SimulatedChannel
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    exchanges: dict["Exchange", None] = field(default_factory=dict)
    main: asyncio.Task[None] = field(init=False)

    @property
    def listening(self) -> bool:
        """Whether it takes connections."""
        return not (self.node.crashed or self.stopping.is_set())

    def stop(self) -> None:
        """Take no more requests, answer what is open, end."""
        self.stopping.set()


HERE: contextvars.ContextVar[GatewayLife] = contextvars.ContextVar("simulated_gateway")


def start_gateway(world: "World", name: str) -> GatewayLife:
    """Start a gateway process; it serves at once."""
    node, chance = world.new_node(name)
    app = _app(tuple(getattr(world.settings, setting) for setting in SETTINGS))
    unary, uploads = (SimulatedChannel(world, node, world.rng(f"{node.actor}/{kind}")) for kind in CHANNELS)
    life = GatewayLife(node, chance, app, unary, uploads)
    node.context.run(HERE.set, life)
    life.main = spawn_main(world, node, _serve(world, life))
    return life


async def _serve(world: "World", life: GatewayLife) -> None:
    """As `edgescale.gateway.server` does, without sockets."""
    world.recorder.note(life.node.actor, "ready")
    await life.stopping.wait()
    world.recorder.note(life.node.actor, "stopping")
    if not await _answered(life, max(1, world.settings.drain_grace_ms // 1000)):
        for exchange in life.exchanges:
            exchange.cancel()
        await _answered(life, LAST_WORDS_S)
    life.unary.close()
    life.uploads.close()
    world.recorder.note(life.node.actor, "stopped")


async def _answered(life: GatewayLife, within_s: float) -> bool:
    """Wait until no request is open; whether that came in time."""
    open_now = [exchange.task for exchange in life.exchanges]
    if open_now:
        await asyncio.wait(open_now, timeout=within_s)
    return not life.exchanges


# --- one application for all gateways ---------------------------------------------------------------------------------
#
# Making one takes as long as twenty requests, most of it for a document that no simulated client reads. It has no state
# of its own, so all lives of all gateways share it; what differs between them is looked up where its code runs.


@lru_cache(maxsize=APPS_KEPT)
def _app(values: tuple[int, ...]) -> "ASGIApp":
    settings = cast("Settings", SimpleNamespace(**dict(zip(SETTINGS, values, strict=True))))
    unary, uploads = (cast("Channel", ChannelHere(name)) for name in CHANNELS)
    return make_app(settings, Ingestion(unary, uploads), ChanceHere())


class ChannelHere:
    """A channel of whichever gateway's code calls, as far as generated stubs look at it.

    Args:
        name: of the channel in a `GatewayLife`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def unary_unary(self, path: str, **_: object) -> Callable[..., SimulatedCall]:
        """Calls of a method with one request and one response."""
        return partial(self._call, path.rpartition("/")[2])

    def _call(self, method: str, request: Any, **options: Any) -> SimulatedCall:
        channel: SimulatedChannel = getattr(HERE.get(), self._name)
        return channel.unary_unary(method, request, **options)

    def stream_unary(self, path: str, **_: object) -> Callable[..., SimulatedUpload]:
        """Calls of a method with many requests and one response."""
        return partial(self._upload, path.rpartition("/")[2])

    def _upload(self, method: str, **options: Any) -> SimulatedUpload:
        channel: SimulatedChannel = getattr(HERE.get(), self._name)
        return channel.stream_unary(method, **options)


class ChanceHere:
    """The chance of whichever gateway's code asks; an `edgescale.chance.Chance`."""

    def wall_ms(self) -> int:
        """As that gateway's."""
        return HERE.get().chance.wall_ms()

    def uniform(self, low: float, high: float) -> float:
        """As that gateway's."""
        return HERE.get().chance.uniform(low, high)

    def new_id(self) -> str:
        """As that gateway's."""
        return HERE.get().chance.new_id()
