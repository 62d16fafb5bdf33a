"""`edgescale simulate`: what is asked, what is answered, and what is refused; runs are a stand-in's."""

import html
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgescale import cli
from edgescale.harness.campaign import asked as campaign_asked
from edgescale.harness.campaign import session as campaign_session
from edgescale.harness.campaign.progress import Shown
from edgescale.harness.campaign.result import Work
from edgescale.harness.plan import Plan
from edgescale.harness.regressions import Regression
from tests import toy_campaign as toy
from tests import toy_looks


@dataclass
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """The command, in this process, with a stand-in for the simulation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd
        self.work(toy.work)
        self._monkeypatch.setattr(campaign_asked, "look", toy_looks.look)

    def work(self, work: Work) -> None:
        self._monkeypatch.setattr(campaign_asked, "work", work)

    def look(self, look: Work) -> None:
        self._monkeypatch.setattr(campaign_asked, "look", look)

    def __call__(self, *arguments: object) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["edgescale", "simulate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capfd.readouterr()
        return Answer(int(ended.value.code or 0), out, err)


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return Command(monkeypatch, capfd)


def test_good_seeds_are_told_as_a_table_and_end_with_0(simulate: Command) -> None:
    answer = simulate("--seeds", 6, "--from", 100, "--jobs", 2)

    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[0].strip() == "6 runs"
    assert any("P1" in line and "no loss" in line and "6" in line for line in lines)
    assert any("60 ended, 20 per CPU second" in line for line in lines)
    assert any("recovered 6" in line for line in lines)
    assert any("never hit" in line and "cap_refused" in line for line in lines)


def test_a_failure_is_told_with_the_one_command_that_replays_it(simulate: Command) -> None:
    answer = simulate("--seeds", 10, "--from", toy.BROKEN - 1)

    assert answer.status == 1
    assert "P2 two_results in 1 run: 17" in answer.out
    assert f"request {toy.BROKEN} was answered twice" in answer.out
    assert f"seed {toy.BROKEN}: edgescale simulate --from {toy.BROKEN} --seeds 1\n" in answer.out
    assert (
        "edgescale simulate --plan failures/P2-two-results-17.json  (shrunk: 0 requests, 0 faults, all in "
        in answer.out
    )
    assert "\na sad one\n" in answer.out


def test_a_failure_is_told_at_once(simulate: Command) -> None:
    told = f"edgescale: seed {toy.BROKEN}: P2 two_results: request {toy.BROKEN} was answered twice\n"

    assert told in simulate("--seeds", 10, "--from", toy.BROKEN - 1, "--no-shrink").err
    assert simulate("--seeds", 10, "--from", toy.BROKEN - 1, "--no-shrink", "--json").err == ""


def test_the_shrunk_plan_is_kept_and_can_be_run_again(simulate: Command) -> None:
    simulate("--seeds", 1, "--from", toy.BROKEN, "--failures", "kept")
    path = Path("kept/P2-two-results-17.json")

    answer = simulate("--plan", path)

    assert Regression.load(path).found == "P2 two_results: request 17 was answered twice"
    assert answer.status == 1
    assert f"seed 17: edgescale simulate --plan {path}\n" in answer.out
    assert not Path("failures").exists()


def test_nothing_is_shrunk_unless_that_is_wanted(simulate: Command) -> None:
    answer = simulate("--seeds", 1, "--from", toy.BROKEN, "--no-shrink")

    assert not Path("failures").exists()
    assert "shrunk" not in answer.out
    assert "\na sad one\n" in answer.out


def test_a_bare_plan_is_run_like_a_kept_one(simulate: Command) -> None:
    Plan(4).dump(Path("bare.json"))

    answer = simulate("--plan", "bare.json")

    assert (answer.status, answer.out.splitlines()[0].strip()) == (0, "1 run")


def test_a_run_of_which_nothing_can_be_said_is_a_failure(simulate: Command) -> None:
    assert simulate("--seeds", 1, "--from", toy.UNSURE, "--no-shrink").status == 1


def test_a_simulation_that_fails_is_a_failure(simulate: Command) -> None:
    simulate.work(toy.fragile)

    answer = simulate("--seeds", 3)

    assert answer.status == 1
    assert "run Deadlock in 3 runs: 0, 1, 2" in answer.out


def test_machines_are_told_in_json(simulate: Command) -> None:
    answer = simulate("--seeds", 2, "--from", toy.BROKEN, "--json", "--report", "report.json")

    record = answer.json
    assert (record["runs"], record["good"], record["verdicts"]["P2"]["invalid"]) == (2, False, 1)
    (failure,) = record["failures"]
    assert failure["replay"] == "edgescale simulate --from 17 --seeds 1"
    assert failure["plan"] == "failures/P2-two-results-17.json"
    assert failure["offences"][0]["sentence"] == "request 17 was answered twice"
    assert record["versions"]["python"]
    assert json.loads(Path("report.json").read_text()) == record
    assert answer.err == ""


def test_a_mutant_stands_in_the_replay_line(simulate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_asked, "find", lambda name: name)

    answer = simulate("--seeds", 5, "--from", 50, "--mutant", "broken_door")

    assert "seed 54: edgescale simulate --from 54 --seeds 1 --mutant broken_door\n" in answer.out
    assert "5 runs under the mutant broken_door" in answer.out


def test_all_mutants_are_measured(simulate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = toy.mutant("broken_door", "P2")
    monkeypatch.setattr(campaign_asked, "MUTANTS", [caught])
    good = simulate("--mutant", "all", "--seeds", 10, "--from", 50)
    monkeypatch.setattr(campaign_asked, "MUTANTS", [caught, toy.mutant("broken_window", "P4")])
    bad = simulate("--mutant", "all", "--seeds", 10, "--from", 50, "--json")

    assert good.status == 0
    assert "1 of 1 caught, after 5 seeds in the median: all were caught" in good.out
    assert bad.status == 1
    assert [(item["mutant"], item["seeds"], item["caught_at"]) for item in bad.json["mutants"]] == [
        ("broken_door", 5, 54),
        ("broken_window", 10, None),
    ]


def test_mutants_are_listed(simulate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    del simulate
    monkeypatch.setattr(campaign_asked, "MUTANTS", [toy.mutant("broken_door", "P2")])

    campaign_asked.list_mutants()


def test_the_same_trace_in_unlike_processes_is_good(simulate: Command) -> None:
    answer = simulate("--seeds", 4, "--twice")

    assert answer.status == 0
    assert "4 of 4 seeds left the same trace when run again" in answer.out


def test_a_run_that_depends_on_its_process_is_found(simulate: Command) -> None:
    simulate.work(toy.dreaming)

    answer = simulate("--seeds", 3, "--twice")

    assert answer.status == 1
    assert "0 of 3 seeds left the same trace when run again; not 0, 1, 2" in answer.out


@pytest.fixture
def ctrl_c_heard() -> Iterator[None]:
    """As at a terminal; processes that run tests side by side do not hear it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_ctrl_c_tells_what_there_is(simulate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Shown]:
        del what, total, quiet
        yield lambda done, told: os.kill(os.getpid(), signal.SIGINT) if done == 7 else None  # noqa: ARG005 - protocol

    monkeypatch.setattr(campaign_session, "progress", progress)

    answer = simulate("--seeds", 400, "--from", 200, "--jobs", 2)

    assert answer.status == 130
    assert answer.out.splitlines()[0].strip() == "7 runs"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "many"], "valid integer"),
        (["--seeds", "0"], "greater than or equal to 1"),
        (["--from", "-1"], "greater than or equal to 0"),
        (["--jobs", "0"], "greater than or equal to 1"),
        (["--mutant", "no_dedup"], "no mutant 'no_dedup': did you mean no_dedupe"),
        (["--plan", "none.json"], "plan none.json: No such file or directory"),
        (["--plan", "old.json"], "plan old.json: this is a plan of format 7, and this version reads format 1"),
        (["--plan", "odd.json"], "plan odd.json: faults[0].name: there is no 'latncy' here; did you mean 'latency'?"),
        (["--plan", "good.json", "--seeds", "2"], "leave --seeds and --from out"),
        (["--plan", "good.json", "--from", "2"], "leave --seeds and --from out"),
        (["--plan", "good.json", "--mutant", "all"], "leave --plan and --twice out"),
        (["--mutant", "all", "--twice"], "leave --plan and --twice out"),
        (["--report", "no/where.json"], "--report no/where.json: there is no folder no"),
        (["--report", "."], "--report .: this is a folder; name a file in it"),
        (["--page", "no/where.html"], "--page no/where.html: there is no folder no"),
        (["--page", "."], "--page .: this is a folder; name a file in it"),
        (["--page", "page.html", "--mutant", "all"], "name one mutant, or leave --page out"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_could(simulate: Command, arguments: list[str], sentence: str) -> None:
    Path("old.json").write_text('{"format": 7, "seed": 1}')
    Path("odd.json").write_text(
        '{"format": 1, "seed": 1, "faults": [{"at_ms": 1, "for_ms": 1, "name": "latncy", "target": "worker-1"}]}'
    )
    Plan(1).dump(Path("good.json"))

    answer = simulate(*arguments)

    assert (answer.status, answer.out) == (2, "")
    assert sentence in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


def paged(*words: str) -> bool:
    """Whether all this stands on the page."""
    text = html.unescape(re.sub("<[^>]*>", " ", Path("page.html").read_text(encoding="utf-8")))
    told = " ".join(text.split())
    return all(word in told for word in words)


def test_the_page_of_a_campaign_shows_its_first_failing_run_made_small(simulate: Command) -> None:
    answer = simulate("--seeds", 10, "--from", toy.BROKEN - 1, "--page", "page.html")

    assert answer.status == 1
    assert "page.html shows this: Seed 17 is the first of 2 failing runs among 10; this is what is left" in answer.err
    assert paged("Simulation of the plan P2-two-results-17.json", "1 promise broken: P2 one result", "Counterexample")
    assert paged(
        "edgescale simulate --plan failures/P2-two-results-17.json", "made small: 0 requests, 0 faults, all in"
    )
    assert paged("provider simulation", "Redis a model of it")


def test_the_page_of_a_failure_that_was_not_made_small_shows_it_as_it_ran(simulate: Command) -> None:
    simulate("--seeds", 1, "--from", toy.BROKEN, "--no-shrink", "--page", "page.html")

    assert paged("Simulation of seed 17", "edgescale simulate --from 17 --seeds 1", "1 promise broken")
    assert not paged("failing runs")


def test_the_page_of_a_good_campaign_shows_its_last_run(simulate: Command) -> None:
    answer = simulate("--seeds", 3, "--from", 4, "--page", "page.html", "--json")

    assert (answer.status, answer.json["good"]) == (0, True)
    assert paged("Seed 6 is the last of 3 runs, all of which were good", "edgescale simulate --from 6 --seeds 1")
    assert paged(str(answer.json["commit"]), f"python {answer.json['versions']['python']}", "promises were kept")


def test_the_page_of_a_plan_shows_it(simulate: Command) -> None:
    Plan(4, redis={"appendfsync": "always"}).dump(Path("bare.json"))
    simulate("--plan", "bare.json", "--page", "page.html")

    assert paged("Simulation of the plan bare.json", "edgescale simulate --plan bare.json", "appendfsync always")
    assert not paged("is the last of")


def test_a_run_that_cannot_be_run_again_has_a_page_that_says_so(simulate: Command) -> None:
    simulate.work(toy.fragile)
    simulate.look(toy.fragile)
    simulate("--seeds", 2, "--page", "page.html", "--no-shrink")

    assert paged(
        "The run did not come to its end", "Deadlock: nothing will ever happen again", "Seed 0 is the first of 2"
    )


def test_the_page_of_a_run_that_depends_on_its_process_does_not_call_it_good(simulate: Command) -> None:
    simulate.work(toy.dreaming)
    simulate("--seeds", 3, "--twice", "--page", "page.html")

    assert paged("3 of 3 runs left another trace when they were run again. Seed 0 is the first of them.")


def test_a_failure_that_is_none_when_it_is_run_again_is_told(
    simulate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_asked, "find", lambda name: name)
    simulate.look(toy_looks.good_now)
    simulate("--seeds", 1, "--from", toy.BROKEN, "--no-shrink", "--mutant", "broken_door", "--page", "page.html")

    assert paged("Run again for this page, it was good: it depends on something", "mutant broken_door")


def test_a_page_that_cannot_be_written_is_an_error_of_one_sentence(simulate: Command) -> None:
    Path("page.html").symlink_to("no/where.html")

    answer = simulate("--seeds", 1, "--page", "page.html")

    assert answer.status == 2
    assert "--page page.html: No such file or directory" in answer.err
    assert "Traceback" not in answer.err


def test_without_the_extra_it_is_said_what_to_install(simulate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lupa", None)

    answer = simulate("--seeds", 1)

    assert answer.status == 2
    assert "pip install 'edgescale[harness]'" in answer.err
