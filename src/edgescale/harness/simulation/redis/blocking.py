"""Readers that wait for a stream: who waits, in which order they are served, and what ends a wait.

Redis before 7.2 keeps what a reader asked for and serves it when its stream grows. Since 7.2, and in Valkey, the
command is carried out anew instead: whoever gets nothing then goes to the end of the queue.
"""

from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.arguments import ID_MAX
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.replies import NULL_ARRAY, Failure, Reply, ReplyError, by_key
from edgescale.harness.simulation.redis.stream import Stream
from edgescale.harness.simulation.redis.stream_commands import shown
from edgescale.harness.simulation.redis.stream_groups import Place
from edgescale.harness.simulation.redis.stream_read_words import Read
from edgescale.harness.simulation.redis.stream_reads import Source, resolve, serve, serve_group

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.model import RedisModel
    from edgescale.harness.simulation.redis.session import Session

# What a blocked reader that gave no COUNT gets at most, before Redis 7.2. Source: XREAD.
_BLOCKED_COUNT_MAX = 1000
_GROUP_GONE = b"NOGROUP the consumer group this client was blocked on no longer exists"
_STREAM_GONE = b"UNBLOCKED the stream key no longer exists"


class BlockedRead:
    """One reader's wait.

    Attributes:
        session: whose reply is due.
        read: what it asked for.
        after: for each stream, the id after which it reads.
    """

    __slots__ = ("after", "read", "session")

    def __init__(self, session: "Session", read: Read, after: dict[bytes, int]) -> None:
        self.session = session
        self.read = read
        self.after = after


class Waiters:
    """All readers that wait, first come first served.

    Args:
        model: the server.
    """

    def __init__(self, model: "RedisModel") -> None:
        self._model = model
        self._queues: dict[bytes, dict[BlockedRead, None]] = {}
        self._ready: dict[bytes, None] = {}

    def block(self, client: Client, read: Read, sources: list[Source]) -> None:
        """Let the client wait for one of its streams."""
        session = self._model.session_of(client)
        # Of a stream that is named twice, the first id counts.
        waiter = BlockedRead(session, read, {source.key: source.after for source in reversed(sources)})
        self._enter(waiter)
        session.block(timeout_ms=read.block_ms or 0, expired=lambda: NULL_ARRAY, leave=lambda: self._leave(waiter))

    def _enter(self, waiter: BlockedRead) -> None:
        for key in waiter.after:
            self._queues.setdefault(key, {})[waiter] = None

    def _leave(self, waiter: BlockedRead) -> None:
        for key in waiter.after:
            queue = self._queues.get(key, {})
            queue.pop(waiter, None)
            if not queue:
                self._queues.pop(key, None)

    def clear(self) -> None:
        """Forget all readers: the server has ended."""
        self._queues.clear()
        self._ready.clear()

    def look(self, key: bytes) -> None:
        """The stream has a new entry, or is new itself, or lost a group; readers look when the command is done."""
        if key in self._queues:
            self._ready[key] = None

    def stream_gone(self, key: bytes) -> None:
        """The key was removed, or holds something else now."""
        if any(waiter.read.group is not None for waiter in self._queues.get(key, ())):
            self._ready[key] = None

    def serve(self) -> None:
        """Serve everyone whose stream is ready."""
        while self._ready:
            ready, self._ready = self._ready, {}
            for key in ready:
                for waiter in list(self._queues.get(key, ())):
                    # Serving one may have ended the wait of another.
                    if waiter in self._queues.get(key, ()):
                        self._serve(key, waiter)

    def _serve(self, key: bytes, waiter: BlockedRead) -> None:
        serve_one = self._run_again if self._model.flavour.modern else self._serve_key
        try:
            reply = serve_one(key, waiter)
        except ReplyError as error:
            reply = Failure(error.text)
        self._model.log.commit()
        if reply is not None:
            waiter.session.unblock(reply)

    def _run_again(self, key: bytes, waiter: BlockedRead) -> Reply:
        """Since Redis 7.2; None when the reader goes on waiting."""
        if waiter.read.group is None and type(self._model.keyspace.find(key)) is not Stream:
            return None
        session = waiter.session
        found = serve(session, waiter.read, resolve(session, waiter.read))
        if found:
            return by_key(found)
        self._leave(waiter)
        self._enter(waiter)
        return None

    def _serve_key(self, key: bytes, waiter: BlockedRead) -> Reply:
        """Before Redis 7.2; None when the reader goes on waiting."""
        read = waiter.read
        stream = self._model.keyspace.find(key)
        if not isinstance(stream, Stream):
            if read.group is not None:
                raise ReplyError(_STREAM_GONE)
            return None
        count = read.count or _BLOCKED_COUNT_MAX
        if read.group is None:
            if stream.last_id <= waiter.after[key]:
                return None
            # Served even when what came has been deleted since: then there is a key without entries.
            return by_key([[key, list(shown(stream, stream.entries.between(waiter.after[key] + 1, ID_MAX, count)))]])
        group = stream.groups.get(read.group)
        if group is None:
            raise ReplyError(_GROUP_GONE)
        if stream.last_id <= group.last_id:
            return None
        return by_key([[key, serve_group(waiter.session, read, Place(key, stream, read.group, group), count)]])
