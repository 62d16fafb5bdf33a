"""What the nemesis does to real parts: the same faults, by the same names, as in simulation, as far as they can be had."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.site import Site

Make = Callable[["Site", Fault], AsyncIterator[None]]
FAULTS: dict[str, Make] = {}
# What writes down that it happens, by an event of its own.
SILENT: set[str] = set()
PAUSE_BETWEEN_S = 0.3


def fault(*, noted: bool = True) -> Callable[[Make], Make]:
    """Add a fault to those that can be done to real parts."""

    def add(make: Make) -> Make:
        FAULTS[make.__name__] = make
        if not noted:
            SILENT.add(make.__name__)
        return make

    return add


# --- processes --------------------------------------------------------------------------------------------------------


@fault(noted=False)
async def crash(site: "Site", fault: Fault) -> AsyncIterator[None]:
    """A worker is killed; it is started again later."""
    life = site.lives[fault.target]
    await site.kill(life)
    yield
    await site.start_again(life)


@fault(noted=False)
async def door_crash(site: "Site", fault: Fault) -> AsyncIterator[None]:
    """What callers wait at is killed."""
    life = site.lives[fault.target]
    await site.kill(life)
    yield
    await site.start_again(life)
