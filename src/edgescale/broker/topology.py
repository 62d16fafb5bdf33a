"""What a process knows of a cluster: who owns which slot, and whose word on that is not to be taken now."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from redis import exceptions as foreign

from edgescale.broker.address import EXAMPLES, Node
from edgescale.broker.dial import ASKED_WITHIN_A_COMMAND
from edgescale.broker.pool import Pool
from edgescale.broker.slots import SlotMap
from edgescale.errors import ConfigError


class Topology:
    """The map of a cluster, asked for when it is needed and when it was wrong; shared by all routes of a process.

    Args:
        seeds: nodes that are asked as long as no others are known, and when none of those answers.
        connect: makes the connections to a node.
        timeout_ms: of one command.

    Attributes:
        map: as it was told last.
    """

    def __init__(self, seeds: Sequence[Node], connect: Callable[[Node], Pool], *, timeout_ms: int) -> None:
        self.map = SlotMap()
        self._seeds = seeds
        self._connect = connect
        self._asking_s = timeout_ms / 1000 / ASKED_WITHIN_A_COMMAND
        self._pools: dict[Node, Pool] = {}
        self._doubted: set[Node] = set()
        self._turn = 0
        self._lock = asyncio.Lock()

    async def owner(self, slot: int) -> Node:
        """Who owns the slot; asked for anew where nobody does, or where the owner failed.

        Raises:
            RedisError: no node tells.
        """
        known = self.map
        node = known.owner(slot)
        if node is None or node in self._doubted:
            await self.learn(known)
            node = self.map.owner(slot)
        if node is None:
            raise foreign.SlotNotCoveredError(f"nobody owns slot {slot}")
        return node

    def doubt(self, node: Node) -> None:
        """A node failed: before it is sent anything again, others are asked whether it owns anything still."""
        self._doubted.add(node)

    async def learn(self, known: SlotMap, *, first: Node | None = None) -> None:
        """Ask for the map anew, unless somebody did so since `known` was it.

        Args:
            known: the map that was wrong.
            first: who knows better.

        Raises:
            RedisError: no node tells.
            ConfigError: the server is not one of a cluster.
        """
        async with self._lock:
            if self.map is known:
                self.map = await self._ask_around(first)
                self._doubted.clear()
                await retire_strangers(self._pools, self.map)

    async def _ask_around(self, first: Node | None) -> SlotMap:
        trouble: Exception = foreign.ConnectionError("no node of the cluster is known")
        nodes = [*self._by_trust(first)]
        # A node has its share of a command's time, so that others are asked within it; an only one has all of it.
        share_s = self._asking_s if len(nodes) > 1 else None
        for node in nodes:
            try:
                async with asyncio.timeout(share_s):
                    told = SlotMap.parse(await self._pool(node).exchange("CLUSTER", "SLOTS"), node)
            except (foreign.RedisError, OSError) as error:
                if "cluster support disabled" in str(error):
                    raise ConfigError(
                        f"redis_url: {node.host}:{node.port} is not a node of a cluster; the URL of one server is "
                        f"{EXAMPLES['single']}"
                    ) from error
                trouble = error
            else:
                if told.ranges:
                    return told
                trouble = foreign.SlotNotCoveredError(f"{node.host}:{node.port} knows of no slots")
            self._doubted.add(node)
        raise trouble

    def _by_trust(self, first: Node | None) -> Iterator[Node]:
        """All known nodes, once each: those that failed come last, and each time another one is first."""
        known = dict.fromkeys([*self.map.nodes, *self._seeds])
        self._turn += 1
        turn = self._turn % len(known)
        order = [*known][turn:] + [*known][:turn]
        trusted = [node for node in order if node not in self._doubted]
        yield from dict.fromkeys([*([first] if first else []), *trusted, *order])

    def _pool(self, node: Node) -> Pool:
        if node not in self._pools:
            self._pools[node] = self._connect(node)
        return self._pools[node]

    async def close(self) -> None:
        """Close the connections over which nodes are asked."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


async def retire_strangers(pools: dict[Node, Pool], known: SlotMap) -> None:
    """Let go of nodes that the map does not name: they have left, and others come in their place."""
    for pool in [pools.pop(node) for node in pools.keys() - known.nodes]:
        await pool.retire()
