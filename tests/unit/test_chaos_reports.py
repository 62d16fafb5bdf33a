"""What `edgescale chaos --report FILE` leaves behind: a page for each run, or the ledger of all."""

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgescale.harness.chaos import session
from edgescale.harness.chaos.providers import parse_provider
from edgescale.harness.chaos.proxies import parse_proxy
from edgescale.harness.chaos.run import ChaosRun
from edgescale.harness.chaos.session import Asked, Told, run_all
from edgescale.harness.checkers import judge
from edgescale.harness.markers import hits
from edgescale.harness.plan import Plan
from tests.support_history import Story

ASKED = Asked("one", "a scenario", Plan(1), reaches=(), replay="again")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where reports go, and where nothing is really run."""

    async def one(_: object, __: object, asked: Asked, **___: Any) -> Told:
        history = Story().cast().submit("r1").accept("r1").deliver("r1").settle("r1").answer("r1").final("r1").history()
        return Told(
            asked,
            ChaosRun(asked.plan, history, judge(history), hits(history), {}, ()),
            {"server": "none"},
            1.0,
            tmp_path,
        )

    monkeypatch.setattr(session, "_one", one)
    return tmp_path


def left(folder: Path, name: str, wanted: Sequence[Asked]) -> dict[str, str]:
    """All files, with what is in them."""
    running = run_all(
        parse_provider("native"), wanted, proxy=parse_proxy("built-in"), report=folder / name, as_json=False
    )
    assert asyncio.run(running) == 0
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_one_run_has_a_page(folder: Path) -> None:
    assert "a scenario" in left(folder, "run.html", [ASKED])["run.html"]


def test_each_of_several_runs_has_a_page_of_its_own(folder: Path) -> None:
    other = dataclasses.replace(ASKED, name="two", mutant="no_dedupe")

    assert set(left(folder, "run.html", [ASKED, other])) == {"run-one.html", "run-two-no_dedupe.html"}


def test_a_json_file_has_the_ledger_of_all(folder: Path) -> None:
    files = left(folder, "runs.json", [ASKED, dataclasses.replace(ASKED, name="two")])

    assert set(files) == {"runs.json"}
    ledger = json.loads(files["runs.json"])
    assert (ledger["good"], [run["name"] for run in ledger["runs"]]) == (True, ["one", "two"])
