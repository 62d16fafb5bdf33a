"""Streams and their consumer groups, as data. Source: Redis, "Redis Streams".

Ids are plain numbers, see `arguments.SEQUENCE_BITS`.
"""

from edgescale.harness.simulation.redis.arguments import SEQUENCE_BITS
from edgescale.harness.simulation.redis.sorted_map import SortedMap

_ENTRY_BYTES = 64


class Pending:
    """One entry that was delivered and not acknowledged.

    Attributes:
        consumer: who holds it.
        delivered_ms: when it was given to them, in milliseconds since 1970.
        deliveries: how often.
    """

    __slots__ = ("consumer", "delivered_ms", "deliveries")

    def __init__(self, consumer: "Consumer", delivered_ms: int, deliveries: int) -> None:
        self.consumer = consumer
        self.delivered_ms = delivered_ms
        self.deliveries = deliveries


class Consumer:
    """A member of a group.

    Attributes:
        name: unique in the group.
        seen_ms: when it last tried to read or claim, in milliseconds since 1970.
        active_ms: when it last got something, None for never.
        pending: what it holds, by id; the same objects as in the group.
    """

    __slots__ = ("active_ms", "name", "pending", "seen_ms")

    def __init__(self, name: bytes, now_ms: int) -> None:
        self.name = name
        self.seen_ms = now_ms
        self.active_ms: int | None = None
        self.pending: SortedMap[Pending] = SortedMap()


class Group:
    """A consumer group.

    Attributes:
        last_id: of the last entry that was delivered to anyone.
        entries_read: how many were, None where that cannot be told.
        pending: what all consumers hold, by id.
        consumers: by name.
    """

    __slots__ = ("consumers", "entries_read", "last_id", "pending")

    def __init__(self, last_id: int, entries_read: int | None) -> None:
        self.last_id = last_id
        self.entries_read = entries_read
        self.pending: SortedMap[Pending] = SortedMap()
        self.consumers: dict[bytes, Consumer] = {}

    def consumer(self, name: bytes, now_ms: int) -> Consumer:
        """The consumer, made where there is none."""
        consumer = self.consumers.get(name)
        if consumer is None:
            consumer = self.consumers[name] = Consumer(name, now_ms)
        return consumer

    def assign(self, entry: int, consumer: Consumer, delivered_ms: int, deliveries: int) -> Pending:
        """Make the consumer the holder of an entry, whoever held it before."""
        pending = self.pending.values.get(entry)
        if pending is None:
            pending = Pending(consumer, delivered_ms, deliveries)
            self.pending.put(entry, pending)
            consumer.pending.put(entry, pending)
            return pending
        if pending.consumer is not consumer:
            pending.consumer.pending.pop(entry)
            consumer.pending.put(entry, pending)
            pending.consumer = consumer
        pending.delivered_ms = delivered_ms
        pending.deliveries = deliveries
        return pending

    def release(self, entry: int) -> bool:
        """Nobody holds the entry any more; False when nobody did."""
        pending = self.pending.pop(entry)
        if pending is None:
            return False
        pending.consumer.pending.pop(entry)
        return True

    def remove(self, name: bytes) -> int:
        """Remove a consumer with all that it holds; says how much that was."""
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return 0
        for entry in consumer.pending.keys:
            self.pending.pop(entry)
        return len(consumer.pending)


class Stream:
    """Entries in the order of their ids, and groups that read them.

    Attributes:
        entries: fields and values in turn, by id.
        last_id: the highest id ever given; it stays when its entry goes.
        entries_added: how many there ever were.
        max_deleted_id: the highest id that was deleted, 0 for none.
        groups: by name.
    """

    __slots__ = ("entries", "entries_added", "groups", "last_id", "max_deleted_id", "size")

    def __init__(self) -> None:
        self.entries: SortedMap[list[bytes]] = SortedMap()
        self.last_id = 0
        self.entries_added = 0
        self.max_deleted_id = 0
        self.groups: dict[bytes, Group] = {}
        self.size = 0

    @property
    def first_id(self) -> int:
        """Of the oldest entry; 0 when there is none."""
        return self.entries.keys[0] if self.entries.keys else 0

    @property
    def top_id(self) -> int:
        """Of the newest entry that is still there; 0 when there is none."""
        return self.entries.keys[-1] if self.entries.keys else 0

    def next_id(self, now_ms: int) -> int:
        """The id that `*` stands for: the time, or one more than the last id when the clock is behind it."""
        return max(now_ms << SEQUENCE_BITS, self.last_id + 1)

    def add(self, entry: int, fields: list[bytes]) -> None:
        """Append an entry; its id is higher than any before."""
        self.entries.put(entry, fields)
        self.entries_added += 1
        self.last_id = entry
        self.size += _ENTRY_BYTES + sum(map(len, fields))

    def drop(self, entry: int) -> bool:
        """Remove an entry; False when there is none."""
        fields = self.entries.pop(entry)
        if fields is None:
            return False
        self.size -= _ENTRY_BYTES + sum(map(len, fields))
        return True

    def has_gap_after(self, entry: int, *, modern: bool) -> bool:
        """Whether an entry from this id on may have been deleted. Source: Redis, XINFO GROUPS, "lag".

        Args:
            entry: its id.
            modern: a deletion counts even when it came before all that is there now.
        """
        if not self.entries.keys or not self.max_deleted_id:
            return False
        if self.first_id > self.max_deleted_id and not modern:
            return False
        return entry <= self.max_deleted_id

    def entries_up_to(self, entry: int, *, modern: bool) -> int | None:
        """How many entries were ever added up to this id, None where that cannot be told. Source: as above."""
        length = len(self.entries)
        if not self.entries_added or (not length and entry <= self.last_id):
            return self.entries_added
        if entry > self.last_id or (modern and 0 < entry < self.max_deleted_id):
            return None
        if entry == self.last_id:
            return self.entries_added
        if not self.max_deleted_id or self.max_deleted_id < self.first_id:
            if entry < self.first_id:
                return self.entries_added - length
            if entry == self.first_id:
                return self.entries_added - length + 1
        return None

    def lag(self, group: Group, *, modern: bool) -> int | None:
        """How many entries the group has yet to read, None where that cannot be told."""
        if not self.entries_added:
            return 0
        if group.entries_read is not None and not self.has_gap_after(group.last_id, modern=modern):
            return self.entries_added - group.entries_read
        read = self.entries_up_to(group.last_id, modern=modern)
        return None if read is None else self.entries_added - read

    def note_read(self, group: Group, entry: int, *, modern: bool) -> None:
        """The group was given this entry, which is its newest so far."""
        if modern:
            counts = group.last_id >= self.first_id and not self.has_gap_after(group.last_id, modern=True)
        else:
            counts = not self.has_gap_after(entry, modern=False)
        if group.entries_read is not None and counts:
            group.entries_read += 1
        elif self.entries_added:
            group.entries_read = self.entries_up_to(entry, modern=modern)
        group.last_id = entry
