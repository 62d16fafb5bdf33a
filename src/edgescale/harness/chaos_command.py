"""`edgescale chaos`: the options of the command; `chaos.session` runs what they ask for."""

import asyncio
import dataclasses
import os
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgescale.errors import ConfigError

if TYPE_CHECKING:
    from edgescale.harness.chaos.asked import Asked

ALL = "all"
SEED = 1
BOTH = "--plan runs one plan: leave scenarios, --duration, --rate, --seed and --mutant all out, or --plan"
USUAL = "everything-at-once"


def chaos(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(help="Names, files *.toml, or `all`; everything-at-once when left out."),
    ] = None,
    duration: Annotated[float | None, typer.Option("--duration", min=1, help="Seconds of load, for each.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", min=0.1, help="Requests a second, about.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="What is drawn is drawn from this; 1.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Run this plan instead of scenarios.")] = None,
    provider: Annotated[
        str,
        typer.Option(
            "--provider", help="Where Redis comes from: auto, docker, native, compose, docker:valkey ... or a URL."
        ),
    ] = "auto",
    proxy: Annotated[
        str, typer.Option("--proxy", help="What stands before Redis: built-in, toxiproxy or the URL of one.")
    ] = "built-in",
    mutant: Annotated[
        str, typer.Option("--mutant", help="Break the services like this; `all` hunts those of each scenario.")
    ] = "",
    report: Annotated[Path | None, typer.Option("--report", help="An HTML page; *.json: the ledger.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
) -> None:
    """Run the services as real processes against a real Redis, break things, and judge every promise.

    Exits with 0 only if every promise was kept in every run, and each run reached what it is there for.
    """
    # gRPC's own handlers of forks can crash the server that is started here; nobody uses gRPC after a fork.
    # Read by grpc when it is imported. Source: gRPC Core, doc/environment_variables.md and doc/fork_support.md.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    _needs("httpx")
    if listed:
        return _list()
    from edgescale.harness.chaos.providers import parse_provider
    from edgescale.harness.chaos.proxies import parse_proxy
    from edgescale.harness.chaos.session import run_all

    _check(mutant, report)
    between = parse_proxy(proxy)
    common = _common(provider, proxy)
    aims = between.aims and not provider.startswith("rediss://")  # no proxy can read what is encrypted
    if plan is not None:
        if scenarios or (duration, rate, seed) != (None, None, None) or mutant == ALL:
            raise ConfigError(BOTH)
        able = [_checked(_planned(plan, common), f"plan {plan}", aims=aims)]
    else:
        drawn = [_asked(name, SEED if seed is None else seed, duration, rate, common) for name in _named(scenarios)]
        doable = _done_by(drawn, aims=aims) if scenarios == [ALL] else drawn
        able = [_checked(each, f"scenario {each.name}", aims=aims) for each in doable]
    wanted = _hunts(able) if mutant == ALL else [_mutated(each, mutant) for each in able]
    running = run_all(parse_provider(provider), wanted, proxy=between, report=report, as_json=as_json)
    raise typer.Exit(asyncio.run(running))


def _common(provider: str, proxy: str) -> list[str]:
    """The options of all replays; a password is nobody's business."""
    from edgescale.harness.chaos.given import without_credentials

    shown = without_credentials(provider) if "://" in provider else provider
    return [f"--provider {shlex.quote(shown)}", *([f"--proxy {shlex.quote(proxy)}"] if proxy != "built-in" else [])]


def _list() -> None:
    from edgescale.harness.chaos.scenario import load_scenario, scenario_names

    for name in scenario_names():
        print(f"{name:20} {load_scenario(name).title}")


def _check(mutant: str, report: Path | None) -> None:
    from edgescale.harness.mutants import find

    if mutant not in {"", ALL}:
        find(mutant)
    if report is not None and not report.absolute().parent.is_dir():
        raise ConfigError(f"--report {report}: there is no folder {report.parent}")
    if report is not None and report.is_dir():
        raise ConfigError(f"--report {report}: this is a folder; name a file there, such as {report / 'chaos.html'}")


def _named(scenarios: list[str] | None) -> list[str]:
    from edgescale.harness.chaos.scenario import usual_names

    return usual_names() if scenarios == [ALL] else scenarios or [USUAL]


def _done_by(drawn: "list[Asked]", *, aims: bool) -> "list[Asked]":
    """Those that can be done by such proxies; the others are left out, and that is said."""
    from edgescale.harness.chaos.fit import needs_aim

    blind = [each.name for each in drawn if not aims and needs_aim(each.plan)]
    if blind:
        print(f"edgescale: left out, as only the built-in proxy can do them: {', '.join(blind)}", file=sys.stderr)
    return [dataclasses.replace(each, optional=True) for each in drawn if each.name not in blind]


def _mutated(asked: "Asked", mutant: str, *, hunted: bool = False) -> "Asked":
    if not mutant:
        return asked
    return dataclasses.replace(asked, mutant=mutant, hunted=hunted, replay=f"{asked.replay} --mutant {mutant}")


def _hunts(able: "list[Asked]") -> "list[Asked]":
    """A run for each mutant that one of these scenarios is to catch.

    Raises:
        ConfigError: there is none.
    """
    hunts = [_mutated(each, mutant, hunted=True) for each in able for mutant in each.catches]
    if not hunts:
        raise ConfigError("--mutant all: none of these scenarios says which mutants it catches; `all` of them do")
    return hunts


def _asked(name: str, seed: int, duration: float | None, rate: float | None, common: list[str]) -> "Asked":
    from edgescale.harness.chaos.asked import Asked
    from edgescale.harness.chaos.scenario import load_scenario

    scenario, told = load_scenario(name), []
    if duration is not None:
        scenario = dataclasses.replace(scenario, duration_s=duration)
        told.append(f"--duration {duration:g}")
    if rate is not None:
        scenario = dataclasses.replace(scenario, rate=rate)
        told.append(f"--rate {rate:g}")
    replay = " ".join(["edgescale chaos", shlex.quote(name), f"--seed {seed}", *told, *common])
    return Asked(scenario.name, scenario.title, scenario.plan(seed), scenario.reaches, replay, scenario.catches)


def _checked(asked: "Asked", what: str, *, aims: bool) -> "Asked":
    """The same, once it is sure that it can be carried out.

    Raises:
        ConfigError: it cannot.
    """
    from edgescale.harness.chaos.fit import check_plan

    try:
        check_plan(asked.plan, aims=aims)
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
    return asked


def _planned(path: Path, common: list[str]) -> "Asked":
    from edgescale.harness.chaos.asked import Asked
    from edgescale.harness.chaos.fit import left_out
    from edgescale.harness.regressions import Regression

    plan = Regression.load(path).plan
    if told := left_out(plan):
        print(f"edgescale: {told}", file=sys.stderr)
    replay = " ".join(["edgescale chaos", f"--plan {shlex.quote(str(path))}", *common])
    return Asked(path.stem, f"the plan {path.name}", plan, (), replay)


def _needs(*packages: str) -> None:
    """See that the harness's own packages are installed.

    Raises:
        ConfigError: one is not.
    """
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ConfigError(f"chaos needs {package}: pip install 'edgescale[local,harness,chaos]'") from error
