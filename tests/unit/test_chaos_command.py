"""`edgescale chaos`: what it lists, and what it refuses before anything is started."""

import sys
from pathlib import Path

import pytest

from edgescale import cli
from edgescale.harness import chaos_command
from edgescale.harness.chaos.scenario import scenario_names
from edgescale.harness.plan import Fault, Plan


def chaos(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Status, output and standard error."""
    monkeypatch.setattr(sys, "argv", ["edgescale", "chaos", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def test_scenarios_are_listed_with_what_they_are_about(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = chaos(monkeypatch, capfd, "--list")

    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == scenario_names()
    assert "worker-kill          Workers are killed one after the other" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["worker-kil"], "there is no 'worker-kil'; did you mean 'worker-kill'?"),
        (["mine.toml"], "scenario mine.toml: No such file or directory"),
        (["worker-kill", "--provider", "podman"], "--provider podman: must be one of auto, docker, native, compose"),
        (["worker-kill", "--proxy", "envoy"], "--proxy envoy: must be built-in, toxiproxy, or the URL of a Toxiproxy"),
        (
            ["reply-lost", "--proxy", "toxiproxy"],
            "faults[0]: reply_lost is aimed at what is asked of Redis: use --proxy built-in, without TLS",
        ),
        (
            ["reply-lost", "--provider", "rediss://127.0.0.1:6379"],
            "faults[0]: reply_lost is aimed at what is asked of Redis: use --proxy built-in, without TLS",
        ),
        (["worker-kill", "--mutant", "no_fencin"], "no mutant 'no_fencin': did you mean no_fencing"),
        (["worker-kill", "--report", "no/where.html"], "--report no/where.html: there is no folder no"),
        (["worker-kill", "--report", "."], "--report .: this is a folder; name a file there, such as chaos.html"),
        (["--plan", "none.json"], "plan none.json: No such file or directory"),
        (["--plan", "clock.json"], "plan clock.json: faults[0]: clock cannot be done to real parts; those that can: "),
        (["worker-kill", "--plan", "good.json"], "--plan runs one plan: leave scenarios"),
        (["--plan", "good.json", "--mutant", "all"], "--plan runs one plan: leave scenarios"),
        (["redis-latency", "--mutant", "all"], "--mutant all: none of these scenarios says which mutants it catches"),
        (["--plan", "good.json", "--rate", "4"], "--plan runs one plan: leave scenarios"),
        (["--plan", "good.json", "--seed", "7"], "--plan runs one plan: leave scenarios"),
        (["worker-kill", "--duration", "0"], "greater than or equal to 1"),
        (["worker-kill", "--seed", "one"], "valid integer"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_could(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Plan(1, faults=(Fault(5, 5, "clock", "worker-1"),)).dump(Path("clock.json"))
    Plan(1).dump(Path("good.json"))

    status, out, err = chaos(monkeypatch, capfd, *arguments)

    assert (status, out) == (2, "")
    assert sentence in err


def test_a_replay_has_no_password() -> None:
    assert chaos_command._common("redis://:secret@127.0.0.1:6379/1", "built-in") == [
        "--provider redis://127.0.0.1:6379/1"
    ]
    assert chaos_command._common("docker:valkey", "toxiproxy") == ["--provider docker:valkey", "--proxy toxiproxy"]
