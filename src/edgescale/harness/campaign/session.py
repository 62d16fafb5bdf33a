"""A campaign from beginning to end: run, run again, shrink what failed, tell. Ctrl-C ends it with what there is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from edgescale.exits import EXIT_FAILED, EXIT_INTERRUPTED
from edgescale.harness.campaign import pages, report
from edgescale.harness.campaign.campaign import Hosts, orders_of
from edgescale.harness.campaign.failures import Bug, Counterexample, bugs_of, counterexamples, shrunk_by
from edgescale.harness.campaign.ledger import Ledger
from edgescale.harness.campaign.progress import Shown, progress, say
from edgescale.harness.campaign.reach import Hunt, Named, all_caught, hunt_all, median_seeds
from edgescale.harness.campaign.result import Job, Work
from edgescale.harness.campaign.versions import commit_of, versions

# Bugs that are shrunk and told; the others stand in the JSON.
BUGS_MAX = 5
# Hosts of another number have another hash seed; see `Hosts`.
FIRST, SECOND = 1, 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What a campaign is to be.

    Attributes:
        jobs: what is run.
        work: runs one of them.
        look: runs one of them, and brings the run itself, too.
        processes: that run at the same time.
        mutant: under which all is run; "" for none.
        plan_path: where the plan came from that is run; None for seeds.
        twice: run everything a second time, in processes unlike the first.
        shrink: make failures small.
        failures: the folder where small plans are kept.
        as_json: print that only.
        report: write JSON there, too.
        page: write a page there that shows one run.
    """

    jobs: Sequence[Job]
    work: Work
    look: Work
    processes: int = 1
    mutant: str = ""
    plan_path: Path | None = None
    twice: bool = False
    shrink: bool = True
    failures: Path = Path("failures")
    as_json: bool = False
    report: Path | None = None
    page: Path | None = None


def run_campaign(asked: Asked) -> int:
    """Run it and tell; returns the exit status."""
    ledger = Ledger(mutant=asked.mutant, commit=commit_of(), versions=versions())
    small: list[Counterexample] = []
    status = 0
    try:
        _run(asked, ledger)
        if asked.twice:
            _run_again(asked, ledger)
        if asked.shrink:
            _shrink(asked, _bugs(ledger), small)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    _tell(asked, ledger, small)
    if asked.page is not None:
        try:
            _show_page(asked, asked.page, ledger, small)
        except KeyboardInterrupt:
            status = EXIT_INTERRUPTED
    return status or (0 if ledger.good else EXIT_FAILED)


def _run(asked: Asked, ledger: Ledger) -> None:
    began_s = perf_counter()
    variation = FIRST if asked.twice else 0
    orders = orders_of(asked.jobs, mutant=asked.mutant, hosts=asked.processes)
    with (
        Hosts(asked.processes, asked.work, variation=variation) as hosts,
        progress("runs", len(asked.jobs), quiet=asked.as_json) as shown,
    ):
        for _, result in hosts.run(orders):
            ledger.add(result)
            if not (result.good or asked.as_json or asked.mutant):
                told = result.offences[0]
                say(f"seed {result.seed}: {told.promise} {told.rule}: {told.sentence}")
            ledger.wall_s = perf_counter() - began_s
            hours = f"{ledger.virtual_s / 3600:,.2f} simulated hours"
            shown(ledger.runs, f"{ledger.seeds_per_s:,.1f} seeds/s, {hours}, {len(ledger.bad):,} failures")


def _run_again(asked: Asked, ledger: Ledger) -> None:
    orders = orders_of(asked.jobs, mutant=asked.mutant, hosts=asked.processes)
    with (
        Hosts(asked.processes, asked.work, variation=SECOND) as hosts,
        progress("runs once more", len(asked.jobs), quiet=asked.as_json) as shown,
    ):
        for _, result in hosts.run(orders):
            ledger.compare(result)
            shown(ledger.twice, f"{len(ledger.unlike):,} with another trace")


def _bugs(ledger: Ledger) -> Sequence[Bug]:
    return bugs_of(ledger.failures())[:BUGS_MAX]


def _shrink(asked: Asked, bugs: Sequence[Bug], small: list[Counterexample]) -> None:
    if not bugs:
        return
    with Hosts(1, asked.work) as hosts, progress("bugs to shrink", len(bugs), quiet=asked.as_json) as shown:
        for item in counterexamples(bugs, shrunk_by(hosts, asked.mutant), asked.failures):
            small.append(item)
            shown(len(small), str(item.path))


def _tell(asked: Asked, ledger: Ledger, small: Sequence[Counterexample]) -> None:
    for result in ledger.bad:
        plan, mutant = asked.plan_path, asked.mutant
        ledger.replays[result.seed] = (
            report.plan_line(plan, mutant) if plan else report.replay_line(result.seed, mutant)
        )
    ledger.plans = {item.bug.first.seed: str(item.path) for item in small}
    _write(asked, ledger.record())
    if not asked.as_json:
        console = report.console_of()
        report.print_ledger(console, ledger)
        report.print_bugs(console, ledger, _bugs(ledger), small)


def _show_page(asked: Asked, path: Path, ledger: Ledger, small: Sequence[Counterexample]) -> None:
    """Run the one that is to be shown once more, and write its page.

    Raises:
        ConfigError: the file cannot be written.
    """
    shown = pages.choose(asked.jobs, asked.plan_path, ledger, small)
    if shown is None:
        say("no page was written: nothing was run to its end")
        return
    with Hosts(1, asked.look) as hosts:
        result = hosts.judge(shown.job, asked.mutant)
    pages.write(path, shown, result, ledger)
    say(f"{path} shows this: {shown.note or shown.title}")


def _write(asked: Asked, record: dict[str, object]) -> None:
    text = json.dumps(record, indent=2)
    if asked.report is not None:
        asked.report.write_text(text + "\n", encoding="utf-8")
    if asked.as_json:
        print(text)  # noqa: T201 - for machines


def measure(asked: Asked, mutants: Sequence[Named]) -> int:
    """Find out how many seeds it takes to catch each mutant; returns the exit status."""
    hunts: Sequence[Hunt] = [Hunt(mutant) for mutant in mutants]
    status = 0
    try:
        with (
            Hosts(asked.processes, asked.work) as hosts,
            progress("mutants", len(mutants), quiet=asked.as_json) as shown,
        ):
            for hunts in hunt_all(hosts, mutants, asked.jobs):
                _show(hunts, shown)
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    good = all_caught(hunts)
    caught = [hunt.record() for hunt in hunts]
    _write(asked, {"good": good, "commit": commit_of(), "median_seeds": median_seeds(hunts), "mutants": caught})
    if not asked.as_json:
        report.print_hunts(report.console_of(), hunts)
    return status or (0 if good else EXIT_FAILED)


def _show(hunts: Sequence[Hunt], shown: Shown) -> None:
    caught = [hunt.mutant.name for hunt in hunts if hunt.caught_by]
    shown(len(caught), f"caught; {sum(hunt.seeds for hunt in hunts):,} runs")
