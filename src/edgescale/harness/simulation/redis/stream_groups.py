"""Commands on consumer groups: make, acknowledge, look at what is pending."""

from dataclasses import dataclass

from edgescale.harness.simulation.redis.arguments import (
    NOT_AN_INTEGER,
    SYNTAX,
    any_id,
    id_text,
    integer,
    range_end,
    range_start,
    stream_id,
)
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import DENYOOM, LOADING, STALE, WRITE, command
from edgescale.harness.simulation.redis.replies import NULL_ARRAY, OK, Reply, ReplyError
from edgescale.harness.simulation.redis.stream import Group, Pending, Stream

_NO_GROUP = b"NOGROUP No such key '%b' or consumer group '%b'"
_NO_STREAM = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM "
    b"option to create an empty stream automatically."
)


@dataclass(slots=True)
class Place:
    """A group, and the names and the stream that lead to it."""

    key: bytes
    stream: Stream
    name: bytes
    group: Group


def find_group(client: Client, key: bytes, name: bytes, problem: bytes = _NO_GROUP) -> Place:
    """The group of this name.

    Raises:
        ReplyError: it or its stream is missing, which `problem` says of key and name; or the key holds something else.
    """
    stream = client.keyspace.typed(key, Stream)
    group = None if stream is None else stream.groups.get(name)
    if stream is None or group is None:
        raise ReplyError(problem, key, name)
    return Place(key, stream, name, group)


def record_claim(client: Client, place: Place, entry: int, held: Pending) -> None:
    """Note who holds an entry now, as the one command that says all of it."""
    client.record(
        *(b"XCLAIM", place.key, place.name, held.consumer.name, b"0", id_text(entry)),
        *(b"TIME", b"%d" % held.delivered_ms, b"RETRYCOUNT", b"%d" % held.deliveries),
        *(b"FORCE", b"JUSTID", b"LASTID", id_text(place.group.last_id)),
    )


def record_progress(client: Client, place: Place) -> None:
    """Note how far a group has come."""
    read = -1 if place.group.entries_read is None else place.group.entries_read
    last_id = id_text(place.group.last_id)
    client.record(b"XGROUP", b"SETID", place.key, place.name, last_id, b"ENTRIESREAD", b"%d" % read)


@command("xgroup|create", -5, WRITE | DENYOOM)
def create(client: Client, argv: list[bytes]) -> Reply:
    """XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]: the group, and the stream if asked."""
    make, entries_read = _options(argv, may_make=True)
    stream = client.keyspace.typed(argv[2], Stream)
    if stream is None and not make:
        raise ReplyError(_NO_STREAM)
    last_id = stream_id(argv[4]) if argv[4] != b"$" else stream.last_id if stream else 0
    if stream is None:
        stream = Stream()
        client.keyspace.put(argv[2], stream)
    if argv[3] in stream.groups:
        raise ReplyError(b"BUSYGROUP Consumer Group name already exists")
    stream.groups[argv[3]] = Group(last_id, entries_read)
    client.record(b"XGROUP", b"CREATE", *argv[2:])
    return OK


def _options(argv: list[bytes], *, may_make: bool) -> tuple[bool, int | None]:
    make, entries_read = False, None
    words = iter(argv[5:])
    for word in words:
        if word.upper() == b"MKSTREAM" and may_make:
            make = True
        elif word.upper() == b"ENTRIESREAD" and (value := next(words, None)) is not None:
            read = integer(value)
            if read < -1:
                raise ReplyError(b"ERR value for ENTRIESREAD must be positive or -1")
            entries_read = None if read < 0 else read
        else:
            raise wrong_syntax(argv)
    return make, entries_read


def wrong_syntax(argv: list[bytes]) -> ReplyError:
    """What is said of the words after a subcommand."""
    problem = b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP."
    return ReplyError(problem, argv[1], argv[0].upper())


def _required(client: Client, key: bytes, name: bytes) -> tuple[Stream, Group]:
    stream = client.keyspace.typed(key, Stream)
    if stream is None:
        raise ReplyError(_NO_STREAM)
    group = stream.groups.get(name)
    if group is None:
        raise ReplyError(b"NOGROUP No such consumer group '%b' for key name '%b'", name, key)
    return stream, group


@command("xgroup|setid", -5, WRITE)
def setid(client: Client, argv: list[bytes]) -> Reply:
    """XGROUP SETID key group id|$ [ENTRIESREAD n]: what counts as delivered."""
    _, entries_read = _options(argv, may_make=False)
    stream, group = _required(client, argv[2], argv[3])
    group.last_id = stream.last_id if argv[4] == b"$" else any_id(argv[4])
    group.entries_read = entries_read
    client.record(b"XGROUP", b"SETID", *argv[2:4], id_text(group.last_id), *argv[5:])
    return OK


@command("xgroup|destroy", 4, WRITE)
def destroy(client: Client, argv: list[bytes]) -> Reply:
    """XGROUP DESTROY key group: 1 when it was there; those who wait for it are told."""
    stream = client.keyspace.typed(argv[2], Stream)
    if stream is None:
        raise ReplyError(_NO_STREAM)
    if stream.groups.pop(argv[3], None) is None:
        return 0
    client.record(b"XGROUP", b"DESTROY", *argv[2:])
    client.wake(argv[2])
    return 1


@command("xgroup|createconsumer", 5, WRITE | DENYOOM)
def createconsumer(client: Client, argv: list[bytes]) -> Reply:
    """XGROUP CREATECONSUMER key group consumer: 1 when it is new."""
    _, group = _required(client, argv[2], argv[3])
    if argv[4] in group.consumers:
        return 0
    group.consumer(argv[4], client.model.now_ms)
    client.record(b"XGROUP", b"CREATECONSUMER", *argv[2:])
    return 1


@command("xgroup|delconsumer", 5, WRITE)
def delconsumer(client: Client, argv: list[bytes]) -> Reply:
    """XGROUP DELCONSUMER key group consumer: how many entries it held, which nobody holds now."""
    _, group = _required(client, argv[2], argv[3])
    known = argv[4] in group.consumers
    held = group.remove(argv[4])
    if known:
        client.record(b"XGROUP", b"DELCONSUMER", *argv[2:])
    return held


@command("xgroup|help", 2, LOADING | STALE)
def help_(_client: Client, _argv: list[bytes]) -> Reply:
    """XGROUP HELP: left to the manual."""
    return []


@command("xack", -4, WRITE)
def xack(client: Client, argv: list[bytes]) -> Reply:
    """XACK key group id ...: how many entries were pending; anyone may acknowledge."""
    stream = client.keyspace.typed(argv[1], Stream)
    group = None if stream is None else stream.groups.get(argv[2])
    if group is None:
        return 0
    entries = [stream_id(raw) for raw in argv[3:]]
    acknowledged = sum(group.release(entry) for entry in entries)
    if acknowledged:
        client.record(*argv)
    return acknowledged


@command("xpending", -3)
def xpending(client: Client, argv: list[bytes]) -> Reply:
    """XPENDING key group [[IDLE min-idle] start end count [consumer]]: a summary, or one row for each entry."""
    if len(argv) == 3:  # noqa: PLR2004 - name, key and group
        return _summary(find_group(client, argv[1], argv[2]).group)
    if not 6 <= len(argv) <= 9:  # noqa: PLR2004 - three to six words more
        raise ReplyError(SYNTAX)
    at, idle_ms = 3, 0
    if argv[3].upper() == b"IDLE":
        idle_ms = integer(argv[4], NOT_AN_INTEGER)
        if len(argv) < 8:  # noqa: PLR2004 - two words more
            raise ReplyError(SYNTAX)
        at = 5
    count = max(integer(argv[at + 2]), 0)
    first, last = range_start(argv[at]), range_end(argv[at + 1])
    group = find_group(client, argv[1], argv[2]).group
    name = argv[at + 3] if at + 3 < len(argv) else None
    return _rows(client, group, first, last, count, name, idle_ms)


def _summary(group: Group) -> Reply:
    if not group.pending.keys:
        return [0, None, None, NULL_ARRAY]
    owners = [
        [name, b"%d" % len(consumer.pending)] for name, consumer in sorted(group.consumers.items()) if consumer.pending
    ]
    return [len(group.pending), id_text(group.pending.keys[0]), id_text(group.pending.keys[-1]), owners]


def _rows(
    client: Client, group: Group, first: int, last: int, count: int, name: bytes | None, idle_ms: int
) -> list[list[bytes | int]]:
    pending = group.pending
    if name is not None:
        consumer = group.consumers.get(name)
        if consumer is None:
            return []
        pending = consumer.pending
    now_ms = client.model.now_ms
    rows: list[list[bytes | int]] = []
    for entry in pending.between(first, last, 0 if idle_ms else count) if count else ():
        held = pending.values[entry]
        idle = now_ms - held.delivered_ms
        if idle_ms and idle < idle_ms:
            continue
        rows.append([id_text(entry), held.consumer.name, max(idle, 0), held.deliveries])
        if len(rows) == count:
            break
    return rows
