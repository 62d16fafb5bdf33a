"""Runs on real parts, one scenario after the other, and what is told of them."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from edgescale.exits import EXIT_FAILED, EXIT_INTERRUPTED
from edgescale.harness.campaign.offences import offences_of
from edgescale.harness.campaign.report import console_of
from edgescale.harness.campaign.result import Offence
from edgescale.harness.campaign.versions import commit_of, versions
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose
from edgescale.harness.chaos.proxies import Proxy, ProxyChoice, proxy_of
from edgescale.harness.chaos.replicated import server_for
from edgescale.harness.chaos.run import ChaosRun, carry_out
from edgescale.harness.chaos.view import watching
from edgescale.harness.mutants import find
from edgescale.harness.plan import Plan
from edgescale.harness.report.about import About
from edgescale.harness.report.page import page

LEDGER = ".json"


@dataclass(frozen=True, slots=True)
class Asked:
    """One run that is asked for.

    Attributes:
        name: of the scenario, or of the plan's file.
        title: what it is about.
        plan: what is done.
        reaches: markers that it must hit.
        replay: the command that runs it again.
        catches: mutants that it is to catch.
        mutant: under which services run; "" for none.
        hunted: whether it is to be caught: then the run is good if it finds broken what the mutant breaks.
    """

    name: str
    title: str
    plan: Plan
    reaches: Sequence[str]
    replay: str
    catches: Sequence[str] = ()
    mutant: str = ""
    hunted: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What became of it.

    Attributes:
        asked: the run.
        run: its history and verdicts.
        used: what it ran on, by name.
        wall_s: how long it took.
        folder: where its events and logs are.
    """

    asked: Asked
    run: ChaosRun
    used: Mapping[str, str]
    wall_s: float
    folder: Path

    @property
    def missed(self) -> list[str]:
        """The markers that it should have hit, and faults that found nothing to strike."""
        missed = [name for name in self.asked.reaches if not self.run.markers.get(name)]
        return missed + [name for name, times in self.run.struck.items() if not times]

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and the run shows that; or its mutant was caught."""
        if self.asked.hunted:
            return find(self.asked.mutant).promise in self.broken
        return self.run.good and not self.missed

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        return [verdict.promise for verdict in self.run.verdicts if verdict.outcome == "invalid"]

    @property
    def offences(self) -> Sequence[Offence]:
        """What was broken, those of P1 first."""
        return offences_of(self.run.history, "", self.run.verdicts)

    def record(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.asked.name,
            "good": self.good,
            "replay": self.asked.replay,
            "seed": self.asked.plan.seed,
            "mutant": self.asked.mutant,
            "used": dict(self.used),
            "requests": len(self.asked.plan.requests),
            "faults": len(self.asked.plan.faults),
            "events": len(self.run.history.events),
            "wall_s": round(self.wall_s, 1),
            "verdicts": {verdict.promise: verdict.outcome for verdict in self.run.verdicts},
            "markers": {name: count for name, count in self.run.markers.items() if count},
            "struck": dict(self.run.struck),
            "missed": self.missed,
            "failures": list(self.run.failures),
            "offences": [
                {"promise": offence.promise, "rule": offence.rule, "sentence": offence.sentence}
                for offence in self.offences
            ],
        }


async def run_all(
    choice: Choice,
    wanted: Sequence[Asked],
    *,
    proxy: ProxyChoice,
    report: Path | None,
    as_json: bool,
) -> int:
    """Carry everything out, print what became of it, and return the exit status.

    Args:
        choice: of the provider of servers.
        wanted: one run after the other, each with a server of its own.
        proxy: which one stands before it.
        report: where the page of the run goes; with several runs, each has a page of its own beside it. A file *.json
            gets what `as_json` prints instead.
        as_json: print that only.

    Raises:
        ConfigError: the provider or the proxy cannot be had, or a service does not start.
    """
    from edgescale.harness.chaos.told import print_all, print_one  # noqa: PLC0415 - it looks at what is told here

    told: list[Told] = []
    status = 0
    provider, because = await choose(choice)
    async with provider, proxy_of(proxy, provider) as between:
        if not as_json:
            sys.stderr.write(f"edgescale: provider {provider.name}: {because}; proxy {between.told}\n")
        try:
            for asked in wanted:
                told.append(await _one(provider, between, asked, quiet=as_json))
                _write_page(report, told[-1], alone=len(wanted) == 1)
                if not as_json:
                    print_one(console_of(), told[-1])
        except asyncio.CancelledError:
            # Ctrl-C: what there is, is told.
            status = EXIT_INTERRUPTED
    ledger = _ledger(told)
    _write_ledger(report, ledger)
    if as_json:
        print(ledger)  # noqa: T201 - for machines
    elif len(told) > 1:
        print_all(console_of(), told)
    return status or (0 if all(item.good for item in told) else EXIT_FAILED)


def _ledger(told: Sequence[Told]) -> str:
    good, runs = all(item.good for item in told), [item.record() for item in told]
    return json.dumps({"good": good, "commit": commit_of(), "versions": versions(), "runs": runs}, indent=2)


def _write_ledger(report: Path | None, ledger: str) -> None:
    if report is not None and report.suffix == LEDGER:
        report.write_text(f"{ledger}\n", encoding="utf-8")


def _write_page(report: Path | None, told: Told, *, alone: bool) -> None:
    if report is not None and report.suffix != LEDGER:
        named = report.with_stem("-".join(filter(None, (report.stem, told.asked.name, told.asked.mutant))))
        (report if alone else named).write_text(_page(told), encoding="utf-8")


async def _one(provider: Provider, proxy: Proxy, asked: Asked, *, quiet: bool) -> Told:
    folder = Path(tempfile.mkdtemp(prefix=f"edgescale-chaos-{asked.name}-"))
    began_s = perf_counter()
    async with server_for(asked.plan, provider) as server:
        used = {"server": str(await server.describe()), "proxy": proxy.told}
        with watching(asked.name, quiet=quiet) as watcher:
            links = proxy.links(asked.plan.seed, server)
            run = await carry_out(asked.plan, server, links, folder, mutant=asked.mutant, watcher=watcher)
    run.history.dump(folder / "history.jsonl")
    return Told(asked, run, used, perf_counter() - began_s, folder)


def _page(told: Told) -> str:
    failure = "; ".join(told.run.failures)
    about = About(f"{told.asked.name}: {told.asked.title}", told.asked.replay, used=told.used, failure=failure)
    return page(told.run.history, told.run.verdicts, told.run.markers, about)
