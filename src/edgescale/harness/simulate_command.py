"""`edgescale simulate`: the options of the command; `campaign.asked` makes a campaign of them."""

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from edgescale.errors import ConfigError


def simulate(
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds; 200 when left out.")] = None,
    start: Annotated[int | None, typer.Option("--from", min=0, help="The first seed; 0 when left out.")] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Run this plan instead of seeds.")] = None,
    mutant: Annotated[str, typer.Option("--mutant", help="Break the code like this; `all` measures each.")] = "",
    mutants: Annotated[bool, typer.Option("--mutants", help="List the mutants.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Processes; one a core when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the JSON to this file, too.")] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page that shows one of the runs.")] = None,
    twice: Annotated[bool, typer.Option("--twice", help="Run each again elsewhere; traces must be equal.")] = False,
    shrink: Annotated[
        bool | None, typer.Option("--shrink/--no-shrink", help="Make failures small; done for seeds when left out.")
    ] = None,
    failures: Annotated[Path, typer.Option("--failures", help="Where shrunk plans are kept.")] = Path("failures"),
) -> None:
    """Run the services in simulation, under faults, and judge every promise. A seed replays its run exactly.

    Exits with 0 only if every promise was kept in every run.
    """
    _needs("lupa", "hypothesis")
    from edgescale.harness.campaign import asked

    if mutants:
        asked.list_mutants()
        return
    status = asked.answer(
        asked.jobs_of(seeds, start, plan),
        mutant=mutant,
        processes=jobs,
        plan_path=plan,
        twice=twice,
        shrink=plan is None if shrink is None else shrink,
        failures=failures,
        as_json=as_json,
        report=report,
        page=page,
    )
    raise typer.Exit(status)


def _needs(*packages: str) -> None:
    """See that the harness's own packages are installed.

    Raises:
        ConfigError: one is not.
    """
    # Hypothesis keeps notes on the code that it runs; they do not belong into the folder that the user is in.
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "edgescale-hypothesis"))
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise ConfigError(f"simulation needs {package}: pip install 'edgescale[harness]'") from error
