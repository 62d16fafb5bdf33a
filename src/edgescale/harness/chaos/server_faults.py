"""What the nemesis does to a real Redis, by the names that simulation has for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edgescale.broker.keys import GROUP
from edgescale.envelope import ENVELOPE_FIELD, REQUEST_ID_FIELD, Envelope
from edgescale.harness.chaos.faults import fault
from edgescale.harness.chaos.replicated import Replicated
from edgescale.harness.plan import Fault

if TYPE_CHECKING:
    from edgescale.harness.chaos.stage import RealStage

REDIS = "redis"


@fault(noted=False)
async def restart(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is killed and started again, with everything that it had written."""
    del fault
    async with _down(stage):
        yield
        await stage.server.restart()


@fault(noted=False)
async def empty_restart(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is killed and started again without data, as a cache would be."""
    del fault
    async with _down(stage):
        yield
        await stage.server.restart_empty()
        _lost(stage)


@asynccontextmanager
async def _down(stage: "RealStage") -> AsyncIterator[None]:
    stage.site.recorder.note(REDIS, "away")
    await stage.server.kill()
    yield
    stage.site.recorder.note(REDIS, "serving")


def _lost(stage: "RealStage", what: str = "all") -> None:
    stage.site.recorder.note(REDIS, "lost", what=what)


@fault()
async def failover(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server dies, and its replica takes over; later it comes back as a replica of that one."""
    del fault
    server = _replicated(stage)
    async with _down(stage):
        yield
        if await server.take_over():
            _lost(stage, "suffix")
    await server.rejoin()


@fault()
async def replica_away(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The replica hears nothing for a while: when it takes over, all that came since is lost."""
    del fault
    async with _replicated(stage).parted():
        yield


def _replicated(stage: "RealStage") -> Replicated:
    assert isinstance(stage.server, Replicated)  # noqa: S101 - such a plan is given one
    return stage.server


@fault(noted=False)
async def freeze(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server stands still: its connections stay, and are silent."""
    del fault
    stage.site.recorder.note(REDIS, "away")
    await stage.server.pause()
    yield
    await stage.server.resume()
    stage.site.recorder.note(REDIS, "serving")


@fault()
async def flush(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody deletes everything."""
    del fault
    await stage.operator.command("FLUSHALL")
    _lost(stage)
    yield


@fault()
async def group_lost(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody destroys the consumer group of a lane."""
    for partition in range(stage.keys.partitions):
        stream = stage.keys.stream(partition, str(fault.options.get("lane", "text")))
        await stage.operator.command("XGROUP", "DESTROY", stream, GROUP)
    _lost(stage, "groups")
    yield


@fault()
async def client_kill(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server drops connections, as it does with slow readers of its channels."""
    kind = str(fault.options.get("kind", "all"))
    for each in ("normal", "pubsub") if kind == "all" else (kind,):
        await stage.operator.command("CLIENT", "KILL", "TYPE", each, "SKIPME", "yes")
    yield


@fault()
async def refusing(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """The server is there, and refuses to do anything: it has no memory left, or all writes are held back."""
    if fault.options.get("state") == "paused":
        await stage.operator.command("CLIENT", "PAUSE", max(fault.for_ms, 1), "WRITE")
        yield
        await stage.operator.command("CLIENT", "UNPAUSE")
    else:
        await stage.operator.command("CONFIG", "SET", "maxmemory", 1)
        yield
        await stage.operator.command("CONFIG", "SET", "maxmemory", 0)


@fault()
async def poison(stage: "RealStage", fault: Fault) -> AsyncIterator[None]:
    """Somebody adds entries that no worker can do anything with."""
    kind, lane = str(fault.options.get("kind", "garbage")), str(fault.options.get("lane", "text"))
    request_id = f"poison-{fault.at_ms}-{kind}"
    named = (REQUEST_ID_FIELD, request_id.encode())
    unknown = Envelope(request_id, "no-such-kind", b"").encode()
    fields = {
        "garbage": (*named, ENVELOPE_FIELD, b"\xff\x00 no envelope"),
        "nameless": (ENVELOPE_FIELD, unknown),
        "empty": (b"nothing", b""),
        "unknown_kind": (*named, ENVELOPE_FIELD, unknown),
    }[kind]
    stream = stage.keys.stream(stage.keys.partition_of(request_id), lane)
    entry = (await stage.operator.command("XADD", stream, "*", *fields)).decode()
    shown = "" if kind in {"nameless", "empty"} else request_id
    stage.site.recorder.note(REDIS, "add", request_id=shown or f"entry-{entry}", lane=lane, entry=entry, why="injected")
    yield
