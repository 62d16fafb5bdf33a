"""Every name that EdgeScale uses in Redis.

    edgescale:{pN}:stream:<lane>        stream   entries queued and running; settled ones are deleted
    edgescale:{pN}:schedule:<lane>      zset     entries that wait for longer than a lease, by when they are due
    edgescale:{pN}:task:<request_id>    hash     one task; expires after it is settled
    edgescale:{pN}:dead                 stream   dead letters with their original fields
    edgescale:{pN}:replayed:<letter>    string   the entry that a dead letter was put back as; expires
    edgescale:{pN}:result:<inbox>       channel  request ids whose result is stored
    edgescale:{pN}:agent:<agent_id>     hash     one agent; expires after silence
    edgescale:{pN}:agents               zset     agent ids by last-seen time

All keys of a partition share the hash tag `{pN}` and so one slot of a cluster; N follows from the id.
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
        family: stream, schedule, task, dead, replayed, result, agent or agents.
        rest: the lane, request id, letter, inbox or agent id; empty where the family has one name only.
    """

    partition: int
    family: str
    rest: str

    @classmethod
    def parse(cls, key: str) -> "Name | None":
        """Read a name; None when it is not one of ours."""
        found = _NAME.fullmatch(key)
        return cls(int(found[1]), found[2], found[3]) if found else None


class Keys:
    """Names for a fixed number of partitions.

    Args:
        partitions: must be the same in every process, and must not change while tasks are open.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self._tags = [f"{PREFIX}:{{p{partition}}}:" for partition in range(partitions)]

    def partition_of(self, identity: str) -> int:
        """The partition of a request id or agent id; the same in every process and version."""
        return zlib.crc32(identity.encode()) % self.partitions

    def stream(self, partition: int, lane: str) -> str:
        """The lane's stream; with an empty lane, the prefix of all of them."""
        return f"{self._tags[partition]}stream:{lane}"

    def schedule(self, partition: int, lane: str) -> str:
        """The lane's schedule: entry ids by milliseconds since 1970. With an empty lane, the prefix of all of them."""
        return f"{self._tags[partition]}schedule:{lane}"

    def task(self, request_id: str, partition: int | None = None) -> str:
        """The task's hash; in the partition of its entry or letter, where there is one.

        What strangers add may name no task, or one that belongs elsewhere, and a script's keys must be in one slot.
        """
        partition = self.partition_of(request_id) if partition is None else partition
        return f"{self._tags[partition]}task:{request_id}"

    def of_entry(self, partition: int, request_id: str, lane: str) -> list[str]:
        """Task, stream and schedule: all that tells of an entry."""
        return [self.task(request_id, partition), self.stream(partition, lane), self.schedule(partition, lane)]

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
        return f"{self._tags[self.partition_of(agent_id)]}agent:{agent_id}"

    def agents(self, partition: int) -> str:
        """The partition's agents by last-seen time."""
        return f"{self._tags[partition]}agents"
