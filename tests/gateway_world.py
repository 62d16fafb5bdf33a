"""A simulated world with a gateway in it, and clients that do not give up."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from edgescale.config import Settings
from edgescale.errors import Unavailable
from edgescale.harness.simulation.gateway import GatewayLife
from edgescale.harness.simulation.handlers import simulated_handlers
from edgescale.harness.simulation.terms import SETTINGS
from edgescale.harness.simulation.world import World
from edgescale.telemetry.logs import silent_logs

T = TypeVar("T")
USUAL: dict[str, Any] = {
    **SETTINGS,
    "lease_ms": 2_000,
    "lane_cap": 1_000,
    "worker_lanes": {"text": 8, "file": 4, "heartbeat": 8},
}
SERVICES = ("ingestion-1", "ingestion-2", "gateway-1", "worker-1", "worker-2")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Nodes are left in the midst of their work; collecting them would run what a crash must not run."""
    gc.disable()
    try:
        with silent_logs():
            yield
    finally:
        gc.enable()


def run_world(seed: int, story: Callable[[World], Awaitable[T]], *services: str, **changes: Any) -> tuple[World, T]:
    """Start services, run a story in their midst, and say what it came to.

    Args:
        seed: of the world.
        story: begins when all services are ready.
        services: `SERVICES` when there are none.
        changes: of the settings.
    """
    world = World(seed, Settings(**{**USUAL, **changes}), simulated_handlers)
    results: list[T] = []

    async def whole(world: World) -> None:
        for name in services or SERVICES:
            world.start(name)
        for life in world.ingestions.values():
            await life.inbox.ready.wait()
        results.append(await story(world))

    world.run(whole)
    return world, results[0]


def gateway_of(world: World, name: str = "gateway-1") -> GatewayLife:
    """The gateway's present life."""
    life = world.services[name]
    assert isinstance(life, GatewayLife)
    return life


def under_way(world: World) -> int:
    """Requests and uploads that ingestion's servicers are about to answer."""
    services = [life.service for life in world.ingestions.values() if not life.node.crashed]
    return sum(service.requests.under_way + service.uploads.under_way for service in services)


async def sooner_or_later(attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt comes to once nothing is away any more."""
    while True:
        try:
            return await attempt()
        except (Unavailable, TimeoutError):
            await asyncio.sleep(0.2)


def lines(world: World) -> list[str]:
    """The history."""
    return [event.line() for event in world.recorder.events]
