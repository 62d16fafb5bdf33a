"""What people do to the data in a real Redis: by mistake, or because they take it for theirs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from edgescale.broker.connection import flat_dict
from edgescale.broker.keys import GROUP
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.errors import EdgeScaleError
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.faults import consumers_of, fault, number_of, text_of
from edgescale.harness.chaos.options import LANE, Numbers, Words
from edgescale.harness.plan import Fault
from edgescale.harness.strangers import STRANGE, strange

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage

REDIS = "redis"
MEDDLE = frozenset({Capability.MEDDLE})
KIND = Words(STRANGE, "garbage")
# For how long an operator tries to get in, and how often: others hold the server's places for some seconds.
PATIENCE_S, POLL_S = 5.0, 0.1
# In one step, so that nobody adds or removes anything in between: what was there, less what is left, was taken away.
_TRIM = """
local gone = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
local rows = {}
for at = 1, #gone - redis.call('XLEN', KEYS[1]) do
  rows[at] = gone[at]
end
return rows
"""


def lost(stage: "RealStage", what: str = "all") -> None:
    """Write down that the server has lost something: `all`, a `suffix`, `groups` or `entries`."""
    stage.site.recorder.note(REDIS, "lost", what=what)


@fault(REDIS, needs=MEDDLE)
async def flush(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody deletes everything."""
    del fault
    await stage.operator.command("FLUSHALL")
    lost(stage)
    yield


@fault(REDIS, options={"lane": LANE}, needs=MEDDLE)
async def group_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody destroys the consumer group of a lane."""
    for partition in range(stage.keys.partitions):
        stream = stage.keys.stream(partition, text_of(fault, "lane"))
        await stage.operator.command("XGROUP", "DESTROY", stream, GROUP)
    lost(stage, "groups")
    yield


@fault("worker", needs=MEDDLE)
async def consumer_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody deletes a living worker's consumer, and the group forgets what it held."""
    asked = 0

    async def delete() -> None:
        nonlocal asked
        for stream, consumer in await consumers_of(stage, stage.site.lives[fault.target]):
            # It counts from here: whether it was done is unknown where there is no reply.
            asked += 1
            await stage.operator.command("XGROUP", "DELCONSUMER", stream, GROUP, consumer)

    await _gets_in(delete, fault)
    if asked:
        lost(stage, "groups")
    yield


async def _gets_in(act: Callable[[], Awaitable[None]], fault: Fault) -> None:
    """Have an operator do what may be done twice, as soon as the server lets him; he gives up after a while.

    What befalls the server at the same time, such as that its places are taken, keeps him out.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(max(fault.for_ms / 1000, PATIENCE_S)):
            while True:
                with suppress(EdgeScaleError):
                    return await act()
                await asyncio.sleep(POLL_S)


@fault(REDIS, options={"lane": LANE, "kept": Numbers(0, 100_000, 0)}, needs=MEDDLE)
async def trim(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody takes the oldest entries out of a lane: a running one is finished, the others nobody will ever see."""
    lane, kept = text_of(fault, "lane"), number_of(fault, "kept")
    for partition in range(stage.keys.partitions):
        rows = await stage.operator.command("EVAL", _TRIM, 1, stage.keys.stream(partition, lane), kept)
        for entry, flat in rows:
            request_id = flat_dict(flat).get(REQUEST_ID_FIELD, b"").decode(errors="replace")
            told = {"lane": lane, "entry": entry.decode(), "partition": partition, "why": "lost"}
            stage.site.recorder.note(REDIS, "delete", request_id=request_id, **told)
    lost(stage, "entries")
    yield


@fault(REDIS, options={"kind": KIND, "lane": LANE}, needs=MEDDLE)
async def poison(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody adds entries that no worker can do anything with."""
    kind, lane = text_of(fault, "kind"), text_of(fault, "lane")
    request_id = f"poison-{fault.at_ms}-{kind}"
    stream = stage.keys.stream(stage.keys.partition_of(request_id), lane)
    entry = (await stage.operator.command("XADD", stream, "*", *strange(kind, request_id))).decode()
    shown = "" if kind in {"nameless", "empty"} else request_id
    stage.site.recorder.note(REDIS, "add", request_id=shown or f"entry-{entry}", lane=lane, entry=entry, why="injected")
    yield
