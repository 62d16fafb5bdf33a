"""What the nemesis does to links of real sockets, by the names that simulation has for it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.harness.chaos.fault_proxy import FaultProxy
from edgescale.harness.chaos.faults import SERVICES, fault, number_of, text_of
from edgescale.harness.chaos.link import Link
from edgescale.harness.chaos.options import COMMAND, TIMES, Numbers, Words
from edgescale.harness.chaos.toxics import (
    BlackHole,
    Delay,
    ExecuteThenCut,
    HalfOpen,
    Latency,
    MessageLoss,
    Refused,
    RequestLost,
    ResetInBatch,
    SlowDrip,
    Stall,
)
from edgescale.harness.chaos.wiring import CLIENTS, REDIS
from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage
    from edgescale.harness.chaos.toxic import Direction, Toxic

BOTH: "tuple[Direction, Direction]" = ("upstream", "downstream")
# A piece of what drips.
PIECE_BYTES = 200
# Whoever speaks to Redis itself; and Redis, which is all of them.
NEAR_REDIS = ("worker", "ingestion", REDIS)
ANYBODY = (*SERVICES, REDIS)


@asynccontextmanager
async def _counted(stage: "RealStage", fault: Fault, links: Iterable[Link], *toxics: "Toxic") -> AsyncIterator[None]:
    """On these links; counts what is struck, where proxies tell, as there may be nothing to strike."""
    telling = [link for link in links if isinstance(link, FaultProxy)]

    def count() -> int:
        return sum(link.struck[toxic] for link in telling for toxic in toxics)

    before = count()
    async with _on(links, *toxics):
        yield
    if telling:
        stage.struck[fault.name] += count() - before


@asynccontextmanager
async def _on(links: Iterable[Link], *toxics: "Toxic") -> AsyncIterator[None]:
    async with AsyncExitStack() as healing:
        for link in links:
            for toxic in toxics:
                await healing.enter_async_context(link.toxic(toxic))
        yield


def _links(stage: "RealStage", fault: Fault) -> list[Link]:
    """All links of whoever suffers."""
    return [link for _, link in stage.wiring.of(fault.target)]


def _to_redis(stage: "RealStage", fault: Fault) -> list[Link]:
    """From whoever suffers to Redis; of Redis itself, those of all."""
    if fault.target == REDIS:
        return _links(stage, fault)
    return [stage.wiring.between(fault.target, REDIS)]


@fault(*ANYBODY, options={"high_ms": Numbers(1, 60_000, 100)})
async def latency(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Everything takes longer, and some of it much longer."""
    half_ms = max(1, number_of(fault, "high_ms") // 2)
    async with _counted(
        stage, fault, _links(stage, fault), *(Latency(half_ms, half_ms, direction=way) for way in BOTH)
    ):
        yield


@fault(*ANYBODY)
async def black_hole(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Nothing arrives, and nobody is told."""
    async with _on(_links(stage, fault), *(BlackHole(direction=way) for way in BOTH)):
        yield


@fault(*NEAR_REDIS, options={"way": Words(("there", "back"), "there")})
async def one_way(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """One direction of a link is dead, the other one lives."""
    way: Direction = "upstream" if text_of(fault, "way") == "there" else "downstream"
    async with _on(_to_redis(stage, fault), BlackHole(direction=way)):
        yield


@fault(*ANYBODY)
async def reset(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """All connections are reset, and new ones are refused for a while."""
    async with AsyncExitStack() as healing:
        for link in _links(stage, fault):
            # Toxiproxy cannot reset a connection that is open: there it is closed when the proxy goes down.
            if isinstance(link, FaultProxy):
                link.sever()
            await healing.enter_async_context(link.toxic(Refused()))
        yield


@fault(REDIS)
async def stampede(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Every connection to Redis is cut, none can be made for a while, and then all come at once."""
    async with _on(_to_redis(stage, fault), Refused()):
        yield


@fault(*NEAR_REDIS, options={"command": COMMAND, "times": TIMES}, aimed=True)
async def reply_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A command is carried out, and the connection is cut before its reply."""
    aimed = ExecuteThenCut(text_of(fault, "command"), times=number_of(fault, "times"))
    async with _counted(stage, fault, _to_redis(stage, fault), aimed):
        yield


@fault(*NEAR_REDIS, options={"command": COMMAND, "times": TIMES}, aimed=True)
async def request_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The connection is cut before a command arrives."""
    aimed = RequestLost(text_of(fault, "command"), times=number_of(fault, "times"))
    async with _counted(stage, fault, _to_redis(stage, fault), aimed):
        yield


@fault(
    *NEAR_REDIS,
    options={"command": COMMAND, "nth": Numbers(1, 1_000, 1), "delay_ms": Numbers(1, 60_000, 500)},
    aimed=True,
)
async def delayed(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The nth request of a kind is held up, and what comes behind it on its connection."""
    aimed = Delay(text_of(fault, "command"), nth=number_of(fault, "nth"), delay_ms=number_of(fault, "delay_ms"))
    async with _counted(stage, fault, _to_redis(stage, fault), aimed):
        yield


@fault(*NEAR_REDIS, built_in=True)
async def half_open(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The peer is gone, and nobody is told: connections are silent for good, also once new ones can be made."""
    async with _counted(stage, fault, _to_redis(stage, fault), *(HalfOpen(direction=way) for way in BOTH)):
        yield


@fault(*NEAR_REDIS, options={"after": Numbers(1, 1_000, 1), "times": TIMES}, aimed=True)
async def cut_in_batch(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A connection is reset in the midst of a pipeline: some of its requests arrive, the others do not."""
    async with _counted(
        stage, fault, _to_redis(stage, fault), ResetInBatch(number_of(fault, "after"), times=number_of(fault, "times"))
    ):
        yield


@fault(*NEAR_REDIS, options={"percent": Numbers(1, 100, 100)}, aimed=True)
async def messages_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Notifications of results do not arrive; everything else does."""
    async with _counted(stage, fault, _to_redis(stage, fault), MessageLoss(number_of(fault, "percent") / 100)):
        yield


@fault("ingestion", "gateway")
async def stalled_readers(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Callers read nothing for a while, and what is sent to them piles up."""
    callers = [link for (source, _), link in stage.wiring.of(fault.target) if source == CLIENTS]
    async with _on(callers, Stall(direction="downstream")):
        yield


@fault(*NEAR_REDIS, options={"bytes_per_s": Numbers(100, 100_000_000, 20_000)})
async def slow_drip(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Bytes arrive a few at a time."""
    pause_us = 1_000_000 * PIECE_BYTES // number_of(fault, "bytes_per_s")
    async with _counted(stage, fault, _to_redis(stage, fault), SlowDrip(PIECE_BYTES, pause_us=pause_us)):
        yield
