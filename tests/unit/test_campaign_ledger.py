"""The ledger adds up what runs came to."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgescale.harness.campaign.ledger import Ledger
from edgescale.harness.campaign.result import Result, overlaps
from edgescale.harness.campaign.versions import commit_of, versions
from edgescale.harness.plan import Fault
from tests import toy_campaign as toy


def run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - fixed words


def ledger_of(*seeds: int) -> Ledger:
    ledger = Ledger(commit="0a1b2c3")
    for seed in seeds:
        ledger.add(toy.work(seed))
    ledger.wall_s = 2.0
    return ledger


def test_runs_add_up() -> None:
    record = ledger_of(0, 1, toy.BROKEN, toy.UNSURE).record()

    assert (record["runs"], record["requests"], record["cpu_s"], record["good"]) == (4, 40, 2.0, False)
    assert (record["seeds_per_s"], record["requests_per_cpu_s"]) == (2.0, 20.0)
    assert (record["simulated_h"], record["compression"]) == (0.02, 36.0)
    assert record["verdicts"]["P1"] == {"valid": 2, "invalid": 0, "unknown": 0}
    assert record["verdicts"]["P2"] == {"valid": 2, "invalid": 1, "unknown": 0}
    assert record["verdicts"]["P6"] == {"valid": 2, "invalid": 0, "unknown": 1}
    assert record["markers"] == {"recovered": {"runs": 2, "hits": 4}}
    assert (record["faults"], record["fault_pairs"]) == ({"cut": 2, "slow": 2}, {"cut + slow": 2})


def test_markers_that_were_never_hit_are_named() -> None:
    never = ledger_of(0).record()["markers_never"]

    assert "zombie_fenced" in never
    assert "recovered" not in never


def test_a_campaign_is_good_when_every_run_is() -> None:
    assert ledger_of(0, 1).good
    assert not ledger_of(0, toy.BROKEN).good
    assert not ledger_of(0, toy.UNSURE).good
    assert not ledger_of().good


def test_a_simulation_that_failed_is_a_failure_although_no_promise_was_broken() -> None:
    ledger = ledger_of(0)
    ledger.add(toy.fragile(5))

    assert (ledger.good, ledger.failed) == (False, 1)
    assert ledger.record()["failures"][0]["offences"] == [
        {"promise": "run", "rule": "Deadlock", "sentence": "Deadlock: nothing will ever happen again"}
    ]


def test_a_trace_that_differs_is_a_failure() -> None:
    ledger = ledger_of(0, 1)

    ledger.compare(toy.work(0))
    assert ledger.good
    ledger.compare(replace(toy.work(1), trace="another"))

    assert (ledger.good, ledger.twice, ledger.unlike) == (False, 2, [1])


def test_failures_stand_in_the_order_of_their_seeds() -> None:
    ledger = ledger_of(toy.UNSURE, toy.BROKEN, 3)

    assert [result.seed for result in ledger.failures()] == [toy.BROKEN, toy.UNSURE]
    assert (ledger.first_failure("P2"), ledger.first_failure("P6"), ledger.first_failure("P1")) == (17, 19, None)


def test_nothing_is_divided_by_nothing() -> None:
    record = Ledger().record()

    assert (record["seeds_per_s"], record["requests_per_cpu_s"], record["compression"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (Fault(0, 1_000, "a", "x"), Fault(500, 10, "b", "y"), True),
        (Fault(0, 1_000, "a", "x"), Fault(1_000, 10, "b", "y"), False),
        (Fault(0, 0, "a", "x"), Fault(900, 0, "b", "y"), True),
        (Fault(0, 0, "a", "x"), Fault(0, 0, "a", "y"), False),
    ],
)
def test_faults_overlap_while_they_are_in_force_or_their_aftermath_lasts(
    one: Fault, other: Fault, *, together: bool
) -> None:
    expected = {("a", "b")} if together else set()

    assert overlaps([one, other]) == expected == overlaps([other, one])


def test_a_result_of_another_promise_does_not_count() -> None:
    result = Result(0, outcomes={"P1": "invalid", "P2": "unknown"})

    assert result.breaks("P1")
    assert not result.breaks("P2")
    assert not result.breaks("P3")


def test_the_commit_is_that_of_the_code(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y"]
    assert commit_of(tmp_path) == ""
    run(*git, "init", "-q")
    (tmp_path / "code").write_text("1")
    run(*git, "add", "code")
    run(*git, "commit", "-q", "-m", "one")

    commit = commit_of(tmp_path)
    (tmp_path / "code").write_text("2")

    assert len(commit) == 12
    assert commit_of(tmp_path) == f"{commit}+"


def test_versions_name_what_a_run_stands_on() -> None:
    assert {"python", "edgescale", "redis", "lupa"} <= versions().keys()
