"""Scenario files: what can be said in them, and what is said of what cannot."""

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos.fit import check_plan
from edgescale.harness.chaos.scenario import load_scenario, parse_scenario, scenario_names

HEAD = 'title = "t"\nworkloads = ["steady"]\n'
BLOW = '[[faults]]\nname = "crash"\ntarget = "worker-*"\nevery_ms = 1000\n'
LATE, CUT = BLOW.replace("crash", "latency"), BLOW.replace("crash", "reply_lost")


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


def test_a_pattern_means_those_that_the_fault_may_befall() -> None:
    plan = parse_scenario("s", HEAD + "duration_s = 60\n" + BLOW.replace("worker-*", "*-1")).plan(1)

    assert {fault.target for fault in plan.faults} == {"worker-1"}


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
        (HEAD + BLOW.replace("1000", "0"), "faults[0].every_ms: must be a whole number, 1 or more, not 0"),
        (
            HEAD + BLOW + "for_ms = [5, 2]",
            "faults[0].for_ms: must be milliseconds, a whole number or [from, to], not [5, 2]",
        ),
        (HEAD + BLOW + "for_ms = []", "faults[0].for_ms: must be milliseconds, a whole number or [from, to], not []"),
        (HEAD + BLOW + 'for_ms = "1s"', "faults[0].for_ms: must be milliseconds, a whole number or [from, to]"),
        (HEAD + BLOW.replace("1000", '"1s"'), "faults[0].every_ms: must be a whole number, 1 or more, not '1s'"),
        (HEAD + BLOW + "times = -1", "faults[0].times: must be a whole number, 0 or more, not -1"),
        (HEAD + BLOW + "options = 4", "faults[0].options: must be a table, not 4"),
        (
            HEAD + LATE + "options = { high_ms = [] }",
            "faults[0].options.high_ms: must be a whole number from 1 to 60000",
        ),
        (
            HEAD + LATE + "options = { high_ms = [5, 0] }",
            "options.high_ms: must be a whole number from 1 to 60000, not 0",
        ),
        (HEAD + LATE + "options = { hi_ms = 5 }", "faults[0].options: there is no 'hi_ms'; did you mean 'high_ms'?"),
        (HEAD + BLOW + "options = { silent = 1 }", "faults[0].options: there is no 'silent'; there are none"),
        (HEAD + CUT + 'options = { command = ["submit", "setle"] }', "no 'setle'; did you mean 'settle'?"),
        (
            HEAD + BLOW.replace("worker-*", "redis"),
            "crash cannot befall 'redis'; those that crash can befall: worker-1",
        ),
        (HEAD + BLOW.replace("worker-*", "[ig]*"), "faults[0].target: crash cannot befall '[ig]*'"),
        (HEAD + BLOW.replace('"worker-*"', "4"), "faults[0].target: must be a text, not 4"),
        (HEAD + BLOW.replace('"crash"', "4"), "faults[0].name: there is no 4"),
        (HEAD + "rate = 0", "rate: must be a number above 0, at most 10000, not 0"),
        (HEAD + "rate = nan", "rate: must be a number above 0, at most 10000, not nan"),
        (HEAD + "rate = 10001", "rate: must be a number above 0, at most 10000, not 10001"),
        (HEAD + 'duration_s = "10"', "duration_s: must be a number from 1 to 86400, not '10'"),
        (HEAD + "duration_s = 0.5", "duration_s: must be a number from 1 to 86400, not 0.5"),
        (HEAD + "duration_s = 86401", "duration_s: must be a number from 1 to 86400, not 86401"),
        (HEAD + "duration_s = true", "duration_s: must be a number from 1 to 86400, not True"),
        (HEAD + '[services]\nworker = "3"', "services.ingestion: must be a whole number from 1 to 100, not 0"),
        (HEAD + '[services]\ningestion = 1\nworker = "3"', "services.worker: must be a whole number from 1 to 100"),
        (HEAD + "services = 4", "services: must be a table, not 4"),
        (HEAD + "[settings]\nlease_ms = -4", "settings: EDGESCALE_LEASE_MS: Input should be greater than"),
        (HEAD + "settings = 4", "settings: must be a table, not 4"),
        ('title = "t"\nworkloads = []', "workloads: must be a list of names, at least one, such as"),
        (HEAD + 'reaches = "x"', "reaches: must be a list of names, such as"),
        (HEAD + "catches = [4]", "catches: there is no 4"),
        (HEAD + "long = 3", "long: must be true or false, not 3"),
        (HEAD.replace('"t"', "3"), "title: must be a text, not 3"),
        (HEAD + "faults = 4", "faults must be a list of tables"),
        (HEAD + BLOW.replace('target = "worker-*"\n', ""), "faults[0] lacks target"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_scenario("s", text).plan(1)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("worker-kil", "did you mean 'worker-kill'?"), ("none.toml", "scenario none.toml: No such file or directory")],
)
def test_a_scenario_that_is_not_there_is_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match="scenario") as refused:
        load_scenario(name)

    assert sentence in str(refused.value)
