"""Cancelling tasks: what is queued never starts, who works on it is told, and the first terminal state wins."""

from collections.abc import Sequence
from typing import Any

from edgescale.broker.commit import GroupCommit
from edgescale.broker.connection import Connection
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.model import TaskRecord
from edgescale.broker.reconnect import persist
from edgescale.broker.script import Argument, Script
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.errors import InternalError, NotFound
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# Stand in the record of a cancelled task, for programs and for people.
REASON, MESSAGE = "CANCELLED", "a caller asked for it"
# How often a record is read again that was another one when its task was to be ended.
ROUNDS_MAX = 10


class Canceller:
    """Cancels tasks in Redis. Calls that arrive together share a round trip.

    Args:
        connection: to the server.
        keys: names of everything there.
        settings: time to live of records, and patience.
        chance: jitter of repeated calls.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings, chance: Chance) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings
        self._chance = chance
        self._log = get_log()
        self._lookup = Script.load("lookup")
        self._script = Script.load("cancel")
        self._cancels = [self._commit(partition) for partition in range(keys.partitions)]

    def _commit(self, partition: int) -> GroupCommit[str, Any]:
        return GroupCommit(lambda request_ids: self._flush(partition, request_ids))

    async def cancel(self, request_id: str) -> TaskRecord:
        """End a task that has not ended yet; cancelling it again changes nothing.

        Returns:
            The record as it stands then: cancelled, or as the task had ended before.

        Raises:
            NotFound: there is no such task, or no more.
            BrokerUnavailable: whether it was cancelled is unknown; the call may be repeated.
        """
        commit = self._cancels[self._keys.partition_of(request_id)]
        patience_ms = self._settings.redis_patience_ms
        flat = await persist(lambda: commit(request_id), self._chance, patience_ms=patience_ms)
        if not flat:
            raise NotFound(f"no task {request_id!r}: it was never accepted, or its record has expired")
        record = TaskRecord.parse(request_id, flat)
        self._log.info(Event.TASK_CANCELLED, request_id=request_id, lane=record.lane, state=record.state)
        return record

    async def _flush(self, partition: int, request_ids: Sequence[str]) -> Any:
        """Read the records first, for they tell which keys a cancellation needs."""
        answers: dict[str, Any] = {}
        asked = list(dict.fromkeys(request_ids))
        for _ in range(ROUNDS_MAX):
            if not asked:
                break
            keys = [self._keys.task(request_id) for request_id in asked]
            answers |= zip(asked, await self._connection.run(self._lookup, keys, [""] * len(keys)), strict=True)
            records = [TaskRecord.parse(request_id, answers[request_id]) for request_id in asked if answers[request_id]]
            records = [record for record in records if not record.terminal]
            answers |= (ended := await self._end(partition, records))
            # What was not ended was lost in between, and maybe accepted anew: its record is another one.
            asked = [request_id for request_id, flat in ended.items() if not flat]
        if asked:
            raise InternalError(f"the records of {len(asked)} tasks tell of no entry that could be taken out")
        return [answers[request_id] for request_id in request_ids]

    async def _end(self, partition: int, records: Sequence[TaskRecord]) -> dict[str, Any]:
        """Cancel what these records tell of; each one's record then, empty where it is not the same any more."""
        keys: list[str] = []
        args: list[Argument] = [GROUP, self._keys.channel(partition, ""), self._settings.result_ttl_ms, REASON, MESSAGE]
        for record in records:
            keys += self._keys.of_entry(partition, record.request_id, record.lane)
            keys += self._keys.of_chain(partition, record.lane, record.ordering_key)
            args += [record.request_id, record.lane, record.ordering_key]
        ended = await self._connection.run(self._script, keys, args) if records else []
        return dict(zip((record.request_id for record in records), ended, strict=True))
