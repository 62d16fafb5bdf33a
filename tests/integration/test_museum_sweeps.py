"""The peer-bug museum: sweeps that a dead sweeper blocked for ever, or whose cost grew with the pending list."""

import re
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from edgescale.broker.keys import Name
from edgescale.broker.model import Entry
from tests.servers import Server
from tests.support import LANE, Rig, open_rig

COUNT = 8
# Source: XAUTOCLAIM looks at ten times as many entries as it was asked for, at most.
LOOKED_AT_MAX = 10 * COUNT


@pytest.mark.one_partition
async def test_a_sweeper_that_dies_in_the_midst_of_its_sweep_keeps_nobody_from_sweeping(server: Server) -> None:
    async with open_rig(server.url) as rig:
        entries = await rig.submit_and_take(*[f"r{number}" for number in range(25)])
        for entry in entries:
            await rig.silence(entry)
        async with open_rig(server.url) as doomed:
            cursor, claimed = await doomed.broker.reclaim(0, LANE, "doomed", cursor="0-0", count=10)
        assert (cursor != "0-0", claimed) == (True, again(entries[:10], deliveries=2))

        assert await swept(rig, "worker-2") == again(entries[10:], deliveries=2)
        # And what it had claimed, once it has been silent for as long.
        for entry in claimed:
            await rig.silence(entry, owner="doomed")
        assert await swept(rig, "worker-2") == again(entries[:10], deliveries=3)
        keys = [Name.parse(key.decode()) for key in await rig.connection.command("KEYS", "*")]
        assert {name and name.family for name in keys} == {"stream", "task"}, "and no lock"


def again(entries: list[Entry], *, deliveries: int) -> list[Entry]:
    return [Entry(entry.partition, entry.lane, entry.entry_id, deliveries, entry.fields) for entry in entries]


async def bites(rig: Rig, consumer: str) -> AsyncIterator[tuple[str, list[Entry]]]:
    """A sweep, call by call: the cursor that comes next, and what was claimed."""
    seen = {cursor := "0-0"}
    while True:
        cursor, claimed = await rig.broker.reclaim(0, LANE, consumer, cursor=cursor, count=COUNT)
        yield cursor, claimed
        if cursor == "0-0":
            return
        assert cursor not in seen, "the sweep goes in circles, and never comes to the tail"
        seen.add(cursor)


async def swept(rig: Rig, consumer: str) -> list[Entry]:
    return [entry async for _, claimed in bites(rig, consumer) for entry in claimed]


async def commands(rig: Rig) -> int:
    """How many commands on streams the server carried out since the last reset."""
    statistics = (await rig.connection.command("INFO", "commandstats")).decode()
    return sum(int(calls) for calls in re.findall(r"cmdstat_(?:x|z)[^:]*:calls=(\d+)", statistics))


async def dearest_call(rig: Rig, consumer: str) -> int:
    """Sweep once; the most commands that one call took."""
    dearest = 0
    sweep = bites(rig, consumer)
    while True:
        await rig.connection.command("CONFIG", "RESETSTAT")
        if await anext(sweep, None) is None:
            return dearest
        dearest = max(dearest, await commands(rig))


@pytest.mark.one_partition
@pytest.mark.slots_stay("it counts commands, and a slot is carried over by commands")
async def test_what_one_call_of_a_sweep_costs_does_not_grow_with_the_pending_list(server: Server) -> None:
    async with open_rig(server.url) as rig:
        few = await rig.submit_and_take(*[f"few{number}" for number in range(2 * LOOKED_AT_MAX)])
        cost = await dearest_call(rig, "sweeper")
        many = few + await rig.submit_and_take(*[f"many{number}" for number in range(3_000)])
        assert await dearest_call(rig, "sweeper") == cost

        # The last one is due: every call looks at a bounded stretch of those before it, and the sweep comes to it.
        await rig.silence(many[-1])
        cursors, claimed = ["0-0"], []
        async for cursor, bite in bites(rig, "sweeper"):
            cursors.append(cursor)
            claimed += bite
        assert claimed == again(many[-1:], deliveries=2)
        places = {entry.entry_id: place for place, entry in enumerate(many)}
        stretches = [places[to] - places.get(since, 0) for since, to in pairwise(cursors[:-1])]
        assert max(stretches) <= LOOKED_AT_MAX
        assert len(stretches) >= len(many) // LOOKED_AT_MAX
