"""From what a person asked for to a campaign: everything is checked before anything runs."""

from collections.abc import Sequence
from pathlib import Path

from edgescale.errors import ConfigError
from edgescale.harness.campaign.campaign import cores
from edgescale.harness.campaign.report import console_of, print_mutants
from edgescale.harness.campaign.result import Job
from edgescale.harness.campaign.session import Asked, measure, run_campaign
from edgescale.harness.campaign.work import look, work
from edgescale.harness.mutants import MUTANTS, find
from edgescale.harness.regressions import Regression
from edgescale.harness.simulation.fit import check_plan

SEEDS_DEFAULT = 200
ALL_MUTANTS = "all"


def list_mutants() -> None:
    """Print them."""
    print_mutants(console_of(), MUTANTS)


def jobs_of(seeds: int | None, start: int | None, plan: Path | None) -> Sequence[Job]:
    """What is to be run.

    Raises:
        ConfigError: seeds and a plan, or a plan that cannot be run.
    """
    if plan is None:
        first = start or 0
        return range(first, first + (seeds or SEEDS_DEFAULT))
    if seeds is not None or start is not None:
        raise ConfigError("--plan runs one plan and no seeds: leave --seeds and --from out, or --plan")
    wanted = Regression.load(plan).plan
    try:
        check_plan(wanted)
    except ConfigError as error:
        raise ConfigError(f"plan {plan}: {error}") from error
    return [wanted]


def answer(
    jobs: Sequence[Job],
    *,
    mutant: str,
    processes: int | None,
    plan_path: Path | None,
    twice: bool,
    shrink: bool,
    failures: Path,
    as_json: bool,
    report: Path | None,
    page: Path | None,
) -> int:
    """Run it, print the answer, and return the exit status; see `Asked`.

    Raises:
        ConfigError: there is no such mutant, it is asked for what does not go together, or a folder is missing.
    """
    everything = mutant == ALL_MUTANTS
    if everything and (plan_path is not None or twice):
        raise ConfigError("--mutant all runs seeds until each mutant is caught: leave --plan and --twice out")
    if everything and page is not None:
        raise ConfigError("--page shows one run, and --mutant all makes many: name one mutant, or leave --page out")
    if mutant and not everything:
        find(mutant)
    _check_file("--report", report)
    _check_file("--page", page)
    asked = Asked(
        jobs=jobs,
        work=work,
        look=look,
        processes=processes or cores(),
        mutant=mutant,
        plan_path=plan_path,
        twice=twice,
        shrink=shrink,
        failures=failures,
        as_json=as_json,
        report=report,
        page=page,
    )
    return measure(asked, MUTANTS) if everything else run_campaign(asked)


def _check_file(option: str, path: Path | None) -> None:
    """See that a file can be written there, before anything takes its time.

    Raises:
        ConfigError: its folder is missing, or it is a folder itself.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise ConfigError(f"{option} {path}: this is a folder; name a file in it")
