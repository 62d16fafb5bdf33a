"""Runs on real parts, one scenario after the other, and what is told of them."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from edgescale.errors import ConfigError, EdgeScaleError
from edgescale.exits import EXIT_FAILED, EXIT_INTERRUPTED
from edgescale.harness.campaign.report import console_of
from edgescale.harness.chaos import reports
from edgescale.harness.chaos.asked import Asked, Runs, Told
from edgescale.harness.chaos.capabilities import need
from edgescale.harness.chaos.fit import needs_of
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose
from edgescale.harness.chaos.proxies import Proxy, ProxyChoice, proxy_of
from edgescale.harness.chaos.replicated import server_for
from edgescale.harness.chaos.run import ChaosRun, carry_out, settings_of
from edgescale.harness.chaos.terms import header_of
from edgescale.harness.chaos.told import print_all, print_one
from edgescale.harness.chaos.view import watching
from edgescale.harness.history import History


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
        report: where the page of the run goes; with several runs, each has a page of its own beside it, and this one
            has the links. A file *.json gets what `as_json` prints instead.
        as_json: print that only.

    Raises:
        ConfigError: the provider or the proxy cannot be had, or what is wanted cannot be done to its servers; of a
            single run, a service does not start.
    """
    told: list[Told] = []
    status = 0
    provider, because = await choose(choice)
    able = _able(provider, wanted)
    async with provider, proxy_of(proxy, provider) as between:
        if not as_json:
            sys.stderr.write(f"edgescale: provider {provider.name}: {because}; proxy {between.told}\n")
        try:
            for asked in able:
                told.append(await _one(provider, between, asked, alone=len(able) == 1, quiet=as_json))
                reports.keep_page(report, told[-1], alone=len(able) == 1)
                if not as_json:
                    print_one(console_of(), told[-1])
        except asyncio.CancelledError:
            # Ctrl-C: what there is, is told.
            status = EXIT_INTERRUPTED
    runs = Runs(told, len(able), [asked.name for asked in wanted if asked not in able])
    reports.keep(report, runs)
    if as_json:
        print(reports.ledger(runs))  # noqa: T201 - for machines
    elif len(able) > 1:
        print_all(console_of(), runs, report)
    return status or (0 if runs.good else EXIT_FAILED)


def _able(provider: Provider, wanted: Sequence[Asked]) -> list[Asked]:
    """Those that can be done to the servers of this provider; of all, the others are left out, and that is said.

    Raises:
        ConfigError: one that was asked for by its name cannot be done, or none is left.
    """
    needs = {asked.name: needs_of(asked.plan) - provider.capabilities for asked in wanted}
    for asked in wanted:
        if not asked.optional:
            need(provider.name, *sorted(needs[asked.name]))
    if blind := [asked.name for asked in wanted if needs[asked.name]]:
        lacking = sorted({capability for lacking in needs.values() for capability in lacking})
        if len(blind) == len(wanted):
            need(provider.name, *lacking)
        why = f"provider {provider.name} cannot {', '.join(lacking)}"
        sys.stderr.write(f"edgescale: left out, as {why}: {', '.join(blind)}\n")
    return [asked for asked in wanted if not needs[asked.name]]


async def _one(provider: Provider, proxy: Proxy, asked: Asked, *, alone: bool, quiet: bool) -> Told:
    """One run; what it leaves behind is removed where it was good.

    Raises:
        ConfigError: it is the only one, and cannot be begun.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"edgescale-chaos-{asked.name}-"))
    began_s = perf_counter()
    used = {"server": "none", "proxy": proxy.told}
    try:
        async with server_for(asked.plan, provider) as server:
            used["server"] = str(await server.describe())
            with watching(asked.name, quiet=quiet) as watcher:
                links = proxy.links(asked.plan.seed, server)
                run = await carry_out(asked.plan, server, links, folder, mutant=asked.mutant, watcher=watcher)
    except EdgeScaleError as error:
        if alone and isinstance(error, ConfigError):
            raise
        run = _not_begun(asked, str(error))
    except asyncio.CancelledError:
        sys.stderr.write(f"edgescale: broken off {asked.name}: events, logs and data: {folder}\n")
        raise
    told = Told(asked, run, used, perf_counter() - began_s, folder)
    if told.good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        run.history.dump(folder / "history.jsonl")
    return told


def _not_begun(asked: Asked, why: str) -> ChaosRun:
    """What is known of a run without a server, or whose services did not start: the others go on."""
    history = History(header_of(asked.plan, settings_of(asked.plan, Path())), ())
    return ChaosRun(asked.plan, history, (), {}, {}, (why,))
