"""Plans that once failed are kept in tests/regressions; each must be good on the code as it is."""

import json
from pathlib import Path

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.campaign.host import Order, results
from edgescale.harness.campaign.work import work
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.regressions import Regression
from edgescale.harness.simulation.fit import check_plan

FOLDER = Path(__file__).parents[1] / "regressions"
KEPT = sorted(FOLDER.glob("*.json"))
PLAN = Plan(
    3,
    settings={"lease_ms": 1_000},
    requests=(Request(5, "client-1", "text", "r1", "ingestion-1"),),
    faults=(Fault(1, 2, "latency", "worker-1", {"high_ms": 5}),),
)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_once_failed_is_good_now(path: Path) -> None:
    kept = Regression.load(path)
    check_plan(kept.plan)

    # In a fork, for what a run leaves behind must never run again.
    (result,) = results(Order((kept.plan,)), work)

    assert [offence.sentence for offence in result.offences] == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_every_kept_plan_says_what_it_found_and_what_was_changed(path: Path) -> None:
    kept = Regression.load(path)

    assert kept.found
    assert kept.fixed


def test_a_kept_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Regression(PLAN, found='P1 lost: "r1" is gone', fixed="settle asks who owns the entry (0a1b2c3)")

    kept.dump(tmp_path / "deep" / "kept.json")

    assert Regression.load(tmp_path / "deep" / "kept.json") == kept


def test_a_kept_plan_can_be_read_by_people() -> None:
    lines = Regression(PLAN, found="P1 lost: r1 is gone").text().splitlines()

    assert lines[1] == '  "found": "P1 lost: r1 is gone",'
    assert any(line.startswith("      {") and '"r1"' in line for line in lines)


def test_a_bare_plan_is_read_too(tmp_path: Path) -> None:
    PLAN.dump(tmp_path / "bare.json")

    assert Regression.load(tmp_path / "bare.json") == Regression(PLAN)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "this is not JSON"),
        ("[]", 'a plan is an object with "format": 1'),
        ('{"format": 9, "seed": 1}', "this is a plan of format 9, and this version reads format 1"),
        ('{"plan": {"format": 9, "seed": 1}}', "this is a plan of format 9, and this version reads format 1"),
        ('{"plan": 3}', 'a plan is an object with "format": 1'),
        (json.dumps({"plan": PLAN.record(), "fond": "x"}), "an unknown field 'fond'; known are found, fixed, plan"),
        (json.dumps({"plan": PLAN.record(), "found": 3}), "found cannot be 3; it must be a string"),
    ],
)
def test_what_is_no_plan_is_refused_with_what_would_be_right(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "odd.json").write_text(text)

    with pytest.raises(ConfigError) as caught:
        Regression.load(tmp_path / "odd.json")

    assert str(caught.value).startswith(f"plan {tmp_path / 'odd.json'}: ")
    assert sentence in str(caught.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: No such file or directory"):
        Regression.load(tmp_path / "none.json")
