"""What befalls a real Redis, by the names that simulation has for it; `meddling.py` has what people do to its data."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.faults import fault, number_of, text_of
from edgescale.harness.chaos.meddling import MEDDLE, REDIS, lost
from edgescale.harness.chaos.options import Numbers, Words
from edgescale.harness.chaos.replicated import Replicated
from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage

REPLICA = "replica"
OPERATOR_MS = 2_000
_RESTART = {Capability.KILL, Capability.RESTART}


@fault(REDIS, simulated=("loading_ms",), needs=_RESTART, noted=False)
async def restart(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is killed and started again, with everything that it had written."""
    del fault
    async with _down(stage):
        yield
        await stage.server.restart()


@fault(REDIS, needs={Capability.KILL, Capability.RESTART_EMPTY}, noted=False)
async def empty_restart(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is killed and started again without data, as a cache would be."""
    del fault
    async with _down(stage):
        yield
        await stage.server.restart_empty()
        lost(stage)


@asynccontextmanager
async def _down(stage: "RealStage") -> AsyncIterator[None]:
    stage.site.recorder.note(REDIS, "away")
    await stage.server.kill()
    yield
    stage.site.recorder.note(REDIS, "serving")


@fault(REDIS, needs={*_RESTART, Capability.REPLICA})
async def failover(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server dies, and its replica takes over; later it comes back as a replica of that one."""
    del fault
    server = _replicated(stage)
    async with _down(stage):
        yield
        if await server.take_over():
            lost(stage, "suffix")
    await server.rejoin()


@fault(REPLICA, needs={Capability.REPLICA})
async def replica_away(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The replica hears nothing for a while: when it takes over, all that came since is lost."""
    del fault
    async with _replicated(stage).parted():
        yield


def _replicated(stage: "RealStage") -> Replicated:
    assert isinstance(stage.server, Replicated)  # noqa: S101 - such a plan is given one
    return stage.server


@fault(REDIS, needs={Capability.PAUSE}, noted=False)
async def freeze(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server stands still: its connections stay, and are silent."""
    del fault
    stage.site.recorder.note(REDIS, "away")
    await stage.server.pause()
    yield
    await stage.server.resume()
    stage.site.recorder.note(REDIS, "serving")


@fault(REDIS, options={"kind": Words(("all", "normal", "pubsub"), "all")}, needs=MEDDLE)
async def client_kill(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server drops connections, as it does with slow readers of its channels."""
    await _drop(stage.operator, text_of(fault, "kind"))
    yield


@fault(REDIS, options={"places": Numbers(0, 1_000, 0)}, needs=MEDDLE)
async def crowded(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Every connection is dropped, and the server takes only a few new ones: somebody has taken its places."""
    # Whoever is to give them back keeps his own.
    operator = Connection(stage.server.url, timeout_ms=OPERATOR_MS)
    try:
        async with _configured(operator, "maxclients", number_of(fault, "places") + 1):
            await _drop(operator, "all")
            yield
    finally:
        await operator.close()


@asynccontextmanager
async def _configured(operator: Connection, name: str, value: int) -> AsyncIterator[None]:
    """A setting of the server is another one for as long as the block lasts."""
    _, before = await operator.command("CONFIG", "GET", name)
    try:
        await operator.command("CONFIG", "SET", name, value)
        yield
    finally:
        await operator.command("CONFIG", "SET", name, before)


async def _drop(operator: Connection, kind: str) -> None:
    """Drop all connections of a kind but this one."""
    for each in ("normal", "pubsub") if kind == "all" else (kind,):
        await operator.command("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")


@fault(REDIS, options={"state": Words(("out_of_memory", "paused"), "out_of_memory")}, needs=MEDDLE)
async def refusing(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is there, and refuses to do anything: it has no memory left, or all writes are held back."""
    if text_of(fault, "state") == "out_of_memory":
        async with _configured(stage.operator, "maxmemory", 1):
            yield
        return
    try:
        await stage.operator.command("CLIENT", "PAUSE", max(fault.for_ms, 1), "WRITE")
        yield
    finally:
        await stage.operator.command("CLIENT", "UNPAUSE")
