"""Scenario files: what can be said in them, and what is said of what cannot."""

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos.fit import check_plan
from edgescale.harness.chaos.scenario import load_scenario, parse_scenario, scenario_names

HEAD = 'title = "t"\nworkloads = ["steady"]\n'
BLOW = '[[faults]]\nname = "crash"\ntarget = "worker-*"\nevery_ms = 1000\n'


@pytest.mark.parametrize("name", scenario_names())
def test_what_ships_can_be_planned_and_carried_out(name: str) -> None:
    scenario = load_scenario(name)
    plan = scenario.plan(1)

    check_plan(plan)
    assert len(plan.requests) >= scenario.rate * scenario.duration_s / 2
    assert max(request.at_ms for request in plan.requests) < scenario.duration_s * 1000 + 8_000


def test_a_fault_comes_again_and_again_and_leaves_the_end_calm() -> None:
    scenario = parse_scenario("s", HEAD + "duration_s = 10.0\n" + BLOW + "for_ms = [5, 9]\nfirst_ms = 500\n")
    faults = scenario.plan(3).faults

    assert [fault.at_ms for fault in faults] == list(range(500, 9_000, 1_000))
    assert {fault.name for fault in faults} == {"crash"}
    assert {fault.target for fault in faults} == {"worker-1", "worker-2"}
    assert all(5 <= fault.for_ms <= 9 for fault in faults)


def test_a_fault_can_come_a_number_of_times() -> None:
    assert len(parse_scenario("s", HEAD + BLOW + "times = 2\n").plan(1).faults) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("title = ", "scenario s: this is no TOML"),
        ('title = "t"', "the file lacks workloads"),
        ('title = "t"\nworkloads = ["stedy"]', "workloads: there is no 'stedy'; did you mean 'steady'?"),
        (HEAD + "speed = 4", "the file: there is no 'speed'"),
        (HEAD + 'reaches = ["reclaimed"]', "reaches: there is no 'reclaimed'; did you mean"),
        (HEAD + "[settings]\nlease = 4", "settings: there is no 'lease'; did you mean 'lease_ms'?"),
        (HEAD + "[services]\nworkers = 4", "services: there is no 'workers'; did you mean 'worker'?"),
        (HEAD + BLOW.replace("crash", "crush"), "faults[0].name: there is no 'crush'; did you mean 'crash'?"),
        (HEAD + BLOW.replace("worker-*", "worker-9"), "faults[0].target: nobody here is called 'worker-9'"),
        (HEAD + BLOW.replace("1000", "0"), "faults[0]: every_ms must be 1 or more"),
        (HEAD + BLOW + "for_ms = [5, 2]", "for_ms a number or [from, to]"),
        (HEAD + "faults = 4", "faults must be a list of tables"),
        (HEAD + BLOW.replace('target = "worker-*"\n', ""), "faults[0] lacks target"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_scenario("s", text)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("worker-kil", "did you mean 'worker-kill'?"), ("none.toml", "scenario none.toml: No such file or directory")],
)
def test_a_scenario_that_is_not_there_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match="scenario") as refused:
        load_scenario(name)

    assert sentence in str(refused.value)
