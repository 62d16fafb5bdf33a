"""What a person sees of runs on real parts once they are over."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgescale.harness.mutants import find

if TYPE_CHECKING:
    from pathlib import Path

    from edgescale.harness.chaos.asked import Runs, Told

STORIES_MAX = 3
OUTCOMES = {"valid": Text("ok"), "invalid": Text("BROKEN", style="red"), "unknown": Text("?", style="red")}


def print_one(console: Console, told: "Told") -> None:
    """One run: a line if it was good, else all that a person needs to go on."""
    if told.asked.hunted:
        _print_hunt(console, told)
        return
    plan, verdict = told.asked.plan, "kept  " if told.good else "BROKEN"
    line = f"{verdict} {told.asked.name}: {len(plan.requests):,} requests, {len(plan.faults):,} faults"
    console.print(Text(f"{line}, {told.wall_s:.0f} s, {told.used['server']}", style="" if told.good else "red"))
    for more in _trouble(told):
        console.print(Text(more))


def _print_hunt(console: Console, told: "Told") -> None:
    verdict = "caught" if told.good else "MISSED"
    broken = f"{told.asked.mutant}, which breaks {find(told.asked.mutant).promise}"
    line = f"{verdict} {broken}: {told.asked.name} found {', '.join(told.broken) or 'nothing'}, {told.wall_s:.0f} s"
    console.print(Text(line, style="" if told.good else "red"))
    for more in (*told.run.failures, f"  replay: {told.asked.replay}") if not told.good else ():
        console.print(Text(more))


def _trouble(told: "Told") -> Iterator[str]:
    if told.good:
        return
    for failure in told.run.failures:
        yield f"  the run failed: {failure}"
    if told.missed:
        yield f"  it shows nothing: {', '.join(told.missed)} did not happen"
    for offence in told.offences[:STORIES_MAX]:
        yield f"  {offence.promise} {offence.rule}: {offence.sentence}"
        yield offence.story
    yield f"  replay: {told.asked.replay}"
    yield f"  events, logs and data: {told.folder}"


def print_all(console: Console, runs: "Runs", report: "Path | None") -> None:
    """All runs, one line each, by promise."""
    promises = list(dict.fromkeys(verdict.promise for item in runs.told for verdict in item.run.verdicts))
    table = Table("scenario", *promises, box=None, padding=(0, 1))
    for item in runs.told:
        outcomes = {verdict.promise: verdict.outcome for verdict in item.run.verdicts}
        name = f"{item.asked.name}, {item.asked.mutant}" if item.asked.hunted else item.asked.name
        table.add_row(name, *(OUTCOMES[outcomes[name]] if name in outcomes else Text("-") for name in promises))
    console.print(table)
    broken = [item.asked.name for item in runs.told if not item.good]
    good = f"all {len(runs.told)} are good" if not runs.interrupted else f"{len(runs.told)} of {runs.wanted} were run"
    console.print(Text(f"not good: {', '.join(broken)}" if broken else good))
    if report is not None:
        console.print(Text(f"report: {report}"))
