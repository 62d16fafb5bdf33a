"""What the nemesis does to links of real sockets, by the names that simulation has for it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.harness.chaos.fault_proxy import FaultProxy
from edgescale.harness.chaos.faults import fault
from edgescale.harness.chaos.link import Link
from edgescale.harness.chaos.toxics import (
    BlackHole,
    ExecuteThenCut,
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


@asynccontextmanager
async def _aimed(stage: "RealStage", fault: Fault, toxic: "Toxic") -> AsyncIterator[None]:
    """On the way to Redis; counts what it strikes, as it may find nothing to strike."""
    links = [link for link in _to_redis(stage, fault) if isinstance(link, FaultProxy)]
    before = sum(link.struck[toxic] for link in links)
    async with _on(links, toxic):
        yield
    stage.struck[fault.name] += sum(link.struck[toxic] for link in links) - before


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


def _number(fault: Fault, option: str, default: int = 1) -> int:
    return int(fault.options.get(option, default))


@fault()
async def latency(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Everything takes longer, and some of it much longer."""
    half_ms = max(1, _number(fault, "high_ms") // 2)
    async with _on(_links(stage, fault), *(Latency(half_ms, half_ms, direction=way) for way in BOTH)):
        yield


@fault()
async def black_hole(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Nothing arrives, and nobody is told."""
    async with _on(_links(stage, fault), *(BlackHole(direction=way) for way in BOTH)):
        yield


@fault()
async def one_way(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """One direction of a link is dead, the other one lives."""
    way: Direction = "upstream" if fault.options.get("way", "there") == "there" else "downstream"
    async with _on(_to_redis(stage, fault), BlackHole(direction=way)):
        yield


@fault()
async def reset(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """All connections are cut, and new ones are refused for a while."""
    async with _on(_links(stage, fault), Refused()):
        yield


@fault()
async def stampede(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Every connection to Redis is cut, none can be made for a while, and then all come at once."""
    async with _on(_to_redis(stage, fault), Refused()):
        yield


@fault(aimed=True)
async def reply_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A command is carried out, and the connection is cut before its reply."""
    aimed = ExecuteThenCut(str(fault.options.get("command", "any")), times=_number(fault, "times"))
    async with _aimed(stage, fault, aimed):
        yield


@fault(aimed=True)
async def request_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The connection is cut before a command arrives."""
    aimed = RequestLost(str(fault.options.get("command", "any")), times=_number(fault, "times"))
    async with _aimed(stage, fault, aimed):
        yield


@fault(aimed=True)
async def cut_in_batch(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """A connection is reset in the midst of a pipeline: some of its requests arrive, the others do not."""
    async with _aimed(stage, fault, ResetInBatch(_number(fault, "after"), times=_number(fault, "times"))):
        yield


@fault(aimed=True)
async def messages_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Notifications of results do not arrive; everything else does."""
    async with _aimed(stage, fault, MessageLoss(_number(fault, "percent", 100) / 100)):
        yield


@fault()
async def stalled_readers(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Callers read nothing for a while, and what is sent to them piles up."""
    callers = [link for (source, _), link in stage.wiring.of(fault.target) if source == CLIENTS]
    async with _on(callers, Stall(direction="downstream")):
        yield


@fault()
async def slow_drip(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Bytes arrive a few at a time."""
    pause_us = 1_000_000 * PIECE_BYTES // _number(fault, "bytes_per_s", 20_000)
    async with _on(_to_redis(stage, fault), SlowDrip(PIECE_BYTES, pause_us=pause_us)):
        yield
