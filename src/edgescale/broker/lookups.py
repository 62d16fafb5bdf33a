"""Reading tasks: what is stored of them, and where those that are open stand."""

from collections.abc import Sequence
from typing import Any

from edgescale.broker.commit import GroupCommit
from edgescale.broker.connection import Connection
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.model import TaskRecord
from edgescale.broker.script import Argument, Script

TAKEN_AWAY = -1


class Lookups:
    """Reads tasks in Redis. Calls that arrive together share a round trip, and those for open tasks a second one.

    Args:
        connection: to the server.
        keys: names of everything there.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._lookup = Script.load("lookup")
        self._locate = Script.load("locate")
        partitions = range(keys.partitions)
        self._lookups = [self._commit_lookups(partition) for partition in partitions]
        self._locations = [self._commit_locations(partition) for partition in partitions]

    def _commit_lookups(self, partition: int) -> GroupCommit[tuple[str, str], Any]:
        return GroupCommit(lambda items: self._flush_lookups(partition, items))

    def _commit_locations(self, partition: int) -> GroupCommit[TaskRecord, Any]:
        return GroupCommit(lambda records: self._flush_locations(partition, records))

    async def find(self, request_id: str, inbox: str = "") -> TaskRecord | None:
        """The task's record, None when there is none or Redis has lost the task. An inbox is attached to an open task.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        flat = await self._lookups[self._keys.partition_of(request_id)]((request_id, inbox))
        record = TaskRecord.parse(request_id, flat) if flat else None
        if record is None or record.terminal:
            return record
        return None if await self.locate(record) == TAKEN_AWAY else record

    async def locate(self, record: TaskRecord) -> int:
        """How often an open task was delivered, 0 while it is queued; TAKEN_AWAY when nobody will ever be given it.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        return int(await self._locations[self._keys.partition_of(record.request_id)](record))

    async def _flush_lookups(self, partition: int, items: Sequence[tuple[str, str]]) -> Any:
        del partition
        keys = [self._keys.task(request_id) for request_id, _ in items]
        return await self._connection.run(self._lookup, keys, [inbox for _, inbox in items])

    async def _flush_locations(self, partition: int, records: Sequence[TaskRecord]) -> Any:
        keys: list[str] = []
        args: list[Argument] = [GROUP]
        for record in records:
            keys += [self._keys.task(record.request_id), self._keys.stream(partition, record.lane)]
            keys += self._keys.of_chain(partition, record.lane, record.ordering_key)
            args += [record.request_id, record.lane, record.ordering_key]
        return await self._connection.run(self._locate, keys, args)
