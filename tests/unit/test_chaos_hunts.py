"""Mutants in real processes: which are hunted by which scenario, and what counts as caught."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgescale import cli
from edgescale.harness.chaos import session
from edgescale.harness.chaos.asked import Asked, Told
from edgescale.harness.chaos.run import ChaosRun
from edgescale.harness.chaos.scenario import load_scenario, scenario_names
from edgescale.harness.checkers import Verdict
from edgescale.harness.history import History
from edgescale.harness.mutants import find
from edgescale.harness.plan import Plan
from tests.support_history import Story

HUNT = Asked("s", "t", Plan(1), reaches=("answered",), replay="again", mutant="no_dedupe", hunted=True)


def told(asked: Asked, *broken: str, failures: Sequence[str] = ()) -> Told:
    verdicts = tuple(
        Verdict(promise, "title", "invalid" if promise in broken else "valid", (), (), {}) for promise in ("P1", "P2")
    )
    run = ChaosRun(asked.plan, History(Story().header, ()), verdicts, {}, {}, failures)
    return Told(asked, run, {}, 1.0, Path())


def test_a_mutant_is_caught_when_the_promise_that_it_breaks_is_found_broken() -> None:
    assert find("no_dedupe").promise == "P2"
    assert told(HUNT, "P1", "P2").good
    assert told(HUNT, "P2", failures=["ingestion-1 ended"]).good


@pytest.mark.parametrize("broken", [(), ("P1",)])
def test_it_is_not_caught_when_nothing_or_another_promise_is(broken: Sequence[str]) -> None:
    assert not told(HUNT, *broken).good


def test_a_run_under_a_mutant_that_is_not_hunted_is_judged_like_any_other() -> None:
    assert not told(dataclasses.replace(HUNT, hunted=False), "P2").good


def test_scenarios_catch_mutants_of_many_promises() -> None:
    caught = [mutant for name in scenario_names() for mutant in load_scenario(name).catches]

    assert len(caught) == len(set(caught)) >= 8
    assert {find(mutant).promise for mutant in caught} >= {"P1", "P2", "P3", "P4", "P5"}


def test_all_mutants_of_the_scenarios_that_are_asked_for_are_hunted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hunts: list[Asked] = []

    async def run_all(_: object, wanted: Sequence[Asked], **__: Any) -> int:
        hunts.extend(wanted)
        return 0

    monkeypatch.setattr(session, "run_all", run_all)
    monkeypatch.setattr(sys, "argv", ["edgescale", "chaos", "redis-latency", "worker-kill", "--mutant", "all"])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    capfd.readouterr()
    assert ended.value.code == 0
    assert [(hunt.name, hunt.mutant, hunt.hunted) for hunt in hunts] == [
        ("worker-kill", mutant, True) for mutant in load_scenario("worker-kill").catches
    ]
    assert all(hunt.replay.endswith(f"--mutant {hunt.mutant}") for hunt in hunts)
