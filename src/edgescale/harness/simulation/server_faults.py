"""Faults of the Redis server: see `faults` for how one is written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from edgescale.broker.connection import Connection
from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.fence import Fence
from edgescale.broker.keys import GROUP
from edgescale.errors import EdgeScaleError
from edgescale.harness.plan import Fault
from edgescale.harness.simulation import rules
from edgescale.harness.simulation.faults import aimed_at, fault, number_of, text_of
from edgescale.harness.simulation.server import PLACES, URL
from edgescale.harness.simulation.watch import REDIS
from edgescale.harness.strangers import STRANGE, strange

if TYPE_CHECKING:
    from edgescale.harness.simulation.server import Kept
    from edgescale.harness.simulation.world import World

LANES = ("heartbeat", "text", "file")
STORE, REPLICA = "store", "replica"
LETTERS_MAX = 1_000


@asynccontextmanager
async def _down(world: "World", keep: "Kept", *, loading_ms: int = 0) -> AsyncIterator[None]:
    """The server is killed, and started again with what it kept; not by us where somebody else had killed it before."""
    stopped = world.server.stop()
    yield
    if stopped:
        await world.server.start(keep=keep, loading_ms=loading_ms)


@fault(12, REDIS, lasts=(0, 3_000), options={"loading_ms": [0, 0, 300, 1_500]}, noted=False)
async def restart(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server is killed and started again, with everything that it had written."""
    async with _down(world, "aof", loading_ms=number_of(fault, "loading_ms")):
        yield


@fault(13, REDIS, lasts=(0, 3_000), noted=False)
async def power_loss(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server's machine loses power, and what was not on disk is gone."""
    del fault
    async with _down(world, "synced"):
        yield


@fault(24, REDIS, lasts=(0, 2_000), noted=False)
async def failover(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server dies, and a replica that was behind takes over."""
    del fault
    async with _down(world, "replicated"):
        yield


@fault(27, REPLICA, lasts=(200, 4_000))
async def replica_away(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The replica hears nothing for a while: a server that fails over to it loses all that came since."""
    del fault
    world.server.model.cut_off_replica()
    yield
    world.server.model.join_replica()


@fault(14, REDIS, lasts=(200, 3_000), options={"state": ["read_only", "master_down", "out_of_memory", "busy"]})
async def refusing(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server is there, and refuses to do anything."""
    states = world.server.model.faults
    match text_of(fault, "state"):
        case "out_of_memory":
            states.change(out_of_memory=True)
        case "busy":
            states.change(busy=True)
        case state:
            world.server.model.demote(master_down=state == "master_down")
    yield
    states.change(out_of_memory=False, busy=False)
    world.server.model.promote()


@fault(15, REDIS)
async def flush(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Somebody deletes everything."""
    del fault
    world.server.model.flush_all()
    yield


@fault(15, REDIS, options={"lane": LANES})
async def group_lost(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Somebody destroys the consumer group of a lane."""
    with world.server.watch.meddling():
        for partition in range(world.keys.partitions):
            stream = world.keys.stream(partition, text_of(fault, "lane")).encode()
            world.server.feed(b"XGROUP", b"DESTROY", stream, GROUP.encode())
    yield


@fault(20, "worker", noted=False)
async def consumer_lost(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Somebody deletes a living worker's consumer, and the group forgets what it held."""
    consumer = world.workers[fault.target].worker.consumer.encode()
    places = [(partition, lane) for lane in LANES for partition in range(world.keys.partitions)]
    with world.server.watch.meddling():
        for place in places:
            world.server.feed(b"XGROUP", b"DELCONSUMER", world.keys.stream(*place).encode(), GROUP.encode(), consumer)
    yield


@fault(20, REDIS, options={"lane": ["heartbeat", "text", "text", "text", "file"], "kept": [0, 0, 1, 4]}, noted=False)
async def trim(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Somebody takes the oldest entries out of a lane: a running one is finished, the others nobody will ever see."""
    lane, kept = text_of(fault, "lane"), str(number_of(fault, "kept")).encode()
    with world.server.watch.taking_away():
        for partition in range(world.keys.partitions):
            world.server.feed(b"XTRIM", world.keys.stream(partition, lane).encode(), b"MAXLEN", kept)
    yield


@fault(16, REDIS, options={"kind": ["normal", "pubsub", "all"]})
async def client_kill(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server drops its connections, as it does with slow readers of its channels."""
    kind = text_of(fault, "kind")
    world.server.model.kill_sessions(lambda session: kind == "all" or session.listens == (kind == "pubsub"))
    yield


@fault(19, REDIS, lasts=(500, 3_000))
async def stampede(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Every connection is cut, none can be made for a while, and then all come at once."""
    del fault
    world.network.reset_all(REDIS)
    with world.network.rule(rules.refuse((REDIS, "*"))):
        yield


@fault(19, REDIS, lasts=(500, 3_000), options={"places": [0, 1, 3]})
async def crowded(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Every connection is dropped, and the server takes only a few new ones: somebody has taken its places."""
    world.server.places = number_of(fault, "places")
    world.server.model.kill_sessions()
    yield
    world.server.places = PLACES


@fault(17, REDIS, lasts=(1_000, 4_000), options={"jump_ms": [-3_000, -500, 500, 3_000]})
async def clock_of_redis(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The server's clock jumps, and later back: ids, idle times and expiry hang on it."""
    world.server.model.step_clock(number_of(fault, "jump_ms") * 1000)
    yield
    world.server.model.step_clock(-number_of(fault, "jump_ms") * 1000)


@fault(18, REDIS, options={"kind": STRANGE, "lane": LANES})
async def poison(world: "World", fault: Fault) -> AsyncIterator[None]:
    """Somebody adds entries that no worker can do anything with."""
    request_id = f"poison-{fault.at_ms}-{text_of(fault, 'kind')}"
    stream = world.keys.stream(world.keys.partition_of(request_id), text_of(fault, "lane"))
    world.server.watch.why = "injected"
    world.server.feed(b"XADD", stream.encode(), b"*", *strange(text_of(fault, "kind"), request_id))
    world.server.watch.why = ""
    yield


@fault(26, REDIS, lasts=(200, 4_000), options={"replies_lost": [0, 0, 1, 3]}, noted=False)
async def replay_dead(world: "World", fault: Fault) -> AsyncIterator[None]:
    """An operator puts all dead letters back into their lanes, and does so again later; some replies are lost."""
    name = f"operator-{fault.at_ms}"
    lossy = rules.cut_after_command((name, REDIS), aimed_at("replay"), number_of(fault, "replies_lost"))
    with world.network.rule(lossy):
        await _replay_all(world, name)
        yield
        await _replay_all(world, name)


async def _replay_all(world: "World", name: str) -> None:
    """Replay what is there, from a process of its own; where Redis is away, that is that."""
    node, chance = world.new_node(name)
    fence = Fence.of(world.settings)
    connection = Connection(URL, timeout_ms=world.settings.redis_timeout_ms, fence=fence)
    letters = DeadLetters(connection, world.keys, world.settings, chance)

    async def operate() -> None:
        with suppress(EdgeScaleError):
            await letters.replay_all(most=LETTERS_MAX)
        await connection.close()

    await asyncio.wait([node.spawn(operate())])
    node.crash()
    world.network.reset_all(name)


@fault(25, STORE, lasts=(300, 3_000))
async def store_away(world: "World", fault: Fault) -> AsyncIterator[None]:
    """The blob store does not answer."""
    del fault
    world.store.away = True
    yield
    world.store.away = False
