"""Looking into a server without being one of its clients: nothing is counted, nothing is noted, nothing expires of it.

A server that is stopped shows what it held when it stopped.
"""

from typing import TypeVar

from edgescale.harness.simulation.redis.arguments import id_text, stream_id
from edgescale.harness.simulation.redis.keyspace import Hash
from edgescale.harness.simulation.redis.model import RedisModel
from edgescale.harness.simulation.redis.stream import Stream

Kind = TypeVar("Kind", Hash, Stream)


def keys(model: RedisModel) -> list[bytes]:
    """All keys whose time has not come, in the order of their bytes."""
    return sorted(key for key in model.keyspace.values if _is_live(model, key))


def hash_fields(model: RedisModel, key: bytes) -> dict[bytes, bytes]:
    """A copy of a hash; empty when there is none."""
    return dict(_found(model, key, dict) or {})


def stream_ids(model: RedisModel, key: bytes) -> list[bytes]:
    """The ids of a stream's entries, the oldest first; empty when there is no stream."""
    stream = _found(model, key, Stream)
    return [] if stream is None else [id_text(entry) for entry in stream.entries.keys]


def stream_fields(model: RedisModel, key: bytes, entry: bytes) -> dict[bytes, bytes] | None:
    """The fields of an entry, of repeated ones the last; None when there is no such entry.

    Args:
        model: the server.
        key: of the stream.
        entry: its id.

    Raises:
        ReplyError: that is no id.
    """
    stream = _found(model, key, Stream)
    fields = None if stream is None else stream.entries.values.get(stream_id(entry))
    return None if fields is None else dict(zip(fields[::2], fields[1::2], strict=True))


def pending(model: RedisModel, key: bytes, group: bytes) -> int:
    """How many entries a group's consumers hold; 0 when there is no such group."""
    stream = _found(model, key, Stream)
    found = None if stream is None else stream.groups.get(group)
    return 0 if found is None else len(found.pending)


def _found(model: RedisModel, key: bytes, kind: type[Kind]) -> Kind | None:
    value = model.keyspace.values.get(key)
    return value if type(value) is kind and _is_live(model, key) else None


def _is_live(model: RedisModel, key: bytes) -> bool:
    deadline_ms = model.keyspace.deadlines.get(key)
    return deadline_ms is None or model.clock_ms() <= deadline_ms
