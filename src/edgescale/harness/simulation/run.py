"""One run: a plan is carried out in a world of its own, and the checkers judge what was seen."""

import asyncio
import gc
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgescale.harness.checkers import Verdict, judge
from edgescale.harness.clients.clients import Clients
from edgescale.harness.history import History
from edgescale.harness.markers import hits
from edgescale.harness.plan import Plan
from edgescale.harness.simulation.doors import doors_of
from edgescale.harness.simulation.final import write_final
from edgescale.harness.simulation.fit import check_plan
from edgescale.harness.simulation.handlers import simulated_handlers
from edgescale.harness.simulation.looking import ask_for_all_who_wait
from edgescale.harness.simulation.loop import NS
from edgescale.harness.simulation.nemesis import Nemesis
from edgescale.harness.simulation.terms import LANES, header_of
from edgescale.harness.simulation.world import World
from edgescale.telemetry.logs import silent_logs

SAMPLE_S = 0.25
# The longest that anything may take once all is healed: every attempt at its full length, each after a lost lease.
QUIESCE_S, REST_S = 60.0, 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """What became of a plan.

    Attributes:
        plan: that was carried out.
        history: what everybody saw.
        verdicts: one for each promise, P1 first.
        markers: how often each was hit, by name.
        failure: what the simulation itself ended with: it got stuck, or something failed that nobody took; else empty.
        requests: that came to an end.
        virtual_s: how long it took in the world.
        cpu_s: how long it took here, checks included.
        turns: of the loop.
        trace: digest of the history.
    """

    plan: Plan
    history: History
    verdicts: tuple[Verdict, ...]
    markers: Mapping[str, int]
    failure: str
    requests: int
    virtual_s: float
    cpu_s: float
    turns: int
    trace: str

    @property
    def good(self) -> bool:
        """Whether nothing failed and every promise was kept."""
        return not self.failure and all(verdict.outcome == "valid" for verdict in self.verdicts)


def simulate(plan: Plan) -> Run:
    """Carry out a plan.

    Raises:
        ConfigError: the plan names a setting, service or fault that there is not.
    """
    began_s = time.process_time()
    settings = check_plan(plan)
    world = World(
        plan.seed,
        settings,
        simulated_handlers,
        redis=dict(plan.redis),
        clocks=plan.clocks,
        shuffled=(plan.shuffled_from, plan.shuffled_to),
    )
    clients = Clients(world, doors_of(world))
    with silent_logs():
        failure = _carry_out(world, clients, plan)
    history = History.ordered(header_of(plan, settings, world.server.loss_window_ms), world.recorder.events)
    verdicts = judge(history)
    return Run(
        plan,
        history,
        verdicts,
        hits(history),
        failure,
        clients.ended,
        world.loop.now_ns / NS,
        time.process_time() - began_s,
        world.loop.turns,
        history.digest(),
    )


def _carry_out(world: World, clients: Clients, plan: Plan) -> str:
    """Run the story; what it failed with."""
    collecting = gc.isenabled()
    # What a crash left behind must not be collected: that would run what must never run again.
    gc.disable()
    try:
        world.run(lambda world: _story(world, clients, plan))
    except Exception as error:  # noqa: BLE001 - whatever it is, the history up to here is worth a look
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}"
    finally:
        if collecting:
            gc.enable()
    return ""


async def _story(world: World, clients: Clients, plan: Plan) -> None:
    """Faults and requests first, then all is healed, then everything must come to rest."""
    for kind, count in plan.services.items():
        for number in range(1, count + 1):
            world.start(f"{kind}-{number}")
    nemesis = Nemesis(world)
    sending = [asyncio.create_task(clients.send(request)) for request in plan.requests]
    probing = asyncio.create_task(_probe(world))
    await nemesis.strike_all(plan.faults)
    nemesis.revive()
    if sending:
        await asyncio.wait(sending)
    await ask_for_all_who_wait(world, LANES)
    await _at_rest(world)
    nemesis.revive()
    probing.cancel()
    write_final(world, LANES)


async def _at_rest(world: World) -> None:
    """Wait until nothing is queued or running any more, or for as long as anything may take."""
    partitions = world.keys.partitions
    for _ in range(int(QUIESCE_S / REST_S)):
        if not any(world.server.watch.figures(lane, partitions)[0] for lane in LANES):
            return
        await asyncio.sleep(REST_S)


async def _probe(world: World) -> None:
    caps = {lane: world.settings.cap_of(lane) for lane in LANES}
    while True:
        await asyncio.sleep(SAMPLE_S)
        if world.server.model.running:
            world.server.watch.sample(LANES, world.keys.partitions, caps)
