"""Commands on strings."""

from edgescale.harness.simulation.redis.arguments import INT64_MAX, INT64_MIN, SYNTAX, integer
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import DENYOOM, WRITE, command
from edgescale.harness.simulation.redis.replies import OK, Reply, ReplyError

_UNITS_MS = {b"EX": 1000, b"PX": 1}
_LIFETIMES = {b"EX", b"PX", b"PXAT"}


@command("get", 2)
def get(client: Client, argv: list[bytes]) -> Reply:
    """GET key: its value."""
    return client.keyspace.typed(argv[1], bytes)


@command("set", -3, WRITE | DENYOOM)
def set_(client: Client, argv: list[bytes]) -> Reply:
    """SET key value [NX | XX] [EX s | PX ms | PXAT ms | KEEPTTL]; the options GET and EXAT are not modelled."""
    condition, lifetime = _set_options(argv)
    key, value = argv[1], argv[2]
    deadline_ms = _deadline_ms(client, lifetime)
    exists = client.keyspace.find(key) is not None
    if (condition == b"NX" and exists) or (condition == b"XX" and not exists):
        return None
    client.keyspace.put(key, value)
    if lifetime != (b"KEEPTTL", b""):
        client.keyspace.deadlines.pop(key, None)
    if deadline_ms is None:
        client.record(*argv)
    else:
        client.keyspace.deadlines[key] = deadline_ms
        client.record(b"SET", key, value, b"PXAT", b"%d" % deadline_ms)
    return OK


def _set_options(argv: list[bytes]) -> tuple[bytes, tuple[bytes, bytes]]:
    """The condition, and what is said of the time to live; empty where nothing is said."""
    condition, lifetime = b"", (b"", b"")
    words = iter(argv[3:])
    for word in words:
        option = word.upper()
        if option in {b"NX", b"XX"} and condition in {b"", option}:
            condition = option
        elif option in _LIFETIMES and lifetime[0] in {b"", option} and (value := next(words, None)) is not None:
            lifetime = (option, value)
        elif option == b"KEEPTTL" and lifetime[0] in {b"", option}:
            lifetime = (option, b"")
        else:
            raise ReplyError(SYNTAX)
    return condition, lifetime


def _deadline_ms(client: Client, lifetime: tuple[bytes, bytes]) -> int | None:
    option, raw = lifetime
    if option in {b"", b"KEEPTTL"}:
        return None
    value = integer(raw)
    unit_ms = _UNITS_MS.get(option, 1)
    base_ms = client.model.now_ms if option in _UNITS_MS else 0
    if value <= 0 or value > (INT64_MAX - base_ms) // unit_ms:
        raise ReplyError(b"ERR invalid expire time in 'set' command")
    return base_ms + value * unit_ms


@command("incr", 2, WRITE | DENYOOM)
def incr(client: Client, argv: list[bytes]) -> Reply:
    """INCR key: the new value."""
    return _increment(client, argv, 1)


@command("incrby", 3, WRITE | DENYOOM)
def incrby(client: Client, argv: list[bytes]) -> Reply:
    """INCRBY key increment: the new value."""
    return _increment(client, argv, integer(argv[2]))


def _increment(client: Client, argv: list[bytes], increment: int) -> Reply:
    raw = client.keyspace.typed(argv[1], bytes)
    value = integer(b"0" if raw is None else raw) + increment
    if not INT64_MIN <= value <= INT64_MAX:
        raise ReplyError(b"ERR increment or decrement would overflow")
    client.keyspace.put(argv[1], b"%d" % value)
    client.record(*argv)
    return value
