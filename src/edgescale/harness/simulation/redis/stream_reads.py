"""XREAD and XREADGROUP."""

from dataclasses import dataclass, field
from typing import Any

from edgescale.harness.simulation.redis.arguments import ID_MAX, SYNTAX, id_text, integer, stream_id, timeout_ms
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import WRITE, command
from edgescale.harness.simulation.redis.replies import NULL_ARRAY, SILENCE, Reply, ReplyError, by_key
from edgescale.harness.simulation.redis.stream import Consumer, Stream
from edgescale.harness.simulation.redis.stream_commands import shown
from edgescale.harness.simulation.redis.stream_groups import Place, find_group, record_claim, record_progress

_MEANINGLESS = (
    b"ERR The %b ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
    b"specifying a proper ID, or use the > ID to get new messages. The %b ID would just return an empty result set."
)
_GROUP_ONLY = b"ERR The %b option is only supported by XREADGROUP. You called XREAD instead."
_NEW_ONLY = b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
_NO_GROUP = b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option"


@dataclass(slots=True)
class Read:
    """The words of one XREAD or XREADGROUP.

    Attributes:
        group: its name, None for XREAD.
        consumer: empty for XREAD.
        count: entries of each stream at most, 0 for all.
        block_ms: how long to wait, 0 for ever, None for not at all.
        noack: what is read does not become pending.
        keys: of the streams.
        ids: as they were given, one for each stream; `$` gives way to what it stood for before the reader blocks.
    """

    group: bytes | None = None
    consumer: bytes = b""
    count: int = 0
    block_ms: int | None = None
    noack: bool = False
    keys: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)


def _parse(client: Client, argv: list[bytes], *, grouped: bool) -> Read:
    read = Read()
    at = 1
    while at < len(argv) and not read.keys:
        word, more = argv[at].upper(), len(argv) - at - 1
        if word == b"STREAMS" and more:
            _parse_streams(client, read, argv[at + 1 :], argv[0], grouped=grouped)
        elif word in {b"BLOCK", b"COUNT"} and more:
            _parse_number(client, read, argv, at)
            at += 2
        elif word == b"GROUP" and more > 1:
            _only_for_groups(word, grouped=grouped)
            read.group, read.consumer = argv[at + 1], argv[at + 2]
            at += 3
        elif word == b"NOACK":
            _only_for_groups(word, grouped=grouped)
            read.noack = True
            at += 1
        else:
            raise ReplyError(SYNTAX)
    if not read.keys:
        raise ReplyError(SYNTAX)
    if grouped and read.group is None:
        raise ReplyError(b"ERR Missing GROUP option for XREADGROUP")
    return read


def _parse_number(client: Client, read: Read, argv: list[bytes], at: int) -> None:
    if argv[at].upper() == b"COUNT":
        read.count = max(integer(argv[at + 1]), 0)
    elif client.model.in_script and not client.model.flavour.modern:
        raise ReplyError(b"ERR %b command is not allowed with BLOCK option from scripts" % argv[0])
    else:
        read.block_ms = timeout_ms(argv[at + 1])


def _only_for_groups(word: bytes, *, grouped: bool) -> None:
    if not grouped:
        raise ReplyError(_GROUP_ONLY % word)


def _parse_streams(client: Client, read: Read, words: list[bytes], name: bytes, *, grouped: bool) -> None:
    half = len(words) // 2
    if len(words) % 2:
        if client.model.flavour.modern:
            what = b"'%b' list of streams: for each stream key an ID or '%b'" % (
                name.lower(),
                b">" if grouped else b"$",
            )
        else:
            what = b"XREAD list of streams: for each stream key an ID or '$'"
        raise ReplyError(b"ERR Unbalanced " + what + b" must be specified.")
    read.keys, read.ids = words[:half], words[half:]


@command("xread", -4)
def xread(client: Client, argv: list[bytes]) -> Reply:
    """XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ...: entries after these ids."""
    return _run(client, _parse(client, argv, grouped=False))


@command("xreadgroup", -7, WRITE)
def xreadgroup(client: Client, argv: list[bytes]) -> Reply:
    """XREADGROUP GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS key ... id ...: entries, now pending."""
    return _run(client, _parse(client, argv, grouped=True))


def _run(client: Client, read: Read) -> Reply:
    after = resolve(client, read)
    found = serve(client, read, after)
    if found:
        return by_key(found)
    if read.block_ms is None or not client.may_block:
        return NULL_ARRAY
    read.ids = [id_text(given) if raw == b"$" else raw for raw, given in zip(read.ids, after, strict=True)]
    client.model.waiters.block(client, read, after)
    return SILENCE


def resolve(client: Client, read: Read) -> list[int]:
    """The ids after which to read; the highest there is stands for `>`.

    Raises:
        ReplyError: a key holds something else, the group is missing, or an id is none.
    """
    after = []
    for key, raw in zip(read.keys, read.ids, strict=True):
        stream = client.keyspace.typed(key, Stream)
        if read.group is not None:
            find_group(client, key, read.group, _NO_GROUP)
        after.append(_after(client, read, raw, stream))
    return after


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


def serve(client: Client, read: Read, after: list[int]) -> list[list[Any]]:
    """Key and entries of each stream that has some; also of one whose history was asked for, entries or not."""
    found = []
    for key, last in zip(read.keys, after, strict=True):
        if read.group is None:
            entries = _from_stream(client.keyspace.typed(key, Stream), read, last)
        else:
            entries = _from_group(client, read, find_group(client, key, read.group, _NO_GROUP), last)
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
        _deliver(client, read, place, consumer) if fresh else _history(client, place.stream, consumer, last, read.count)
    )


def serve_group(client: Client, read: Read, place: Place) -> list[Any]:
    """Entries that the group was not given before; the reader becomes a consumer whether there are any or not."""
    return _deliver(client, read, place, _reader(client, read, place))


def _reader(client: Client, read: Read, place: Place) -> Consumer:
    """The reading consumer, seen just now."""
    if read.noack and read.consumer not in place.group.consumers:
        # Otherwise the claims that follow make it on replay.
        client.record(b"XGROUP", b"CREATECONSUMER", place.key, place.name, read.consumer)
    consumer = place.group.consumer(read.consumer, client.model.now_ms)
    consumer.seen_ms = client.model.now_ms
    return consumer


def _deliver(client: Client, read: Read, place: Place, consumer: Consumer) -> list[Any]:
    stream, group = place.stream, place.group
    entries = stream.entries.between(group.last_id + 1, ID_MAX, read.count)
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
