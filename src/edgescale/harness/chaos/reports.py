"""What runs on real parts leave behind: a page each and one with the links, or the ledger for machines."""

import json
from pathlib import Path

from edgescale.harness.campaign.versions import commit_of, versions
from edgescale.harness.chaos.asked import Runs, Told
from edgescale.harness.report.about import About
from edgescale.harness.report.index import Row, index
from edgescale.harness.report.page import page

LEDGER = ".json"


def ledger(runs: Runs) -> str:
    """All runs, as JSON."""
    record = {
        "good": runs.good,
        "interrupted": runs.interrupted,
        "left_out": list(runs.left_out),
        "commit": commit_of(),
        "versions": versions(),
        "runs": [item.record() for item in runs.told],
    }
    return json.dumps(record, indent=2)


def keep_page(report: Path | None, told: Told, *, alone: bool) -> None:
    """Write the page of one run, where pages are wanted: into the report, or beside it."""
    if report is not None and report.suffix != LEDGER:
        where = report if alone else _beside(report, told)
        where.write_text(_page(told), encoding="utf-8")


def keep(report: Path | None, runs: Runs) -> None:
    """Write what is left to be: the ledger, or the page that leads to those of several runs."""
    if report is None:
        return
    if report.suffix == LEDGER:
        report.write_text(f"{ledger(runs)}\n", encoding="utf-8")
    elif runs.wanted > 1:
        report.write_text(index(_headline(runs), [_row(report, item) for item in runs.told], good=runs.good), "utf-8")


def _beside(report: Path, told: Told) -> Path:
    return report.with_stem("-".join(filter(None, (report.stem, told.asked.name, told.asked.mutant))))


def _page(told: Told) -> str:
    failure = "; ".join(told.run.failures)
    about = About(f"{told.asked.name}: {told.asked.title}", told.asked.replay, used=told.used, failure=failure)
    return page(told.run.history, told.run.verdicts, told.run.markers, about)


def _row(report: Path, told: Told) -> Row:
    name = f"{told.asked.name}, {told.asked.mutant}" if told.asked.mutant else told.asked.name
    outcomes = {verdict.promise: verdict.outcome for verdict in told.run.verdicts}
    told_of = "; ".join([*told.run.failures, *(f"{name} did not happen" for name in told.missed)])
    return Row(_beside(report, told).name, name, told.asked.title, outcomes, told.wall_s, told.good, told_of)


def _headline(runs: Runs) -> str:
    if runs.interrupted:
        return f"Broken off after {len(runs.told)} of {runs.wanted} runs"
    bad = sum(not item.good for item in runs.told)
    return f"{bad} of {runs.wanted} runs are not good" if bad else f"All {runs.wanted} runs are good"
