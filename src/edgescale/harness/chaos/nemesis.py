"""The nemesis of a run on real parts: does what the plan says, writes down that it did, and heals it."""

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.site import NEMESIS
from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage


class Nemesis:
    """Carries out faults.

    Args:
        stage: what suffers.

    Attributes:
        active: faults in force now, for people who watch.
    """

    def __init__(self, stage: "RealStage") -> None:
        self._stage = stage
        # What is done to the server or to one service is done one after the other.
        self._turns: dict[str, asyncio.Lock] = {}
        self.active: list[Fault] = []

    async def strike_all(self, faults: Iterable[Fault]) -> None:
        """Carry out all faults at their times, counted from now, and wait until all are healed."""
        async with asyncio.TaskGroup() as striking:
            for fault in faults:
                striking.create_task(self._strike(fault))

    async def _strike(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_ms / 1000)
        async with self._turns.setdefault(fault.target, asyncio.Lock()):
            self.active.append(fault)
            try:
                await self._do(fault)
            finally:
                self.active.remove(fault)

    async def _do(self, fault: Fault) -> None:
        kind, recorder = FAULTS[fault.name], self._stage.site.recorder
        call, noted = recorder.new_call(), {"fault": fault.name, "targets": fault.target}
        if kind.noted:
            recorder.write(NEMESIS, "fault", "invoke", call, "", noted)
        async with asynccontextmanager(kind.make)(self._stage, fault):
            await asyncio.sleep(fault.for_ms / 1000)
        if kind.noted:
            recorder.write(NEMESIS, "fault", "ok", call, "", noted)
