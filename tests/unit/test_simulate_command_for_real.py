"""`edgescale simulate` on the real simulation: a mutant is caught, shrunk, told, and caught again from its file."""

import json
import sys
from pathlib import Path

import pytest

from edgescale import cli
from edgescale.harness.regressions import Regression

REQUESTS_MAX, FAULTS_MAX = 5, 2


def simulate(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["edgescale", "simulate", "--jobs", "1", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mutant", "promise"), [("no_dedupe", "P2"), ("cap_off_by_one", "P3"), ("no_renewal", "P4"), ("buried_early", "P5")]
)
def test_a_mutant_is_caught_shrunk_told_and_caught_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, mutant: str, promise: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert simulate(monkeypatch, "--seeds", 5, "--mutant", mutant) == 1

    out = capfd.readouterr().out
    small = next(Regression.load(path) for path in Path("failures").iterdir() if path.name.startswith(promise))
    assert len(small.plan.requests) <= REQUESTS_MAX
    assert len(small.plan.faults) <= FAULTS_MAX
    assert small.found.partition(": ")[2] in out
    assert "request " in out
    assert ">>" in out
    (path,) = (path for path in Path("failures").iterdir() if Regression.load(path) == small)
    assert f"edgescale simulate --plan {path} --mutant {mutant}" in out
    assert simulate(monkeypatch, "--plan", path, "--mutant", mutant, "--no-shrink") == 1
    assert simulate(monkeypatch, "--plan", path) == 0


@pytest.mark.timeout(600)
def test_seeds_are_good_and_the_same_in_unlike_processes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert simulate(monkeypatch, "--seeds", 8, "--twice", "--json") == 0

    record = json.loads(capfd.readouterr().out)
    assert (record["runs"], record["twice"], record["unlike"], record["failed"]) == (8, 8, [], 0)
    assert all(counts["valid"] == 8 for counts in record["verdicts"].values())
    assert record["requests"] > 100
    assert record["markers"]


@pytest.mark.timeout(600)
def test_a_run_is_shown_on_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert simulate(monkeypatch, "--seeds", 2, "--from", 4, "--page", "run.html") == 0

    page = Path("run.html").read_text(encoding="utf-8")
    assert "Seed 5 is the last of 2 runs, all of which were good." in page
    assert "edgescale simulate --from 5 --seeds 1" in page
    assert "promises were kept" in page
    assert "submit begins" in page
