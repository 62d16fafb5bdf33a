"""Entries that were delivered to a reader whose connection was gone: nobody works on them, and their leases run."""

from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.model import Entry
from edgescale.broker.script import Script
from edgescale.errors import GroupMissing

# Before the first entry that any stream can have.
NOTHING_HEARD = "0-0"


class Unheard:
    """Finds what a read has brought after all, when its reply was lost.

    Args:
        connection: to the server.
        keys: names of the streams.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._script = Script.load("unheard")

    async def find(self, partition: int, lane: str, consumer: str, *, after: str, count: int) -> list[Entry]:
        """Up to `count` entries, oldest first, as a read would have brought them.

        Args:
            partition: of the stream.
            lane: of the stream.
            consumer: whose read failed.
            after: the last entry that a read of the consumer brought; `NOTHING_HEARD` when none has.
            count: free slots of the caller.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        keys = [self._keys.stream(partition, lane), self._keys.schedule(partition, lane)]
        try:
            rows = await self._connection.run(self._script, keys, [GROUP, consumer, after, count])
        except GroupMissing:
            return []
        return [Entry(partition, lane, entry_id.decode(), 1, flat_dict(flat)) for entry_id, flat in rows]
