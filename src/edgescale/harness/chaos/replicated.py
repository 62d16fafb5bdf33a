"""Two real servers behind one address: a primary, and a replica that takes over when that one dies."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.fault_proxy import FaultProxies, FaultProxy
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Description, Options, Server, facts_of, host_and_port
from edgescale.harness.plan import Plan
from edgescale.local.child import LOOPBACK

_TIMEOUT_MS = 5_000
# Nobody listens there: a replica that is told to follow it keeps what it has, and hears nothing new.
_NOBODY = (LOOPBACK, "1")
_NEED_REPLICA = frozenset({"failover", "replica_away"})


class Replicated:
    """A server and its replica. See `Server`: what is done to it is done to the one that serves.

    Args:
        front: the address of both, which leads to the one that serves, as a name or a balancer does in production.
        primary: serves now.
        replica: follows it.
    """

    def __init__(self, front: FaultProxy, primary: Server, replica: Server) -> None:
        self._front = front
        self._serving, self._following = primary, replica
        # How far the one that was killed had come.
        self._told = 0

    @property
    def url(self) -> str:
        """As of a server."""
        return self._front.url

    @property
    def peer(self) -> str:
        """As of a server; on this machine, wherever the servers are."""
        return f"{self._front.host}:{self._front.port}"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As of a server."""
        return self._serving.capabilities

    async def describe(self) -> Description:
        """As of a server."""
        return await self._serving.describe()

    async def start(self) -> None:
        """As of a server."""
        await self._serving.start()
        await self._following.start()

    async def kill(self) -> None:
        """As of a server; the replica stays, and does not take over before `take_over`."""
        self._told = await _offset(self._serving)
        await self._serving.kill()

    async def restart(self) -> None:
        """As of a server."""
        await self._serving.restart()

    async def restart_empty(self) -> None:
        """As of a server; its replica forgets everything, too, once it hears of it."""
        await self._serving.restart_empty()

    async def pause(self) -> None:
        """As of a server."""
        await self._serving.pause()

    async def resume(self) -> None:
        """As of a server."""
        await self._serving.resume()

    async def follow(self, primary: Server | None) -> None:
        """As of a server."""
        await self._serving.follow(primary)

    async def discard(self) -> None:
        """As of a server."""
        await self._serving.discard()
        await self._following.discard()

    async def take_over(self) -> bool:
        """Let the replica serve, after a `kill`. True where it is known to lack something that was written."""
        self._serving, self._following = self._following, self._serving
        await self._serving.follow(None)
        lacking = await _offset(self._serving) < self._told
        self._front.lead_to(self._serving.url)
        return lacking

    async def rejoin(self) -> None:
        """Start the one that was killed as a replica of the one that serves, and return once it has everything."""
        await self._following.follow(self._serving)
        await self._following.restart()

    @asynccontextmanager
    async def parted(self) -> AsyncIterator[None]:
        """The replica hears nothing for as long as the block lasts, unless it takes over."""
        replica = self._following
        await _follow(replica, _NOBODY)
        yield
        if replica is self._following:
            await _follow(replica, host_and_port(self._serving))


async def _follow(replica: Server, address: tuple[str, str]) -> None:
    """Let a replica follow for a while what it will have forgotten when it is started again."""
    connection = Connection(replica.url, timeout_ms=_TIMEOUT_MS, connections_max=1)
    try:
        await connection.command("REPLICAOF", *address)
    finally:
        await connection.close()


async def _offset(server: Server) -> int:
    """How much was written to it, or arrived there, in bytes of the stream of replication."""
    connection = Connection(server.url, timeout_ms=_TIMEOUT_MS, connections_max=1)
    try:
        return int(facts_of(await connection.command("INFO", "replication"))["master_repl_offset"])
    finally:
        await connection.close()


def needs_replica(plan: Plan) -> bool:
    """Whether the server must have a replica: a fault needs it, or the services do."""
    return plan.settings.get("durability") == "strict" or any(fault.name in _NEED_REPLICA for fault in plan.faults)


@asynccontextmanager
async def server_for(plan: Plan, provider: Provider) -> AsyncIterator[Server]:
    """An empty server for this plan, with a replica if it needs one; discarded when the block ends.

    Raises:
        ConfigError: the provider has none like that.
    """
    async with AsyncExitStack() as ends:
        server = await provider.server()
        ends.push_async_callback(server.discard)
        if needs_replica(plan):
            replica = await provider.server(Options(follows=server))
            ends.push_async_callback(replica.discard)
            front = await ends.enter_async_context(FaultProxies(plan.seed).link("front", server.url))
            yield Replicated(front, server, replica)
        else:
            yield server
