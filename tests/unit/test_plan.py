"""Plans: what is written is what is read, and what cannot be read is said in a sentence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.expand import plan_of
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.simulation.faults import FAULTS
from edgescale.harness.simulation.run import simulate
from edgescale.harness.workload import WORKLOADS

A_REQUEST = {"at_ms": 1, "client": "c", "action": "text", "request_id": "r", "door": "ingestion-1"}
SEEDS = range(200)


def plan_text(**changes: Any) -> str:
    return json.dumps({"format": 1, "seed": 1, **changes})


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_reads_back_as_it_was_written(seed: int, tmp_path: Path) -> None:
    plan = replace(plan_of(seed), shuffled_from=seed, shuffled_to=seed + 1)
    path = tmp_path / "plan.json"
    plan.dump(path)

    assert Plan.load(path) == plan
    assert Plan.load(path).digest() == plan.digest()


def test_one_seed_is_one_plan_and_another_seed_another_one() -> None:
    assert plan_of(1) == plan_of(1)
    assert len({plan_of(seed).digest() for seed in SEEDS}) == len(SEEDS)


def test_a_plan_file_has_a_line_for_each_request_and_fault() -> None:
    request = Request(5, "client-1", "text", "r1", "ingestion-1", "work 5")
    plan = Plan(3, requests=(request, request), faults=(Fault(1, 2, "crash", "worker-1"),))

    assert sum('"client-1"' in line for line in plan.text().splitlines()) == 2
    assert sum('"crash"' in line for line in plan.text().splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "this is not JSON"),
        ("[]", 'a plan is an object with "format": 1'),
        ("{}", 'a plan is an object with "format": 1'),
        (plan_text(format=2), "this is a plan of format 2, and this version reads format 1"),
        ('{"format": 1}', "plan lacks 'seed'"),
        (plan_text(seed="one"), "plan.seed cannot be 'one'; it must be a whole number"),
        (plan_text(seed=True), "plan.seed cannot be True; it must be a whole number"),
        (plan_text(speed=1), "plan has an unknown field 'speed'; known are seed, services"),
        (plan_text(requests={}), "requests must be a list"),
        (plan_text(requests=[{"at_ms": 1}]), "requests[0] lacks 'client'"),
        (plan_text(requests=[A_REQUEST, {**A_REQUEST, "action": "dance"}]), "must be one of text, heartbeat, file"),
        (plan_text(faults=[{"at_ms": 1, "for_ms": 2, "name": "crash"}]), "faults[0] lacks 'target'"),
        (plan_text(settings={"lease_ms": [1]}), "plan.settings cannot be {'lease_ms': [1]}"),
    ],
)
def test_what_is_no_plan_is_told_what_would_be(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)

    with pytest.raises(ConfigError) as raised:
        Plan.load(path)
    assert sentence in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Plan.load(tmp_path / "nothing.json")


def test_the_swarm_has_every_workload_and_every_fault_and_never_all_of_them() -> None:
    plans = [plan_of(seed) for seed in SEEDS]
    workloads = [{request.workload for request in plan.requests} for plan in plans]
    faults = [{fault.name for fault in plan.faults} for plan in plans]

    assert set().union(*workloads) == set(WORKLOADS)
    assert set().union(*faults) == set(FAULTS)
    assert all("steady" in mix for mix in workloads)
    assert not any(mix == set(WORKLOADS) for mix in workloads)
    assert set() in faults, "some runs are undisturbed"


def test_requests_and_faults_come_in_the_order_of_their_times() -> None:
    for seed in SEEDS:
        plan = plan_of(seed)
        times = [request.at_ms for request in plan.requests]
        assert times == sorted(times)
        assert [fault.at_ms for fault in plan.faults] == sorted(fault.at_ms for fault in plan.faults)


def test_no_two_workloads_make_the_same_id() -> None:
    for seed in SEEDS:
        makers: dict[str, set[str]] = {}
        for request in plan_of(seed).requests:
            makers.setdefault(request.request_id, set()).add(request.workload)
        assert {request_id for request_id, names in makers.items() if len(names) > 1} == set()


def test_every_fault_of_the_catalogue_is_there() -> None:
    # 22 and 23, callers who leave and who repeat themselves, are workloads.
    assert {kind.number for kind in FAULTS.values()} >= set(range(1, 25)) - {22, 23}
    assert {"leaving", "impatient", "repeated"} <= set(WORKLOADS)


def test_whatever_a_person_is_shown_has_a_sentence() -> None:
    assert [name for name, kind in FAULTS.items() if not kind.make.__doc__] == []
    assert [name for name, make in WORKLOADS.items() if not make.__doc__] == []


def struck(name: str, target: str, **options: Any) -> Plan:
    return Plan(1, faults=(Fault(1, 2, name, target, options),))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(1, services={"mail": 1}), "plan.services: there is no 'mail' here; known are ingestion, gateway"),
        (Plan(1, settings={"lease_sm": 1}), "plan.settings: there is no 'lease_sm' here; did you mean 'lease_ms'?"),
        (Plan(1, settings={"lease_ms": 0}), "EDGESCALE_LEASE_MS: Input should be greater than 0"),
        (Plan(1, redis={"appendfsync": "often"}), "plan.redis.appendfsync: there is no 'often' here; known are always"),
        (struck("crush", "worker-1"), "faults[0].name: there is no 'crush' here; did you mean 'crash'?"),
        (struck("crash", "worker-9"), "faults[0].target: there is no 'worker-9' here; did you mean 'worker-"),
        (struck("crash", "redis"), "faults[0].target: there is no 'redis' here; known are worker-1"),
        (struck("flush", "redis", when=1), "faults[0].options: there is no 'when' here; known are none"),
        (Plan(1, requests=(Request(1, "c", "text", "r", "redis"),)), "requests[0].door: there is no 'redis' here"),
    ],
)
def test_a_plan_that_names_what_is_not_there_is_refused(plan: Plan, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        simulate(plan)
    assert sentence in str(raised.value)
