"""Commands on streams themselves: add, read by range, delete, trim."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgescale.harness.simulation.redis.arguments import (
    ID_MAX,
    SEQUENCE_MAX,
    SYNTAX,
    id_text,
    integer,
    range_end,
    range_start,
    stream_id,
)
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import DENYOOM, WRITE, command, wrong_arity
from edgescale.harness.simulation.redis.replies import NULL_ARRAY, OK, Reply, ReplyError
from edgescale.harness.simulation.redis.stream import Stream

_NO_KEY = b"ERR no such key"


@dataclass(slots=True)
class _Trim:
    """What XADD and XTRIM may say before the id: how far to trim, and whether to make the stream."""

    maxlen: int | None = None
    minid: int | None = None
    limit: int | None = None
    make: bool = True

    @property
    def given(self) -> bool:
        return self.maxlen is not None or self.minid is not None

    def apply(self, stream: Stream) -> int:
        """Trim, and say how many entries went."""
        keys = stream.entries.keys
        if self.maxlen is not None:
            excess = keys[: max(len(keys) - self.maxlen, 0)]
        elif self.minid is not None:
            excess = stream.entries.between(0, self.minid - 1)
        else:
            return 0
        return sum(stream.drop(entry) for entry in excess)


def _trimming(argv: list[bytes], *, adding: bool) -> tuple[_Trim, int]:
    """The options from the third word on, and where the first word after them is."""
    trim = _Trim()
    at = 2
    while at < len(argv):
        option = argv[at].upper()
        more = at + 1 < len(argv)
        if option in {b"MAXLEN", b"MINID"} and more:
            at = _bound(trim, argv, at)
        elif option == b"LIMIT" and more:
            trim.limit = integer(argv[at + 1])
            if trim.limit < 0:
                raise ReplyError(b"ERR The LIMIT argument must be >= 0.")
            at += 2
        elif option == b"NOMKSTREAM" and adding:
            trim.make = False
            at += 1
        elif adding:
            break
        else:
            raise ReplyError(SYNTAX)
    return trim, at


def _check_trimming(trim: _Trim, *, adding: bool) -> None:
    """What the server checks when it has read all words up to the id."""
    if trim.limit and not trim.given:
        raise ReplyError(b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
    if not adding and not trim.given:
        raise ReplyError(b"ERR syntax error, XTRIM must be called with a trimming strategy")
    if trim.limit is not None:
        raise ReplyError(b"ERR syntax error, LIMIT cannot be used without the special ~ option")


def _bound(trim: _Trim, argv: list[bytes], at: int) -> int:
    """Read MAXLEN or MINID; says where the next option is."""
    if trim.given:
        raise ReplyError(b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
    value = at + 1
    if argv[value] == b"~" and value + 1 < len(argv):
        raise ReplyError(b"ERR not modelled: trimming whole nodes only")
    if argv[value] == b"=" and value + 1 < len(argv):
        value += 1
    if argv[at].upper() == b"MAXLEN":
        trim.maxlen = integer(argv[value])
        if trim.maxlen < 0:
            raise ReplyError(b"ERR The MAXLEN argument must be >= 0.")
    else:
        trim.minid = stream_id(argv[value])
    return value + 1


@command("xadd", -5, WRITE | DENYOOM)
def xadd(client: Client, argv: list[bytes]) -> Reply:
    """XADD key [NOMKSTREAM] [MAXLEN | MINID [=] threshold] id field value ...: the entry's id."""
    trim, at = _trimming(argv, adding=True)
    given = argv[at] if at < len(argv) else b"*"
    requested = None if given == b"*" else _requested(given)
    _check_trimming(trim, adding=True)
    fields = argv[at + 1 :]
    if len(fields) < 2 or len(fields) % 2:  # noqa: PLR2004 - a field and its value
        raise ReplyError(wrong_arity("xadd"))
    if requested == 0 and not given.endswith(b"*"):
        raise ReplyError(b"ERR The ID specified in XADD must be greater than 0-0")
    stream = client.keyspace.typed(argv[1], Stream)
    if stream is None:
        if not trim.make:
            return None
        # The server makes the stream first, too: it stays behind when the id is refused below.
        stream = Stream()
        client.keyspace.put(argv[1], stream)
    entry = _new_id(client, stream, given, requested)
    stream.add(entry, fields)
    trim.apply(stream)
    text = id_text(entry)
    client.record(*argv[:at], text, *fields)
    client.wake(argv[1])
    return text


def _requested(raw: bytes) -> int:
    milliseconds, dash, sequence = raw.partition(b"-")
    if dash and sequence == b"*":
        return stream_id(milliseconds)
    return stream_id(raw)


def _new_id(client: Client, stream: Stream, raw: bytes, requested: int | None) -> int:
    if stream.last_id == ID_MAX:
        raise ReplyError(b"ERR The stream has exhausted the last possible ID, unable to add more items")
    if requested is None:
        return stream.next_id(client.model.now_ms)
    if raw.endswith(b"-*") and requested <= stream.last_id <= requested | SEQUENCE_MAX:
        entry = stream.last_id + 1
        if entry > requested | SEQUENCE_MAX:
            entry = 0
    else:
        entry = requested
    if entry <= stream.last_id:
        raise ReplyError(b"ERR The ID specified in XADD is equal or smaller than the target stream top item")
    return entry


@command("xlen", 2)
def xlen(client: Client, argv: list[bytes]) -> Reply:
    """XLEN key: how many entries."""
    stream = client.keyspace.typed(argv[1], Stream)
    return 0 if stream is None else len(stream.entries)


@command("xrange", -4)
def xrange(client: Client, argv: list[bytes]) -> Reply:
    """XRANGE key start end [COUNT count]: entries from the oldest on."""
    return _range(client, argv, argv[2], argv[3], reverse=False)


@command("xrevrange", -4)
def xrevrange(client: Client, argv: list[bytes]) -> Reply:
    """XREVRANGE key end start [COUNT count]: entries from the newest on."""
    return _range(client, argv, argv[3], argv[2], reverse=True)


def _range(client: Client, argv: list[bytes], start: bytes, end: bytes, *, reverse: bool) -> Reply:
    first, last = range_start(start), range_end(end)
    count = -1
    words = iter(argv[4:])
    for word in words:
        value = next(words, None)
        if word.upper() != b"COUNT" or value is None:
            raise ReplyError(SYNTAX)
        count = max(integer(value), 0)
    stream = client.keyspace.typed(argv[1], Stream)
    if stream is None:
        return []
    if count == 0:
        return NULL_ARRAY
    between = stream.entries.between_reversed if reverse else stream.entries.between
    return list(shown(stream, between(first, last, max(count, 0))))


def shown(stream: Stream, entries: list[int]) -> Iterator[list[Any]]:
    """Entries as replies show them: id, then fields and values in turn."""
    values = stream.entries.values
    for entry in entries:
        yield [id_text(entry), values[entry]]


@command("xdel", -3, WRITE)
def xdel(client: Client, argv: list[bytes]) -> Reply:
    """XDEL key id ...: how many entries were there."""
    stream = client.keyspace.typed(argv[1], Stream)
    if stream is None:
        return 0
    entries = [stream_id(raw) for raw in argv[2:]]
    deleted = [entry for entry in entries if stream.drop(entry)]
    if deleted:
        stream.max_deleted_id = max(stream.max_deleted_id, *deleted)
        client.record(*argv)
    return len(deleted)


@command("xtrim", -4, WRITE)
def xtrim(client: Client, argv: list[bytes]) -> Reply:
    """XTRIM key MAXLEN | MINID [=] threshold: how many entries went."""
    trim, _ = _trimming(argv, adding=False)
    _check_trimming(trim, adding=False)
    stream = client.keyspace.typed(argv[1], Stream)
    if stream is None:
        return 0
    trimmed = trim.apply(stream)
    if trimmed:
        client.record(*argv)
    return trimmed


@command("xsetid", -3, WRITE | DENYOOM)
def xsetid(client: Client, argv: list[bytes]) -> Reply:
    """XSETID key last-id: what the next id must be above; its options are not modelled."""
    last_id = stream_id(argv[2])
    if len(argv) > 3:  # noqa: PLR2004 - name, key and id
        raise ReplyError(SYNTAX)
    stream = client.keyspace.typed(argv[1], Stream)
    if stream is None:
        raise ReplyError(_NO_KEY)
    if client.model.flavour.modern and last_id < stream.max_deleted_id:
        raise ReplyError(b"ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if last_id < stream.top_id:
        raise ReplyError(b"ERR The ID specified in XSETID is smaller than the target stream top item")
    stream.last_id = last_id
    client.record(*argv)
    return OK
