"""The nemesis: does to a world what the plan says, writes down that it did, and heals it."""

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.harness.plan import Fault
from edgescale.harness.simulation.faults import FAULTS
from edgescale.harness.simulation.server_faults import REPLICA, STORE
from edgescale.harness.simulation.watch import REDIS

if TYPE_CHECKING:
    from edgescale.harness.event import Scalar
    from edgescale.harness.simulation.world import World

NAME = "nemesis"


class Nemesis:
    """Carries out faults.

    Args:
        world: what suffers.
    """

    def __init__(self, world: "World") -> None:
        self._world = world

    async def strike_all(self, faults: Iterable[Fault]) -> None:
        """Carry out all faults at their times, and wait until all are healed."""
        await asyncio.gather(*(self._strike(fault) for fault in faults))

    async def _strike(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_ms / 1000)
        kind = FAULTS[fault.name]
        recorder, call = self._world.recorder, self._world.recorder.new_call()
        noted: dict[str, Scalar] = {"fault": fault.name, "targets": self._targets(fault)}
        jump = {name: value for name, value in fault.options.items() if name == "jump_ms"}
        if kind.noted:
            recorder.write(NAME, "fault", "invoke", call, "", noted | jump)
        async with asynccontextmanager(kind.make)(self._world, fault):
            await asyncio.sleep(fault.for_ms / 1000)
        if kind.noted:
            recorder.write(NAME, "fault", "ok", call, "", noted)

    def _targets(self, fault: Fault) -> str:
        """Who suffers, as histories name it."""
        if fault.target == REPLICA:
            return REDIS
        # Everybody reads files or writes them.
        return ",".join([STORE, *self._world.services]) if fault.target == STORE else fault.target

    def revive(self) -> None:
        """Start whatever is down."""
        for life in list(self._world.services.values()):
            self._world.start_again(life.node)
