"""After each fault each service consumes again, without a restart; while it cannot, its health says so.

Within which time it does is measured, not tested: see `bench/bench_recovery.py`.
"""

import asyncio
from pathlib import Path

import pytest

from edgescale.local.valkey import EmbeddedValkey
from tests.faults import FAULTS, Fault, scene_of
from tests.recovery import PATIENCE_S, SUBJECTS, Make, burst
from tests.support import eventually


@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.number}-{fault.name}")
async def test_it_consumes_again_after(
    private_server: EmbeddedValkey, tmp_path: Path, fault: Fault, make: Make
) -> None:
    async with scene_of(private_server) as scene, make(scene, tmp_path) as subject:

        async def stands_still() -> bool:
            return not await subject.consumes()

        await burst(subject, "before")
        await eventually(subject.consumes, timeout_s=PATIENCE_S)
        async with asyncio.TaskGroup() as callers:
            async with fault.strike(scene):
                callers.create_task(burst(subject, "meanwhile"))
                if fault.lasts:
                    await eventually(stands_still, timeout_s=PATIENCE_S)
            callers.create_task(burst(subject, "after"))
        await eventually(subject.consumes, timeout_s=PATIENCE_S)
