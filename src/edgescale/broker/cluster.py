"""Commands to the node of a cluster that owns their slot; see decision 12 for why this is not redis-py's client."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, repeat
from typing import Any, TypeVar

from redis import exceptions as foreign
from redis.asyncio.connection import AbstractConnection

from edgescale.broker.address import Address, Node
from edgescale.broker.dial import dial_node
from edgescale.broker.pool import Pool
from edgescale.broker.script import Argument
from edgescale.broker.slots import SlotMap, named, slot_of, unblocked
from edgescale.broker.topology import Topology, retire_strangers

T = TypeVar("T")
# One to the owner, one to whom the slot is moving, and as much again where it moves on meanwhile.
HOPS_MAX = 5


class ClusterRoute:
    """To the node that owns the slot of a key.

    Args:
        topology: who that is.
        connect: makes a pool of so many connections to a node.
        size: how many commands may be on their way to one node at once.
        shared: the topology is another route's, which closes it.
    """

    def __init__(
        self, topology: Topology, connect: Callable[[Node, int], Pool], size: int, *, shared: bool = False
    ) -> None:
        self._topology = topology
        self._connect = connect
        self._size = size
        self._shared = shared
        self._pools: dict[Node, Pool] = {}
        self._seen = SlotMap()

    @classmethod
    def to(cls, address: Address, *, timeout_ms: int, size: int) -> "ClusterRoute":
        """A route to the cluster of a URL."""

        def connect(node: Node, size: int) -> Pool:
            return Pool(dial_node(address, node, timeout_ms=timeout_ms), size)

        # What is wrong with the URL's options shows now.
        dial_node(address, address.nodes[0], timeout_ms=timeout_ms)
        topology = Topology(address.nodes, lambda node: connect(node, 1), timeout_ms=timeout_ms)
        return cls(topology, connect, size)

    async def exchange(self, args: Sequence[Argument], at: str | None) -> Any:
        """As of a route; a command that a node sends on was not carried out there, and is sent on.

        A read that waited for entries does not wait for them again: its caller would have given up before.
        """
        sent = chain([args], repeat(unblocked(args)))
        return await self._follow(slot_of(args, at), lambda pool, asking: pool.exchange(*next(sent), asking=asking))

    async def exchange_all(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """As of a route; where the first command is sent on, all are."""

        async def send(pool: Pool, asking: bool) -> list[Any]:  # noqa: FBT001 - as `_follow` calls it
            replies = await pool.exchange_all(*commands, asking=asking)
            if isinstance(replies[0], foreign.AskError | foreign.ClusterDownError):
                raise replies[0]
            return replies

        return await self._follow(slot_of(commands[0], None), send)

    async def subscribe(self, channel: str) -> AbstractConnection:
        """As of a route."""
        return await self._follow(slot_of((), channel), lambda pool, _: pool.subscribe(channel))

    async def _follow(self, slot: int, send: Callable[[Pool, bool], Awaitable[T]]) -> T:
        node, asking = await self._topology.owner(slot), False
        for _ in range(HOPS_MAX):
            known, pool = self._topology.map, await self._pool(node)
            try:
                return await send(pool, asking)
            except foreign.MovedError as moved:
                node, asking = named(moved.host, moved.port, node), False
                await self._topology.learn(known, first=node)
            except foreign.AskError as ask:
                node, asking = named(ask.host, ask.port, node), True
            except (foreign.ConnectionError, foreign.TimeoutError, foreign.ClusterDownError, OSError):
                self._topology.doubt(node)
                raise
            except asyncio.CancelledError:
                # Most probably there was no reply in time.
                self._topology.doubt(node)
                pool.suspect_all()
                raise
        raise foreign.TryAgainError(f"the nodes do not agree on who has slot {slot}")

    async def _pool(self, node: Node) -> Pool:
        if self._seen is not self._topology.map:
            self._seen = self._topology.map
            await retire_strangers(self._pools, self._seen)
        if node not in self._pools:
            self._pools[node] = self._connect(node, self._size)
        return self._pools[node]

    async def everywhere(self, *args: Argument) -> list[Any]:
        """As of a route; who owns slots is asked for anew."""
        await self._topology.learn(self._topology.map)
        return [await (await self._pool(node)).exchange(*args) for node in self._topology.map.primaries]

    async def home(self, key: str) -> str:
        """As of a route."""
        node = await self._topology.owner(slot_of((), key))
        return f"{node.host}:{node.port}"

    def trusts(self, connection: AbstractConnection) -> bool:
        """As of a route; all of them, for a node says itself that it lost a slot."""
        del connection
        return True

    def suspect_all(self) -> None:
        """As of a route; whose connections cannot be trusted was noted when the command was given up."""

    def narrow(self) -> "ClusterRoute":
        """As of a route."""
        return ClusterRoute(self._topology, self._connect, 1, shared=True)

    async def close(self) -> None:
        """As of a route."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
        if not self._shared:
            await self._topology.close()
