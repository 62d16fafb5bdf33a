"""The examples of docs/simulation.md, as they stand there: each does what it says."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgescale.harness import workload
from edgescale.harness.expand import plan_of
from edgescale.harness.history import Event, Header, History
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.simulation import faults
from edgescale.harness.simulation.run import simulate
from edgescale.harness.workload import Scene

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulation.md"
TEXT = Request(300, "client-1", "text", "r1", "ingestion-1", "work 40")
# Of which the mutant breaks a few.
SEEDS = range(100)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Runs the code under a heading; what it adds to the swarm is taken out again."""
    monkeypatch.setattr(workload, "WORKLOADS", dict(workload.WORKLOADS))
    monkeypatch.setattr(faults, "FAULTS", kinds := dict(faults.FAULTS))
    monkeypatch.setattr("edgescale.harness.simulation.fit.FAULTS", kinds)
    monkeypatch.setattr("edgescale.harness.simulation.nemesis.FAULTS", kinds)

    def run(heading: str) -> dict[str, Any]:
        section = DOCUMENT.read_text().partition(f"## {heading}\n")[2]
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        assert code is not None
        names: dict[str, Any] = {}
        exec(compile(code[1], str(DOCUMENT), "exec"), names)  # noqa: S102 - our own document
        return names

    return run


def test_the_workload_sends_each_id_through_two_doors(example: Any) -> None:
    example("Writing a workload")
    scene = Scene(Random(1), ("ingestion-1", "ingestion-2"), 2_000, 1_000, 3, 20)
    requests = tuple(workload.requests_of("twins", scene))
    run = simulate(Plan(1, services={"ingestion": 2, "worker": 1}, requests=requests))

    assert run.good
    assert len(requests) == 2 * len({request.request_id for request in requests})
    assert run.markers["two_doors"] == len(requests) // 2
    assert run.markers["shared_result"] == len(requests) // 2


def test_the_fault_keeps_a_worker_from_hearing_anything(example: Any) -> None:
    example("Writing a fault")
    plan = Plan(
        1, services={"ingestion": 1, "worker": 1}, requests=(TEXT,), faults=(Fault(100, 1_500, "deaf", "worker-1"),)
    )
    run = simulate(plan)
    [settled] = [event for event in run.history.named("settle") if event.phase == "ok"]

    assert run.good
    assert settled.time_ns > 1_600_000_000
    assert simulate(replace(plan, faults=())).history.end_ns < 1_600_000_000


def test_the_checker_finds_a_defect_and_doubts_an_empty_history(example: Any) -> None:
    check = example("Writing a checker")["check"]
    call = Event(0, 0, "client-1", "submit", "invoke", 1, "r1")
    told = Event(1, 5, "client-1", "submit", "info", 1, "r1", {"reason": "INTERNAL"})

    assert check(History(Header(), ())).outcome == "unknown"
    assert check(History(Header(), (call, replace(told, fields={"reason": "UNAVAILABLE"})))).outcome == "valid"
    assert [finding.rule for finding in check(History(Header(), (call, told))).findings] == ["defect"]


def test_the_mutant_is_caught_by_the_checker_that_it_names(example: Any) -> None:
    mutant = example("Writing a mutant")["MUTANT"]
    with mutant.applied():
        broken = next((seed for seed in SEEDS if _outcome(simulate(plan_of(seed)), mutant.promise) == "invalid"), None)

    assert broken is not None
    assert simulate(plan_of(broken)).good


def _outcome(run: Any, promise: str) -> str:
    outcome: str = next(verdict.outcome for verdict in run.verdicts if verdict.promise == promise)
    return outcome
