"""Every name that EdgeScale uses in Redis.

    edgescale:{pN}:stream:<lane>        stream   entries queued and running; settled ones are deleted
    edgescale:{pN}:schedule:<lane>      zset     entries that wait for longer than a lease, by when they are due
    edgescale:{pN}:waiting:<lane>       stream   what becomes an entry of the lane in its turn
    edgescale:{pN}:chain:<lane>:<key>   zset     the open tasks of an ordering key, in order
    edgescale:{pN}:task:<request_id>    hash     one task; expires after it is settled
    edgescale:{pN}:dead                 stream   dead letters with their original fields
    edgescale:{pN}:replayed:<letter>    string   the entry that a dead letter was put back as; expires
    edgescale:{pN}:result:<inbox>       channel  request ids whose result is stored
    edgescale:{pN}:agent:<agent_id>     hash     one agent; expires after silence
    edgescale:{pN}:agents               zset     agent ids by last-seen time
    edgescale:{pN}:fence                string   written behind what replicas must have; expires

All keys of a partition share the hash tag `{pN}` and so one slot of a cluster; N follows from the id. Of a request id
that is what stands before its first colon, so that all tasks of one ordering key are in one partition.
Source: Redis cluster specification, "Hash tags".
"""

import re
import zlib
from typing import NamedTuple

PREFIX = "edgescale"
GROUP = "workers"
_NAME = re.compile(PREFIX + r":\{p(\d+)\}:([a-z]+):?(.*)", re.DOTALL)


class Name(NamedTuple):
    """What a name in Redis says.

    Attributes:
        partition: that it belongs to.
        family: stream, schedule, waiting, chain, task, dead, replayed, result, agent, agents or fence.
        rest: the lane, lane and ordering key, request id, letter, inbox or agent id; empty where the family has one
            name only.
    """

    partition: int
    family: str
    rest: str

    @classmethod
    def parse(cls, key: str) -> "Name | None":
        """Read a name; None when it is not one of ours."""
        found = _NAME.fullmatch(key)
        return cls(int(found[1]), found[2], found[3]) if found else None


def fence_of(key: str) -> str:
    """The fence of the partition that a key of ours belongs to."""
    return f"{key.partition('}')[0]}}}:fence"


class Keys:
    """Names for a fixed number of partitions.

    Args:
        partitions: must be the same in every process, and must not change while tasks are open.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self._tags = [f"{PREFIX}:{{p{partition}}}:" for partition in range(partitions)]

    def partition_of(self, request_id: str) -> int:
        """The partition of a request id: that of what stands before its first colon; the same in every process."""
        return self._partition(request_id.partition(":")[0])

    def partition_of_agent(self, agent_id: str) -> int:
        """The partition of an agent id, all of which counts; the same in every process."""
        return self._partition(agent_id)

    def _partition(self, identity: str) -> int:
        return zlib.crc32(identity.encode()) % self.partitions

    def stream(self, partition: int, lane: str) -> str:
        """The lane's stream."""
        return f"{self._tags[partition]}stream:{lane}"

    def schedule(self, partition: int, lane: str) -> str:
        """The lane's schedule: entry ids by milliseconds since 1970."""
        return f"{self._tags[partition]}schedule:{lane}"

    def waiting(self, partition: int, lane: str) -> str:
        """The stream of those that wait for their turn, each behind another one of its ordering key."""
        return f"{self._tags[partition]}waiting:{lane}"

    def backlog(self, partition: int, lane: str) -> list[str]:
        """Both streams of a lane: what is in either counts against the cap."""
        return [self.stream(partition, lane), self.waiting(partition, lane)]

    def chain(self, partition: int, lane: str, ordering_key: str) -> str:
        """The tasks of an ordering key in a lane; without an ordering key, a name that is never used."""
        return f"{self._tags[partition]}chain:{lane}:{ordering_key}"

    def task(self, request_id: str, partition: int | None = None) -> str:
        """The task's hash; in the partition of its entry or letter, where there is one.

        What strangers add may name no task, or one that belongs elsewhere, and a script's keys must be in one slot.
        """
        partition = self.partition_of(request_id) if partition is None else partition
        return f"{self._tags[partition]}task:{request_id}"

    def of_entry(self, partition: int, request_id: str, lane: str) -> list[str]:
        """Task, stream and schedule: all that tells of an entry."""
        return [self.task(request_id, partition), self.stream(partition, lane), self.schedule(partition, lane)]

    def of_chain(self, partition: int, lane: str, ordering_key: str) -> list[str]:
        """Those who wait, and the chain: what a script needs to let the next one of an ordering key go."""
        return [self.waiting(partition, lane), self.chain(partition, lane, ordering_key)]

    def dead(self, partition: int) -> str:
        """The stream of dead letters."""
        return f"{self._tags[partition]}dead"

    def replayed(self, partition: int, entry_id: str) -> str:
        """The mark that a dead letter, by its id in its stream, was put back."""
        return f"{self._tags[partition]}replayed:{entry_id}"

    def channel(self, partition: int, inbox: str) -> str:
        """The result channel of an inbox; with an empty inbox, the prefix of all of them."""
        return f"{self._tags[partition]}result:{inbox}"

    def agent(self, agent_id: str) -> str:
        """The agent's hash."""
        return f"{self._tags[self.partition_of_agent(agent_id)]}agent:{agent_id}"

    def agents(self, partition: int) -> str:
        """The partition's agents by last-seen time."""
        return f"{self._tags[partition]}agents"

    def fence(self, partition: int) -> str:
        """What is written behind that which replicas must have; `fence_of` has it from any key."""
        return f"{self._tags[partition]}fence"
