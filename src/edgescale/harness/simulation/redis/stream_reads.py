"""XREAD and XREADGROUP."""

from dataclasses import replace
from typing import Any, NamedTuple

from edgescale.harness.simulation.redis.arguments import ID_MAX, id_text, stream_id
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import WRITE, command
from edgescale.harness.simulation.redis.replies import NULL_ARRAY, SILENCE, Reply, ReplyError, by_key
from edgescale.harness.simulation.redis.stream import Consumer, Stream
from edgescale.harness.simulation.redis.stream_commands import shown
from edgescale.harness.simulation.redis.stream_groups import Place, find_group, record_claim, record_progress
from edgescale.harness.simulation.redis.stream_read_words import Read, parse

_MEANINGLESS = (
    b"ERR The %b ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    b"specifying a proper ID, or use the > ID to get new messages. The %b ID would just return an empty result set."
)
_NEW_ONLY = b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
_NO_GROUP = b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option"


class Source(NamedTuple):
    """One of the streams that a read names, as it is just now.

    Attributes:
        key: its name.
        after: the id after which to read; the highest there is stands for `>`.
        stream: None when there is none, which a group's reader never sees.
        place: the group in it, None for XREAD.
    """

    key: bytes
    after: int
    stream: Stream | None
    place: Place | None


@command("xread", -4)
def xread(client: Client, argv: list[bytes]) -> Reply:
    """XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ...: entries after these ids."""
    return _run(client, argv, grouped=False)


@command("xreadgroup", -7, WRITE)
def xreadgroup(client: Client, argv: list[bytes]) -> Reply:
    """XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...: entries, now pending."""
    return _run(client, argv, grouped=True)


def _run(client: Client, argv: list[bytes], *, grouped: bool) -> Reply:
    model = client.model
    modern = model.flavour.modern
    read = parse(tuple(argv), grouped=grouped, modern=modern, may_block=modern or not model.in_script)
    sources = resolve(client, read)
    found = serve(client, read, sources)
    if found:
        return by_key(found)
    if read.block_ms is None or not client.may_block:
        return NULL_ARRAY
    if b"$" in read.ids:
        ids = [id_text(source.after) if raw == b"$" else raw for raw, source in zip(read.ids, sources, strict=True)]
        read = replace(read, ids=tuple(ids))
    model.waiters.block(client, read, sources)
    return SILENCE


def resolve(client: Client, read: Read) -> list[Source]:
    """The streams as they are now.

    Raises:
        ReplyError: a key holds something else, the group is missing, or an id is none.
    """
    sources = []
    for key, raw in zip(read.keys, read.ids, strict=True):
        if read.group is None:
            place, stream = None, client.keyspace.typed(key, Stream)
        else:
            place = find_group(client, key, read.group, _NO_GROUP)
            stream = place.stream
        sources.append(Source(key, _after(client, read, raw, stream), stream, place))
    return sources


def _after(client: Client, read: Read, raw: bytes, stream: Stream | None) -> int:
    grouped = read.group is not None
    if raw == b"$" or (raw == b"+" and client.model.flavour.modern):
        if grouped:
            raise ReplyError(_MEANINGLESS % (raw, raw))
        last_id = 0 if stream is None else stream.last_id
        # `+` asks for the last entry itself.
        return last_id if raw == b"$" else max(last_id - 1, 0)
    if raw == b">":
        if not grouped:
            raise ReplyError(_NEW_ONLY)
        return ID_MAX
    if raw in {b"-", b"+"}:
        raise ReplyError(b"ERR Invalid stream ID specified as stream command argument")
    return stream_id(raw)


def serve(client: Client, read: Read, sources: list[Source]) -> list[list[Any]]:
    """Key and entries of each stream that has some; also of one whose history was asked for, entries or not."""
    found = []
    for key, after, stream, place in sources:
        entries = _from_stream(stream, read, after) if place is None else _from_group(client, read, place, after)
        if entries is not None:
            found.append([key, entries])
    return found


def _from_stream(stream: Stream | None, read: Read, last: int) -> list[Any] | None:
    if stream is None or not stream.entries.keys or stream.top_id <= last:
        return None
    return list(shown(stream, stream.entries.between(last + 1, ID_MAX, read.count)))


def _from_group(client: Client, read: Read, place: Place, last: int) -> list[Any] | None:
    fresh = last == ID_MAX
    entries = place.stream.entries
    served = not fresh or (bool(entries.keys) and place.stream.top_id > place.group.last_id)
    if not served and not client.model.flavour.modern:
        return None
    consumer = _reader(client, read, place)
    if not served:
        return None
    return (
        _deliver(client, read, place, consumer, read.count)
        if fresh
        else _history(client, place.stream, consumer, last, read.count)
    )


def serve_group(client: Client, read: Read, place: Place, count: int) -> list[Any]:
    """Entries that the group was not given before; the reader becomes a consumer whether there are any or not."""
    return _deliver(client, read, place, _reader(client, read, place), count)


def _reader(client: Client, read: Read, place: Place) -> Consumer:
    """The reading consumer, seen just now."""
    if read.noack and read.consumer not in place.group.consumers:
        # Otherwise the claims that follow make it on replay.
        client.record(b"XGROUP", b"CREATECONSUMER", place.key, place.name, read.consumer)
    consumer = place.group.consumer(read.consumer, client.model.now_ms)
    consumer.seen_ms = client.model.now_ms
    return consumer


def _deliver(client: Client, read: Read, place: Place, consumer: Consumer, count: int) -> list[Any]:
    stream, group = place.stream, place.group
    entries = stream.entries.between(group.last_id + 1, ID_MAX, count)
    now_ms = client.model.now_ms
    for entry in entries:
        stream.note_read(group, entry, modern=client.model.flavour.modern)
        if not read.noack:
            held = group.assign(entry, consumer, now_ms, 1)
            consumer.active_ms = now_ms
            record_claim(client, place, entry, held)
    if entries and (read.noack or client.model.flavour.modern):
        record_progress(client, place)
    return list(shown(stream, entries))


def _history(client: Client, stream: Stream, consumer: Consumer, last: int, count: int) -> list[Any]:
    """What the consumer holds already; counted as delivered again, but not noted in the log, as in the server."""
    shown_entries: list[Any] = []
    for entry in consumer.pending.between(last + 1, ID_MAX, count):
        fields = stream.entries.values.get(entry)
        if fields is None:
            shown_entries.append([id_text(entry), NULL_ARRAY])
            continue
        held = consumer.pending.values[entry]
        held.delivered_ms = client.model.now_ms
        held.deliveries += 1
        shown_entries.append([id_text(entry), fields])
    return shown_entries
