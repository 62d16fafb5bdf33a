"""CONFIG: the few settings that are modelled. Source: CONFIG SET, and the server's configuration file."""

import re
from collections.abc import Callable
from typing import TypeAlias

from edgescale.harness.simulation.redis.arguments import SYNTAX, glob
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import ALWAYS, command
from edgescale.harness.simulation.redis.durability import Policy
from edgescale.harness.simulation.redis.replies import OK, Mapping, Reply, ReplyError

Change: TypeAlias = Callable[[], None]
_MEMORY = re.compile(rb"([0-9]*)([kmg]?)(b?)", re.IGNORECASE)
_DECIMAL = {b"": 1, b"k": 10**3, b"m": 10**6, b"g": 10**9}
_BINARY = {b"": 1, b"k": 1 << 10, b"m": 1 << 20, b"g": 1 << 30}
_SYNC_POLICIES: dict[bytes, Policy] = {b"everysec": "everysec", b"always": "always", b"no": "no"}
# Those that evict are taken, for the services to refuse them; nothing is evicted here.
_MEMORY_POLICIES = [
    *(b"volatile-lru", b"volatile-lfu", b"volatile-random", b"volatile-ttl"),
    *(b"allkeys-lru", b"allkeys-lfu", b"allkeys-random", b"noeviction"),
]


class _Unfit(Exception):
    """A value that a setting cannot have; the argument says why."""


def _one_of(value: bytes, names: list[bytes]) -> bytes:
    if value.lower() not in names:
        raise _Unfit(b"argument(s) must be one of the following: " + b", ".join(names))
    return value.lower()


def _maxmemory(client: Client, value: bytes) -> Change:
    found = _MEMORY.fullmatch(value)
    if found is None:
        raise _Unfit(b"argument must be a memory value")
    multiples = _BINARY if found[3] else _DECIMAL
    limit_bytes = int(found[1] or 0) * multiples[found[2].lower()]
    return lambda: client.model.faults.change(maxmemory_bytes=limit_bytes)


def _maxmemory_policy(client: Client, value: bytes) -> Change:
    policy = _one_of(value, _MEMORY_POLICIES).decode()
    return lambda: setattr(client.model, "maxmemory_policy", policy)


def _appendonly(client: Client, value: bytes) -> Change:
    if value.lower() not in {b"yes", b"no"}:
        raise _Unfit(b"argument must be 'yes' or 'no'")
    return lambda: client.model.append_only(enabled=value.lower() == b"yes")


def _appendfsync(client: Client, value: bytes) -> Change:
    policy = _SYNC_POLICIES[_one_of(value, list(_SYNC_POLICIES))]
    return lambda: setattr(client.model.log, "policy", policy)


_SETTERS: dict[bytes, Callable[[Client, bytes], Change]] = {
    b"maxmemory": _maxmemory,
    b"maxmemory-policy": _maxmemory_policy,
    b"appendonly": _appendonly,
    b"appendfsync": _appendfsync,
}


@command("config|get", -3, ALWAYS)
def config_get(client: Client, argv: list[bytes]) -> Reply:
    """CONFIG GET pattern ...: the settings that are modelled."""
    model = client.model
    settings = {
        b"maxmemory": b"%d" % model.faults.maxmemory_bytes,
        b"maxmemory-policy": model.maxmemory_policy.encode(),
        b"appendonly": b"yes" if model.log.enabled else b"no",
        b"appendfsync": model.log.policy.encode(),
    }
    patterns = [glob(word.lower()) for word in argv[2:]]
    found = [pair for pair in settings.items() if any(pattern.fullmatch(pair[0]) for pattern in patterns)]
    return Mapping([item for pair in found for item in pair])


@command("config|set", -4, ALWAYS)
def config_set(client: Client, argv: list[bytes]) -> Reply:
    """CONFIG SET name value ...: all of it or, when anything is wrong, nothing."""
    if len(argv) % 2:
        raise ReplyError(SYNTAX)
    names, values = [name.lower() for name in argv[2::2]], argv[3::2]
    for at, name in enumerate(names):
        if name not in _SETTERS:
            raise ReplyError(b"ERR not modelled: CONFIG SET %b" % name)
        if name in names[:at]:
            raise _failed(name, b"duplicate parameter")
    changes = [_change(client, name, value) for name, value in zip(names, values, strict=True)]
    for change in changes:
        change()
    return OK


def _change(client: Client, name: bytes, value: bytes) -> Change:
    try:
        return _SETTERS[name](client, value)
    except _Unfit as problem:
        raise _failed(name, problem.args[0]) from None


def _failed(name: bytes, why: bytes) -> ReplyError:
    return ReplyError(b"ERR CONFIG SET failed (possibly related to argument '%b') - %b" % (name, why))


@command("config|resetstat", 2, ALWAYS)
def config_resetstat(client: Client, _argv: list[bytes]) -> Reply:
    """CONFIG RESETSTAT: how often commands were called counts from 0 again."""
    client.model.calls.clear()
    return OK
