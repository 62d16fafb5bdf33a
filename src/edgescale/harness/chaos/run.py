"""One run on real parts: a plan is carried out against real processes and a real server, and the checkers judge it."""

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgescale.broker.connection import Connection
from edgescale.broker.keys import Keys
from edgescale.compose import blob_url
from edgescale.config import Settings, load_settings
from edgescale.errors import EdgeScaleError
from edgescale.harness.chaos.doors import Doors
from edgescale.harness.chaos.link import Links
from edgescale.harness.chaos.nemesis import Nemesis
from edgescale.harness.chaos.probe import Probe
from edgescale.harness.chaos.referee import Referee
from edgescale.harness.chaos.site import Site
from edgescale.harness.chaos.stage import RealStage
from edgescale.harness.chaos.terms import LANES, SETTINGS, header_of
from edgescale.harness.chaos.wiring import CLIENTS, Wiring
from edgescale.harness.checkers import Verdict, judge
from edgescale.harness.clients.clients import Clients
from edgescale.harness.header import Header
from edgescale.harness.history import History
from edgescale.harness.markers import hits
from edgescale.harness.plan import Plan, Request
from edgescale.uploads.store import FILE_ID, BlobStore

if TYPE_CHECKING:
    from edgescale.harness.chaos.server import Server


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen of a run while it goes on."""

    plan: Plan
    site: Site
    clients: Clients
    nemesis: Nemesis
    probe: Probe
    referee: Referee


Watcher = Callable[[Sight], Coroutine[Any, Any, None]]
# The longest that anything may take once all is healed.
QUIESCE_S, REST_S = 90.0, 0.2
AHEAD_MS = 500
FREEZE_S = 2.0
PROBE_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True)
class ChaosRun:
    """What became of a plan.

    Attributes:
        plan: that was carried out.
        history: what everybody saw.
        verdicts: one for each promise, P1 first.
        markers: how often each was hit, by name.
        struck: by fault that may find nothing to strike, how often it struck, where that can be told.
        failures: what is wrong with the run itself, such as a service that ended by itself, or a server that did not
            come back; empty for a good one.
    """

    plan: Plan
    history: History
    verdicts: tuple[Verdict, ...]
    markers: Mapping[str, int]
    struck: Mapping[str, int]
    failures: Sequence[str]

    @property
    def good(self) -> bool:
        """Whether nothing failed and every promise was kept."""
        return not self.failures and all(verdict.outcome == "valid" for verdict in self.verdicts)


def settings_of(plan: Plan, folder: Path) -> Settings:
    """The settings of all services.

    Raises:
        ConfigError: the plan names a setting that there is not, or one that cannot work.
    """
    return load_settings({}, **{**SETTINGS, **plan.settings, "data_dir": folder / "data"})


async def carry_out(
    plan: Plan, server: "Server", links: Links, folder: Path, *, mutant: str = "", watcher: Watcher | None = None
) -> ChaosRun:
    """Carry out a plan against a server that serves, and judge what was seen.

    Args:
        plan: what is sent, and what breaks.
        server: empty; it is left as the plan leaves it.
        links: makes the links between everybody.
        folder: for events, logs and data.
        mutant: under which services run; "" for none.
        watcher: looks on while requests are sent; it is cancelled then.

    Raises:
        ConfigError: the plan names what cannot be had, or a service does not start.
    """
    settings = settings_of(plan, folder)
    names = [f"{kind}-{number}" for kind, count in plan.services.items() for number in range(1, count + 1)]
    site = Site(folder, settings, names, mutant=mutant)
    operator = Connection(server.url, timeout_ms=PROBE_TIMEOUT_MS)
    try:
        async with Wiring(links, names, site.addresses, server.url) as wiring:
            site.wiring = wiring
            stage = RealStage(site, server, operator, Keys(settings.partitions), wiring)
            await site.start_all()
            try:
                await _story(stage, plan, watcher, header_of(plan, settings))
            except* EdgeScaleError as group:
                # What was seen until then is judged all the same.
                site.failures += [str(error) for error in _leaves(group)]
                await site.break_off()
    except BaseException:
        site.abandon()
        raise
    finally:
        await operator.close()
    history = History.ordered(header_of(plan, settings), site.events())
    return ChaosRun(plan, history, judge(history), hits(history), stage.struck, tuple(site.failures))


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        yield from _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]


async def _story(stage: RealStage, plan: Plan, watcher: Watcher | None, header: Header) -> None:
    """Faults and requests first, then all is healed, then everything must come to rest."""
    site = stage.site
    probe = Probe(stage.operator, stage.keys, site.settings, site.recorder, LANES, site.ns_of)
    # The times of the plan count from here, where everything serves.
    async with Doors(site, {door: stage.wiring.address(CLIENTS, door) for door in site.addresses}) as doors:
        clients, nemesis = Clients(site, doors.by_kind), Nemesis(stage)
        aside = [asyncio.create_task(probe.watch()), asyncio.create_task(_spare_collector())]
        if watcher is not None:
            referee = Referee(site, header)
            aside.append(asyncio.create_task(referee.watch()))
            aside.append(asyncio.create_task(watcher(Sight(plan, site, clients, nemesis, probe, referee))))
        sending = asyncio.create_task(_send_all(clients, plan.requests))
        try:
            await nemesis.strike_all(plan.faults)
            await site.revive()
            await sending
            await _come_to_rest(probe)
        finally:
            for task in (*aside, sending):
                task.cancel()
            await asyncio.gather(*aside, sending, return_exceptions=True)
    await site.revive()
    store = BlobStore.open(blob_url(site.settings))
    await probe.write_final(store, _file_ids(site.settings))
    await store.aclose()
    await site.end()


async def _spare_collector() -> None:
    """Keep the garbage collector from what was recorded.

    It would walk over hundreds of thousands of events at once, and hold up clients and proxies for as long.
    """
    try:
        while True:
            await asyncio.sleep(FREEZE_S)
            gc.freeze()
    finally:
        gc.unfreeze()


async def _send_all(clients: Clients, requests: Sequence[Request]) -> None:
    """Send all requests, each at its time, and wait for what becomes of them."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.TaskGroup() as sending:
        for request in sorted(requests, key=lambda request: request.at_ms):
            # A client is made shortly before it sends: a long run has hundreds of thousands of them.
            ahead_ms = request.at_ms - (loop.time() - began_s) * 1000
            if ahead_ms > AHEAD_MS:
                await asyncio.sleep((ahead_ms - AHEAD_MS) / 1000)
            left_ms = max(0, round(request.at_ms - (loop.time() - began_s) * 1000))
            sending.create_task(clients.send(replace(request, at_ms=left_ms)))


async def _come_to_rest(probe: Probe) -> None:
    """Wait until nothing is queued or running any more, or for as long as anything may take."""
    for _ in range(int(QUIESCE_S / REST_S)):
        if await probe.at_rest():
            return
        await asyncio.sleep(REST_S)


def _file_ids(settings: Settings) -> list[str]:
    """The files in the local store."""
    folder = Path(urlsplit(blob_url(settings)).path) / "files"
    return [path.name for path in folder.glob("*") if FILE_ID.fullmatch(path.name)]
