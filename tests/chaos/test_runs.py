"""A run on real parts that goes wrong in its midst: what was seen is judged, and what went wrong is told."""

import dataclasses
from pathlib import Path

import psutil
import pytest

from edgescale.errors import BrokerUnavailable
from edgescale.harness.chaos.fault_proxy import FaultProxies
from edgescale.harness.chaos.native import NativeProvider
from edgescale.harness.chaos.run import carry_out
from edgescale.harness.chaos.scenario import load_scenario
from tests.processes import program
from tests.support import eventually

SEED = 1
STOPPED = """
import os, signal
from edgescale.local.child import end_with_parent
end_with_parent(signal.SIGKILL)
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print("ready", child.stdout.readline().strip(), flush=True)
child.wait()
"""


@pytest.mark.timeout(120)
async def test_a_server_that_does_not_come_back_ends_the_run_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(load_scenario("redis-restart"), duration_s=5.0).plan(SEED)
    plan = dataclasses.replace(whole, faults=tuple(fault for fault in whole.faults if fault.name == "restart"))

    async def gone() -> None:
        raise BrokerUnavailable("it did not come back")

    async with NativeProvider(data_dir=tmp_path / "servers") as provider:
        server = await provider.server()
        monkeypatch.setattr(server, "restart", gone)
        run = await carry_out(plan, server, FaultProxies(SEED), tmp_path / "run")

    assert "it did not come back" in run.failures
    assert not run.good
    assert {event.operation for event in run.history.events} >= {"submit", "accept", "deliver", "settle", "away"}


async def test_a_process_that_stands_still_ends_with_who_started_it() -> None:
    async with program("-c", PARENT, STOPPED) as parent:
        child = psutil.Process(int(await parent.address()))
        await eventually(lambda: child.status() == psutil.STATUS_STOPPED)
        parent.kill()
        await parent.status()
        await eventually(lambda: not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE)
