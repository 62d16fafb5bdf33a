"""What runs on real parts leave behind: pages, ledgers, folders; one that goes wrong takes none of it along."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos import session
from edgescale.harness.chaos.asked import Asked
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.providers import parse_provider
from edgescale.harness.chaos.proxies import parse_proxy
from edgescale.harness.chaos.run import ChaosRun
from edgescale.harness.chaos.session import run_all
from edgescale.harness.checkers import judge
from edgescale.harness.markers import hits
from edgescale.harness.plan import Plan
from tests.support_history import Story

ONE = Asked("one", "the first scenario", Plan(1), reaches=(), replay="again")
TWO = dataclasses.replace(ONE, name="two", title="the second scenario")


class Nowhere:
    """A server that is only described."""

    url = "redis://127.0.0.1:1/0"

    async def describe(self) -> str:
        return "none, really"


@dataclasses.dataclass
class Play:
    """Runs whose outcome a test says.

    Attributes:
        ends: what carrying out raises, by how often it was done before.
        broken: whether what is carried out breaks a promise.
        folders: of the runs, in their order.
    """

    ends: dict[int, BaseException] = dataclasses.field(default_factory=dict)
    broken: bool = False
    folders: list[Path] = dataclasses.field(default_factory=list)

    async def carry_out(self, plan: Plan, _: object, __: object, folder: Path, **___: object) -> ChaosRun:
        self.folders.append(folder)
        if error := self.ends.get(len(self.folders)):
            raise error
        story = Story().cast().submit("r1").accept("r1").deliver("r1").settle("r1").answer("r1")
        history = (story if self.broken else story.final("r1")).history()
        return ChaosRun(plan, history, judge(history), hits(history), {}, ("it broke",) if self.broken else ())


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    @asynccontextmanager
    async def server_for(*_: object) -> AsyncIterator[Nowhere]:
        yield Nowhere()

    play = Play()
    monkeypatch.setattr(session, "server_for", server_for)
    monkeypatch.setattr(session, "carry_out", play.carry_out)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return play


def run(report: Path | None, *wanted: Asked, as_json: bool = False) -> int:
    """The exit status."""
    return asyncio.run(
        run_all(parse_provider("native"), wanted, proxy=parse_proxy("built-in"), report=report, as_json=as_json)
    )


def ledger_of(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capfd.readouterr().out)
    return told


def test_one_run_has_a_page(play: Play, tmp_path: Path) -> None:
    assert run(tmp_path / "run.html", ONE) == 0

    assert "the first scenario" in (tmp_path / "run.html").read_text()
    assert len(play.folders) == 1


@pytest.mark.usefixtures("play")
def test_of_several_runs_each_has_a_page_and_one_leads_to_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run.html", ONE, dataclasses.replace(TWO, mutant="no_dedupe")) == 0

    assert {path.name for path in tmp_path.glob("*.html")} == {"run.html", "run-one.html", "run-two-no_dedupe.html"}
    index = (tmp_path / "run.html").read_text()
    assert 'href="run-one.html"' in index
    assert 'href="run-two-no_dedupe.html"' in index
    assert "All 2 runs are good" in index
    assert f"report: {tmp_path / 'run.html'}" in capfd.readouterr().out.replace("\n", "")


@pytest.mark.usefixtures("play")
def test_a_json_file_has_the_ledger_of_all(tmp_path: Path) -> None:
    assert run(tmp_path / "runs.json", ONE, TWO) == 0

    ledger = json.loads((tmp_path / "runs.json").read_text())
    assert (ledger["good"], [item["name"] for item in ledger["runs"]]) == (True, ["one", "two"])
    assert not list(tmp_path.glob("*.html"))


def test_what_a_good_run_leaves_is_removed_and_that_of_another_is_named(
    play: Play, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(None, ONE) == 0
    assert not play.folders[0].exists()

    play.broken = True
    assert run(None, ONE) == 1
    assert (play.folders[1] / "history.jsonl").exists()
    out = capfd.readouterr().out.replace("\n", "")
    assert f"events, logs and data: {play.folders[1]}" in out
    assert "the run failed: it broke" in out


def test_a_run_that_cannot_be_begun_takes_no_other_along(
    play: Play, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    play.ends = {1: ConfigError("worker-1#1 did not start")}
    assert run(tmp_path / "run.html", ONE, TWO, as_json=True) == 1

    ledger = ledger_of(capfd)
    assert [(item["name"], item["good"]) for item in ledger["runs"]] == [("one", False), ("two", True)]
    assert ledger["runs"][0]["failures"] == ["worker-1#1 did not start"]
    assert "worker-1#1 did not start" in (tmp_path / "run.html").read_text()


@pytest.mark.parametrize("error", [ConfigError("no server"), BrokerUnavailable("gone")])
def test_a_single_run_that_cannot_be_begun_is_a_sentence(
    play: Play, error: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    play.ends = {1: error}
    if isinstance(error, ConfigError):
        with pytest.raises(ConfigError, match="no server"):
            run(None, ONE)
    else:
        assert run(None, ONE) == 1
        assert "the run failed: gone" in capfd.readouterr().out


def test_what_was_broken_off_is_not_called_good(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    play.ends = {2: asyncio.CancelledError()}
    assert run(None, ONE, TWO, as_json=True) == 130

    ledger = ledger_of(capfd)
    assert (ledger["good"], ledger["interrupted"], len(ledger["runs"])) == (False, True, 1)


@pytest.mark.usefixtures("play")
def test_of_all_what_the_servers_do_not_allow_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def needs(plan: Plan) -> frozenset[Capability]:
        return frozenset([Capability.TOXIPROXY] * (plan.seed == 2))

    monkeypatch.setattr(session, "needs_of", needs)
    needy = dataclasses.replace(TWO, plan=Plan(2), optional=True)
    wanted: Sequence[Asked] = [dataclasses.replace(ONE, optional=True), needy]

    assert run(None, *wanted, as_json=True) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["left_out"] == ["two"]
    assert "left out, as provider native cannot start Toxiproxy: two" in err
    with pytest.raises(ConfigError, match="provider native cannot start Toxiproxy; who can: --provider docker"):
        run(None, ONE, dataclasses.replace(needy, optional=False))
