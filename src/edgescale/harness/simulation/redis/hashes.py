"""Commands on hashes."""

from edgescale.harness.simulation.redis.arguments import INT64_MAX, INT64_MIN, integer
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import DENYOOM, WRITE, command, wrong_arity
from edgescale.harness.simulation.redis.keyspace import Hash
from edgescale.harness.simulation.redis.replies import Mapping, Reply, ReplyError


def _writable(client: Client, key: bytes) -> Hash:
    """The hash, made where there is none."""
    found = client.keyspace.typed(key, dict)
    if found is None:
        found = {}
        client.keyspace.put(key, found)
    return found


@command("hset", -4, WRITE | DENYOOM)
def hset(client: Client, argv: list[bytes]) -> Reply:
    """HSET key field value ...: how many fields are new."""
    if len(argv) % 2:
        raise ReplyError(wrong_arity("hset"))
    fields = _writable(client, argv[1])
    before = len(fields)
    fields.update(zip(argv[2::2], argv[3::2], strict=True))
    client.record(*argv)
    return len(fields) - before


@command("hget", 3)
def hget(client: Client, argv: list[bytes]) -> Reply:
    """HGET key field: its value."""
    fields = client.keyspace.typed(argv[1], dict)
    return None if fields is None else fields.get(argv[2])


@command("hmget", -3)
def hmget(client: Client, argv: list[bytes]) -> Reply:
    """HMGET key field ...: their values."""
    fields = client.keyspace.typed(argv[1], dict)
    if fields is None:
        return [None] * (len(argv) - 2)
    return [fields.get(field) for field in argv[2:]]


@command("hgetall", 2)
def hgetall(client: Client, argv: list[bytes]) -> Reply:
    """HGETALL key: fields and values, in the order the fields were made."""
    fields = client.keyspace.typed(argv[1], dict) or {}
    return Mapping([item for pair in fields.items() for item in pair])


@command("hexists", 3)
def hexists(client: Client, argv: list[bytes]) -> Reply:
    """HEXISTS key field: 1 or 0."""
    return int(argv[2] in (client.keyspace.typed(argv[1], dict) or {}))


@command("hlen", 2)
def hlen(client: Client, argv: list[bytes]) -> Reply:
    """HLEN key: how many fields."""
    return len(client.keyspace.typed(argv[1], dict) or {})


@command("hdel", -3, WRITE)
def hdel(client: Client, argv: list[bytes]) -> Reply:
    """HDEL key field ...: how many were there; the key goes with its last field."""
    fields = client.keyspace.typed(argv[1], dict)
    if fields is None:
        return 0
    removed = sum(fields.pop(field, None) is not None for field in argv[2:])
    if not fields:
        client.keyspace.remove(argv[1])
    if removed:
        client.record(*argv)
    return removed


@command("hincrby", 4, WRITE | DENYOOM)
def hincrby(client: Client, argv: list[bytes]) -> Reply:
    """HINCRBY key field increment: the new value."""
    increment = integer(argv[3])
    fields = client.keyspace.typed(argv[1], dict) or {}
    value = integer(fields.get(argv[2], b"0"), b"ERR hash value is not an integer") + increment
    if not INT64_MIN <= value <= INT64_MAX:
        raise ReplyError(b"ERR increment or decrement would overflow")
    _writable(client, argv[1])[argv[2]] = b"%d" % value
    client.record(*argv)
    return value
