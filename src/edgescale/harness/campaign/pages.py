"""The page of a campaign: of which of its runs, and what it says beside the run's history."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgescale.errors import ConfigError
from edgescale.harness.campaign.failures import Counterexample
from edgescale.harness.campaign.ledger import Ledger
from edgescale.harness.campaign.report import plan_line, replay_line, size_of
from edgescale.harness.campaign.result import Job, Result, seed_of
from edgescale.harness.history import Header, History
from edgescale.harness.plan import Plan
from edgescale.harness.report import About, page


@dataclass(frozen=True, slots=True)
class Shown:
    """The run that a page shows.

    Attributes:
        job: what is run once more for its history.
        title: what it is.
        replay: the command that runs it again.
        note: which one of many; "" for the only one.
        bad: whether it was not good when it was run first.
    """

    job: Job
    title: str
    replay: str
    note: str
    bad: bool


def choose(
    jobs: Sequence[Job], plan_path: Path | None, ledger: Ledger, small: Sequence[Counterexample]
) -> Shown | None:
    """The first failing run, made small where it was; the first one whose trace differed; or the last one.

    None where nothing ran.

    Args:
        jobs: of the campaign.
        plan_path: where its plan came from; None for seeds.
        ledger: with all results that there are.
        small: the counterexamples.
    """
    ran = [job for job in jobs if ledger.has(seed_of(job))]
    if not ran:
        return None
    failures = ledger.failures()
    if failures:
        return _failing(ran, plan_path, ledger, small)
    if ledger.unlike:
        job = next(job for job in ran if seed_of(job) == min(ledger.unlike))
        many = f"{len(ledger.unlike):,} of {ledger.twice:,} runs left another trace when they were run again"
        note = f"{many}. {_named(job)} is the first of them."
    else:
        job = ran[-1]
        note = f"{_named(job)} is the last of {len(ran):,} runs, all of which were good." if len(ran) > 1 else ""
    return _shown(job, plan_path, ledger.mutant, note, bad=False)


def _failing(ran: Sequence[Job], plan_path: Path | None, ledger: Ledger, small: Sequence[Counterexample]) -> Shown:
    failures = ledger.failures()
    first = failures[0]
    job = next(job for job in ran if seed_of(job) == first.seed)
    many = f" is the first of {len(failures):,} failing runs among {len(ran):,}" if len(ran) > 1 else ""
    item = next((item for item in small if item.bug.first.seed == first.seed), None)
    if item is None:
        return _shown(job, plan_path, ledger.mutant, f"{_named(job)}{many}." if many else "", bad=True)
    note = f"{_named(job)}{many or ' failed'}; this is what is left of it, made small: {size_of(item.plan)}."
    return _shown(item.plan, item.path, ledger.mutant, note, bad=True)


def _shown(job: Job, plan_path: Path | None, mutant: str, note: str, *, bad: bool) -> Shown:
    title = f"Simulation of {'the plan ' + plan_path.name if plan_path else f'seed {seed_of(job)}'}"
    replay = plan_line(plan_path, mutant) if plan_path else replay_line(seed_of(job), mutant)
    return Shown(job, title, replay, note, bad)


def _named(job: Job) -> str:
    return f"Seed {seed_of(job)}"


def write(path: Path, shown: Shown, result: Result, ledger: Ledger) -> None:
    """Write the page of a run; of one that cannot be run to its end, a page that says so.

    Args:
        path: of the file.
        shown: what it shows.
        result: of running it once more, with the run itself.
        ledger: what code ran, and under which mutant.

    Raises:
        ConfigError: the file cannot be written.
    """
    changed = " Run again for this page, it was good: it depends on something that it must not." if shown.bad else ""
    note = shown.note + (changed if result.good else "")
    run = result.run
    used = {"provider": "simulation", **({"mutant": ledger.mutant} if ledger.mutant else {})}
    header = Header(seed=result.seed) if run is None else run.history.header
    header = dataclasses.replace(header, commit=ledger.commit, versions=ledger.versions)
    if run is None:
        failure = result.offences[0].sentence if result.offences else "nothing was recorded"
        text = page(History(header, ()), (), {}, About(shown.title, shown.replay, note, used, failure))
    else:
        about = About(shown.title, shown.replay, note, {**used, **_made_of(run.plan)}, run.failure)
        text = page(History(header, run.history.events), run.verdicts, run.markers, about)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--page {path}: {error.strerror}") from error


def _made_of(plan: Plan) -> Mapping[str, str]:
    services = ", ".join(f"{kind} {count}" for kind, count in plan.services.items() if count)
    server = ", ".join(f"{name} {value}" for name, value in plan.redis.items())
    return {"services": services, "Redis": f"a model of it{', ' + server if server else ''}"}
