"""What the nemesis does to processes: the same faults, by the same names, as in simulation.

Each is an async generator: begin, yield while it lasts, heal. `server_faults.py` and `network_faults.py` have the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgescale.broker.connection import flat_dict
from edgescale.broker.keys import GROUP
from edgescale.errors import EdgeScaleError
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.options import Allowed
from edgescale.harness.chaos.processes import Life
from edgescale.harness.chaos.terms import LANES
from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage

Make = Callable[["RealStage", Fault], AsyncIterator[None]]
PAUSE_BETWEEN_S = 0.3
# How long a worker that is to die may take to get work: it may be just starting.
HOLDING_S, POLL_S = 2.0, 0.01


SERVICES, EVERY_SERVICE = ("worker", "ingestion", "gateway"), "services"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        targets: what it may befall: first parts of names.
        options: by name, what is allowed.
        simulated: options that it has in simulation only; real parts do without them.
        needs: what must be possible with the server.
        noted: the nemesis writes down that it begins and ends; otherwise what it does is written down as events of its
            own.
        aimed: it needs a proxy that reads what is asked of Redis.
        built_in: it needs the built-in proxy before Redis; what is aimed does.
        make: does it.
    """

    targets: tuple[str, ...]
    options: Mapping[str, Allowed]
    simulated: tuple[str, ...]
    needs: frozenset[Capability]
    noted: bool
    aimed: bool
    built_in: bool
    make: Make

    def fitting(self, names: Collection[str]) -> list[str]:
        """Those of these that it may befall."""
        return [name for name in names if name.partition("-")[0] in self.targets]


FAULTS: dict[str, FaultKind] = {}


def fault(
    *targets: str,
    options: Mapping[str, Allowed] | None = None,
    simulated: tuple[str, ...] = (),
    needs: Collection[Capability] = (),
    noted: bool = True,
    aimed: bool = False,
    built_in: bool = False,
) -> Callable[[Make], Make]:
    """Add a fault to those that can be done to real parts."""

    def add(make: Make) -> Make:
        declared = targets, options or {}, simulated, frozenset(needs)
        FAULTS[make.__name__] = FaultKind(*declared, noted, aimed, aimed or built_in, make)
        return make

    return add


def number_of(fault: Fault, option: str) -> int:
    """An option that is a number, or what is declared where nothing is said."""
    return int(fault.options.get(option, FAULTS[fault.name].options[option].default))


def text_of(fault: Fault, option: str) -> str:
    """An option that is a word, or what is declared where nothing is said."""
    return str(fault.options.get(option, FAULTS[fault.name].options[option].default))


@fault("worker", simulated=("silent",), noted=False)
async def crash(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A process is killed (SIGKILL), a worker with work in its hands if it gets some; it is started again later."""
    life = stage.site.lives[fault.target]
    if fault.target.startswith("worker"):
        with suppress(TimeoutError, EdgeScaleError):
            async with asyncio.timeout(HOLDING_S):
                while not await _holds(stage, life):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(POLL_S)
    await stage.site.kill(life)
    yield
    await stage.site.start_again(life)


async def _holds(stage: "RealStage", life: Life) -> bool:
    """Whether a worker has entries that it was given and has not finished."""
    return any((await consumers_of(stage, life)).values())


async def consumers_of(stage: "RealStage", life: Life) -> dict[tuple[str, bytes], int]:
    """The consumers of a worker, each with its stream: how many entries it was given and has not finished."""
    pending: dict[tuple[str, bytes], int] = {}
    for partition in range(stage.keys.partitions):
        for lane in LANES:
            stream = stage.keys.stream(partition, lane)
            rows = [flat_dict(flat) for flat in await stage.operator.command("XINFO", "CONSUMERS", stream, GROUP)]
            own = [row for row in rows if f"-{life.pid}-".encode() in row[b"name"]]
            pending |= {(stream, row[b"name"]): int(row[b"pending"]) for row in own}
    return pending


FAULTS["door_crash"] = replace(FAULTS["crash"], targets=("ingestion", "gateway"))


@fault(*SERVICES, noted=False)
async def stop(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A service is asked to stop (SIGTERM), as in a deployment, and started again."""
    life = stage.site.lives[fault.target]
    await stage.site.stop(life)
    yield
    await stage.site.start_again(life)


@fault(EVERY_SERVICE, noted=False)
async def rolling(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Every service is stopped and started in turn, as in an upgrade."""
    del fault
    for name in stage.site.names:
        life = stage.site.lives[name]
        await stage.site.stop(life)
        await stage.site.start_again(life)
        await asyncio.wait([asyncio.create_task(stage.site.lives[name].ready.wait())], timeout=PAUSE_BETWEEN_S * 20)
        await asyncio.sleep(PAUSE_BETWEEN_S)
    yield


@fault(*SERVICES, noted=False)
async def pause(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A process stands still (SIGSTOP), and goes on as if nothing had been."""
    life = stage.site.lives[fault.target]
    paused = stage.site.pause(life)
    yield
    if paused:
        stage.site.resume(life)


FAULTS["stall"] = FAULTS["pause"]
