"""Plans on real parts: what of them cannot be done is refused by name, and what is left out is told."""

import inspect
import re
from itertools import chain

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability
from edgescale.harness.chaos.faults import FAULTS as REAL
from edgescale.harness.chaos.fit import check_plan, left_out, needs_of
from edgescale.harness.plan import Fault, Option, Plan, Request
from edgescale.harness.simulation import server_faults  # noqa: F401 - importing it fills the table of faults
from edgescale.harness.simulation.faults import FAULTS as SIMULATED

BOTH = sorted({*REAL} & {*SIMULATED})


def struck(name: str, target: str, **options: Option) -> Plan:
    return Plan(1, faults=(Fault(5, 5, name, target, options),))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            struck("crash", "worker-9"),
            "faults[0].target: nobody here is called 'worker-9'; those that crash can befall",
        ),
        (struck("crash", "worker-*"), "faults[0].target: nobody here is called 'worker-*'"),
        (
            struck("crash", "ingestion-1"),
            "faults[0].target: crash cannot befall 'ingestion-1'; those that crash can befall",
        ),
        (struck("door_crash", "worker-1"), "door_crash can befall: ingestion-1, ingestion-2, gateway-1"),
        (struck("latency", "worker-1", high=4), "faults[0].options: there is no 'high'; did you mean 'high_ms'?"),
        (struck("latency", "worker-1", high_ms=0), "faults[0].options.high_ms: must be a whole number from 1 to 60000"),
        (struck("latency", "worker-1", high_ms="4"), "faults[0].options.high_ms: must be a whole number"),
        (struck("one_way", "worker-1", way="their"), "options.way: there is no 'their'; did you mean 'there'?"),
        (
            struck("refusing", "redis", state="busy"),
            "options.state: there is no 'busy'; there are out_of_memory, paused",
        ),
        (Plan(1, services={"workers": 1}), "services: there is no 'workers'; did you mean 'worker'?"),
        (Plan(1, requests=(Request(0, "c", "text", "r", "gateway-2"),)), "requests[0].door: there is no 'gateway-2'"),
    ],
)
def test_what_cannot_be_done_is_named_with_what_can(plan: Plan, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_plan(plan)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("plan", "needs"),
    [
        (struck("reset", "worker-1"), set()),
        (struck("crash", "worker-1"), set()),
        (struck("flush", "redis"), {Capability.MEDDLE}),
        (struck("freeze", "redis"), {Capability.PAUSE}),
        (struck("restart", "redis"), {Capability.KILL, Capability.RESTART}),
        (struck("failover", "redis"), {Capability.KILL, Capability.RESTART, Capability.REPLICA}),
        (Plan(1, settings={"durability": "strict"}), {Capability.REPLICA}),
    ],
)
def test_a_plan_needs_what_its_faults_and_settings_do(plan: Plan, needs: set[Capability]) -> None:
    assert needs_of(plan) == needs


SYNCED: dict[str, Option] = {"appendfsync": "always", "replicas": 1, "replica_lag_ms": 0}


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (struck("crash", "worker-1", silent=0), ""),
        (struck("crash", "worker-1", silent=1), "faults[0]: crash is done here without silent 1"),
        (struck("door_crash", "gateway-1", silent=1), "faults[0]: door_crash is done here without silent 1"),
        (struck("restart", "redis", loading_ms=300), "faults[0]: restart is done here without loading_ms 300"),
        (Plan(1, clocks={"worker-1": 5}), "the machine's clock here; in the plan it is wrong for worker-1"),
        (Plan(1, redis={"appendfsync": "everysec"}), "redis.appendfsync of the plan is everysec"),
        (Plan(1, redis={"replica_lag_ms": 20}), "redis.replica_lag_ms of the plan is 20"),
        (Plan(1, redis={"replicas": 1}), "the server has no replica here; redis.replicas of the plan is 1"),
        (Plan(1, redis=SYNCED, settings={"durability": "strict"}), ""),
        (Plan(1, shuffled_from=4, shuffled_to=9), "the plan draws that of turns 4 to 9"),
        (Plan(1, shuffled_from=4, shuffled_to=4), ""),
    ],
)
def test_what_is_not_done_is_told(plan: Plan, sentence: str) -> None:
    check_plan(plan)

    told = left_out(plan)
    assert sentence in told
    assert bool(told) == bool(sentence)


def test_all_that_is_not_done_is_told_at_once() -> None:
    plan = Plan(1, clocks={"worker-1": 5}, faults=struck("crash", "worker-1", silent=1).faults)

    assert left_out(plan).count("; ") == 2


def test_a_server_of_somebody_else_is_not_meddled_with() -> None:
    assert {name for name, able in CAPABILITIES.items() if Capability.MEDDLE in able} == {"docker", "native", "compose"}


@pytest.mark.parametrize("name", REAL)
def test_a_fault_reads_the_options_that_it_declares(name: str) -> None:
    read = re.findall(r'(?:number|text)_of\(fault, "(\w+)"\)', inspect.getsource(REAL[name].make))

    assert set(read) == set(REAL[name].options)
    for option, allowed in REAL[name].options.items():
        allowed.check(option, allowed.default)


@pytest.mark.parametrize("name", [name for name in BOTH if name != "refusing"])
def test_what_the_simulation_draws_can_be_done_or_is_declared_as_its_own(name: str) -> None:
    drawn, kind = SIMULATED[name], REAL[name]

    assert set(drawn.targets) <= set(kind.targets)
    assert set(drawn.options) == {*kind.options, *kind.simulated} & set(drawn.options)
    for option, value in chain.from_iterable([(key, each) for each in values] for key, values in drawn.options.items()):
        if option in kind.options:
            kind.options[option].check(option, value)
