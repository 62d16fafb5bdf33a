"""Commands on keys of any type."""

from edgescale.harness.simulation.redis.arguments import INT64_MAX, SYNTAX, glob, integer, unsigned
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import WRITE, command
from edgescale.harness.simulation.redis.keyspace import TYPE_NAMES
from edgescale.harness.simulation.redis.replies import OK, Reply, ReplyError, Status

_SECOND_MS = 1000
_TYPES = {b"string", b"list", b"set", b"zset", b"hash", b"stream"}


@command("exists", -2)
def exists(client: Client, argv: list[bytes]) -> Reply:
    """EXISTS key ...: how many are there, repeated ones counted again."""
    return sum(client.keyspace.find(key) is not None for key in argv[1:])


@command("del", -2, WRITE)
@command("unlink", -2, WRITE)
def delete(client: Client, argv: list[bytes]) -> Reply:
    """DEL key ...: how many were there."""
    gone = [key for key in argv[1:] if client.keyspace.find(key) is not None and client.keyspace.remove(key)]
    if gone:
        client.record(b"DEL", *gone)
    return len(gone)


@command("type", 2)
def type_(client: Client, argv: list[bytes]) -> Reply:
    """TYPE key: its type's name, or none."""
    value = client.keyspace.find(argv[1])
    return Status(b"none" if value is None else TYPE_NAMES[type(value)])


@command("expire", -3, WRITE)
def expire(client: Client, argv: list[bytes]) -> Reply:
    """EXPIRE key seconds: 1 when the key is there."""
    return _expire(client, argv, unit_ms=_SECOND_MS, base_ms=client.model.now_ms)


@command("pexpire", -3, WRITE)
def pexpire(client: Client, argv: list[bytes]) -> Reply:
    """PEXPIRE key milliseconds: 1 when the key is there."""
    return _expire(client, argv, unit_ms=1, base_ms=client.model.now_ms)


@command("pexpireat", -3, WRITE)
def pexpireat(client: Client, argv: list[bytes]) -> Reply:
    """PEXPIREAT key milliseconds-since-1970: 1 when the key is there."""
    return _expire(client, argv, unit_ms=1, base_ms=0)


def _expire(client: Client, argv: list[bytes], *, unit_ms: int, base_ms: int) -> Reply:
    if len(argv) > 3:  # noqa: PLR2004 - name, key and time
        raise ReplyError(b"ERR Unsupported option %b", argv[3])
    key, value = argv[1], integer(argv[2])
    # The same bounds as the server's, so that neither the product nor the sum leaves 64 bits.
    if abs(value) > INT64_MAX // unit_ms or value * unit_ms > INT64_MAX - base_ms:
        raise ReplyError(b"ERR invalid expire time in '%b' command" % argv[0].lower())
    if client.keyspace.find(key) is None:
        return 0
    deadline_ms = base_ms + value * unit_ms
    if deadline_ms <= client.model.now_ms and not client.replays:
        client.keyspace.remove(key)
        client.record(b"DEL", key)
    else:
        client.keyspace.deadlines[key] = deadline_ms
        client.record(b"PEXPIREAT", key, b"%d" % deadline_ms)
    return 1


@command("persist", 2, WRITE)
def persist(client: Client, argv: list[bytes]) -> Reply:
    """PERSIST key: 1 when it had a time to live."""
    if client.keyspace.find(argv[1]) is None or client.keyspace.deadlines.pop(argv[1], None) is None:
        return 0
    client.record(*argv)
    return 1


@command("pttl", 2)
def pttl(client: Client, argv: list[bytes]) -> Reply:
    """PTTL key: milliseconds left, -1 for ever, -2 when there is no key."""
    return _left_ms(client, argv[1])


def _left_ms(client: Client, key: bytes) -> int:
    if client.keyspace.find(key) is None:
        return -2
    deadline_ms = client.keyspace.deadlines.get(key)
    return -1 if deadline_ms is None else max(deadline_ms - client.model.now_ms, 0)


@command("ttl", 2)
def ttl(client: Client, argv: list[bytes]) -> Reply:
    """TTL key: seconds left, rounded; otherwise as PTTL."""
    left_ms = _left_ms(client, argv[1])
    return left_ms if left_ms < 0 else (left_ms + _SECOND_MS // 2) // _SECOND_MS


@command("keys", 2)
def keys(client: Client, argv: list[bytes]) -> Reply:
    """KEYS pattern: the keys that match it; the server's order is arbitrary, this one's is that of their making."""
    pattern = glob(argv[1])
    return [key for key in client.keyspace.live_keys() if pattern.fullmatch(key)]


@command("scan", -2)
def scan(client: Client, argv: list[bytes]) -> Reply:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]: all at once, as the server may."""
    modern = client.model.flavour.modern
    # To the C library, by which servers went before Redis 7.2, nothing at all is a number: 0.
    if argv[1] or modern:
        unsigned(argv[1], b"ERR invalid cursor")
    options = _scan_options(argv[2:], modern=modern)
    pattern, kind = glob(options.get(b"MATCH", b"*")), options.get(b"TYPE", b"").lower()
    found = [key for key in client.keyspace.live_keys() if pattern.fullmatch(key)]
    return [b"0", [key for key in found if kind in {b"", TYPE_NAMES[type(client.keyspace.values[key])]}]]


def _scan_options(words: list[bytes], *, modern: bool) -> dict[bytes, bytes]:
    options = {}
    rest = iter(words)
    for word in rest:
        option, value = word.upper(), next(rest, None)
        if option not in {b"MATCH", b"COUNT", b"TYPE"} or value is None:
            raise ReplyError(SYNTAX)
        if option == b"COUNT" and integer(value) < 1:
            raise ReplyError(SYNTAX)
        if option == b"TYPE" and modern and value.lower() not in _TYPES:
            raise ReplyError(b"ERR unknown type name '%b'", value)
        options[option] = value
    return options


@command("dbsize", 1)
def dbsize(client: Client, _argv: list[bytes]) -> Reply:
    """DBSIZE: how many keys. The server also counts keys whose time has come and that nobody touched yet."""
    return len(client.keyspace.live_keys())


@command("flushall", -1, WRITE)
@command("flushdb", -1, WRITE)
def flushall(client: Client, argv: list[bytes]) -> Reply:
    """FLUSHALL [ASYNC | SYNC]: remove everything."""
    if len(argv) > 2 or (argv[1:] and argv[1].upper() not in {b"ASYNC", b"SYNC"}):  # noqa: PLR2004 - name and mode
        raise ReplyError(SYNTAX)
    client.keyspace.clear()
    client.record(b"FLUSHALL")
    return OK
