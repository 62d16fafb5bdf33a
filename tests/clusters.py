"""Real clusters of local processes: three primaries, each with a replica, and what can be done to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import Keys
from edgescale.broker.slots import slot_of
from edgescale.errors import BrokerUnavailable
from edgescale.local.child import LOOPBACK, free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import program
from tests.support import CLUSTER_PARTITIONS, eventually

# After which silence a node counts as failed; its replica is elected within about two seconds more.
NODE_TIMEOUT_MS = 1_000
READY_WITHIN_S = 20.0
# Cut so that each primary has one of the three partitions.
RANGES = ((0, 9_000), (9_001, 13_000), (13_001, 16_383))
# Source: CLUSTER GETSLOTMIGRATIONS; all other states pass.
MIGRATION_ENDS = {b"success", b"failed", b"canceled"}


class ClusterNode(EmbeddedValkey):
    """A server that takes part in a cluster."""

    def __init__(self, data_dir: Path, binary: Path) -> None:
        super().__init__(data_dir, port=free_port(), binary=binary)
        self.bus_port = free_port()
        self.id = ""
        self.connection = Connection(self.url, timeout_ms=2_000)

    def _options(self) -> list[str]:
        options = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": str(self.bus_port),
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }
        return [*super()._options(), *(part for name, value in options.items() for part in (f"--{name}", value))]

    async def command(self, *args: str | int) -> Any:
        """Send a command to this very node."""
        return await self.connection.command(*args)

    async def told(self) -> str:
        """What it knows of the cluster's state, and of its replication."""
        return str((await self.command("CLUSTER", "INFO") + await self.command("INFO", "replication")).decode())


class Cluster:
    """Three primaries and their replicas, in this order.

    Attributes:
        url: of the cluster.
        nodes: all six.
        migrates_at_once: whether its servers can move a slot in one step. Source: CLUSTER MIGRATESLOTS of Valkey 9.
    """

    def __init__(self, data_dir: Path, kind: str) -> None:
        binary = program(kind)
        self.migrates_at_once = kind == "valkey"
        self.nodes = [ClusterNode(data_dir / f"node-{number}", binary) for number in range(2 * len(RANGES))]
        self.url = "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    async def start(self) -> None:
        """Start all nodes and make a cluster of them."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        for epoch, node in enumerate(self.nodes):
            node.id = (await node.command("CLUSTER", "MYID")).decode()
            await node.command("CLUSTER", "SET-CONFIG-EPOCH", epoch + 1)
        primaries, replicas = self.nodes[: len(RANGES)], self.nodes[len(RANGES) :]
        for node, (first, last) in zip(primaries, RANGES, strict=True):
            await node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            await node.command("CLUSTER", "MEET", LOOPBACK, self.nodes[0].port, self.nodes[0].bus_port)
        await eventually(self._all_met, READY_WITHIN_S)
        for node, primary in zip(replicas, primaries, strict=True):
            await node.command("CLUSTER", "REPLICATE", primary.id)
        await eventually(self.whole, READY_WITHIN_S)
        assert len({await self.owner(partition) for partition in range(CLUSTER_PARTITIONS)}) == len(RANGES)

    async def _all_met(self) -> bool:
        tables = [(await node.command("CLUSTER", "NODES")).decode() for node in self.nodes]
        return all(node.id in table and "handshake" not in table for node in self.nodes for table in tables)

    async def whole(self) -> bool:
        """Whether all nodes run, agree that all is well, and each primary has its replica."""
        told = [await node.told() for node in self.nodes]
        replicas = [text for text in told if "role:slave" in text]
        return (
            all("cluster_state:ok" in text and "cluster_known_nodes:6" in text for text in told)
            and len(replicas) == len(RANGES)
            and all("master_link_status:up" in text for text in replicas)
        )

    async def stop(self) -> None:
        """End all nodes; their data is of no use any more."""
        await asyncio.gather(*(node.connection.close() for node in self.nodes))
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def owner(self, partition: int) -> ClusterNode:
        """The primary that has the partition, once all nodes that run agree on it."""
        agreed: set[ClusterNode] = set()

        async def all_agree() -> bool:
            nonlocal agreed
            agreed = {await self._told_owner(node, partition) for node in self.nodes if node.pid is not None}
            return len(agreed) == 1

        await eventually(all_agree, READY_WITHIN_S)
        return agreed.pop()

    async def _told_owner(self, asked: ClusterNode, partition: int) -> ClusterNode:
        slot = slot_of((), Keys(CLUSTER_PARTITIONS).dead(partition))
        rows = await asked.command("CLUSTER", "SLOTS")
        [port] = [primary[1] for first, last, primary, *_ in rows if first <= slot <= last]
        return next(node for node in self.nodes if node.port == port)

    async def kill_owner(self, partition: int) -> ClusterNode:
        """Kill the partition's primary; which node that was, once its replica has taken over."""
        doomed = await self.owner(partition)
        await doomed.kill()

        async def has_another_owner() -> bool:
            return await self.owner(partition) is not doomed

        await eventually(has_another_owner, READY_WITHIN_S)
        return doomed

    async def next_to(self, partition: int) -> ClusterNode:
        """Another primary than the partition's, each in its turn."""
        slots = await eventually(lambda: self.nodes[0].command("CLUSTER", "SLOTS"))
        ports = sorted({primary[1] for _, _, primary, *_ in slots})
        own = ports.index((await self.owner(partition)).port)
        return next(node for node in self.nodes if node.port == ports[(own + 1) % len(ports)])

    async def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """A replica of the primary."""
        rows = (await primary.command("CLUSTER", "NODES")).decode().splitlines()
        [replica, *_] = [row.split()[0] for row in rows if row.split()[3] == primary.id]
        return next(node for node in self.nodes if node.id == replica)


class Migration:
    """The slot of a partition on its way from one primary to another, key by key."""

    def __init__(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        self.slot = slot
        self.source = source
        self.target = target

    @classmethod
    async def of(cls, cluster: Cluster, partition: int) -> "Migration":
        """To the next primary; not begun yet."""
        slot = slot_of((), Keys(CLUSTER_PARTITIONS).dead(partition))
        return cls(slot, await cluster.owner(partition), await cluster.next_to(partition))

    async def begin(self) -> None:
        """From here on, keys that are not there are asked for at the target."""
        await self.target.command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        await self.source.command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)

    async def move_keys(self, most: int = 1_000_000) -> int:
        """Move some of the keys; how many."""
        moved = 0
        while moved < most:
            names = await self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, min(100, most - moved))
            if not names:
                break
            await self.source.command("MIGRATE", LOOPBACK, self.target.port, "", 0, 5_000, "KEYS", *names)
            moved += len(names)
        return moved

    async def end(self) -> None:
        """Move what is left, and tell both who owns the slot now; the others hear of it."""
        await self.move_keys()
        for node in (self.target, self.source):
            await node.command("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)


async def migrate_at_once(cluster: Cluster, partition: int, target: ClusterNode) -> bool:
    """Move a partition's slot in one step, as Valkey 9 can; False when it was called off, as by a flush.

    Tests may close all connections meanwhile. Source: CLUSTER MIGRATESLOTS, CLUSTER GETSLOTMIGRATIONS.
    """
    slot = slot_of((), Keys(CLUSTER_PARTITIONS).dead(partition))
    source = await cluster.owner(partition)
    with suppress(BrokerUnavailable):
        await source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)

    async def none_is_under_way() -> bool:
        rows = await source.command("CLUSTER", "GETSLOTMIGRATIONS")
        return all(flat_dict(row)[b"state"] in MIGRATION_ENDS for row in rows)

    await eventually(none_is_under_way, READY_WITHIN_S)
    return await cluster.owner(partition) is target


@asynccontextmanager
async def clustered(data_dir: Path, kind: str) -> AsyncIterator[Cluster]:
    """A cluster that runs."""
    cluster = Cluster(data_dir, kind)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
