"""Commands as EdgeScale and its tests could send them, and as nobody should; chosen by whoever chooses."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from hypothesis import strategies as st

from edgescale.broker.script import Script
from tests.redis_twins import SESSIONS, Ref, Word

T = TypeVar("T")
Command: TypeAlias = list[Word]
NAMES = (
    "submit",
    "settle",
    "renew",
    "give_back",
    "reclaim",
    "unheard",
    "lookup",
    "locate",
    "cancel",
    "beat",
    "retire",
    "letters",
    "replay",
)
SCRIPTS = {name: Script.load(name) for name in NAMES}
SHORT_MS = 20
FAR_PAST, FAR_FUTURE = b"1000", b"99999999999999"


class Chooser(Protocol):
    """Where the choices come from."""

    def pick(self, options: Sequence[T]) -> T:
        """One of them; earlier ones are simpler."""

    def number(self, low: int, high: int) -> int:
        """A number between low and high, both included."""


class Dice:
    """Choices by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options))]

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


class Drawn:
    """Choices by Hypothesis, which can take them back."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        return self._draw(st.sampled_from(options))

    def number(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@st.composite
def drawn(draw: st.DrawFn, make: Callable[[Chooser], T]) -> T:
    """What somebody makes of Hypothesis' choices."""
    return make(Drawn(draw))


STREAMS = [b"s0"] * 6 + [b"s1"]
HASHES, ZSETS, STRINGS = [b"h0", b"h1"], [b"z0"], [b"k0", b"k1"]
TASKS, AGENTS = [b"t0", b"t1", b"t2"], [b"a0", b"a1"]
KEYS = [b"s0", b"s1", b"h0", b"h1", b"z0", b"k0", b"k1", b"t0", b"t1", b"none"]
GROUPS, CONSUMERS = [b"g0"] * 6 + [b"g1"], [b"c0", b"c0", b"c1", b"c2"]
FIELDS, VALUES = [b"f0", b"f1", b"f2"], [b"", b"v", b"1", b"-7", b"9223372036854775807", b"1.5", b"\xff\x00\r\n"]
# Of those who wait, and of their chain; one for all.
CHAIN = [b"waiting", b"chain"]
CHANNELS, PATTERNS = [b"n0", b"n1"], [b"n[01]", b"[^n]*", b"?", b"x\\*"]
SCORES = [b"0", b"1", b"2.5", b"-3", b"1e20", b"0.1", b"inf", b"1700000000000"]


def number(c: Chooser, low: int, high: int) -> bytes:
    return b"%d" % c.number(low, high)


def wrong(c: Chooser, right: bytes) -> bytes:
    """Nearly always what it should be."""
    return c.pick([right] * 19 + [c.pick([b"x", b"", b"-1", b"1.0", b"99999999999999999999", b"007", b"0"])])


def key_of(c: Chooser, keys: Sequence[bytes]) -> bytes:
    """Nearly always a key of the right type."""
    return c.pick([*keys] * 8 + [c.pick(KEYS)])


def entry_id(c: Chooser) -> bytes:
    return b"%d-%d" % (c.number(1, 8), c.pick([0, 0, 0, 1]))


def some_entry(c: Chooser) -> Word:
    if c.number(0, 3) == 0:
        return Ref("entry", c.number(0, 5))
    return c.pick(
        [entry_id(c)] * 10 + [b"3", b"0-0", b"x", b"1-1-1", b"-", b"18446744073709551615-18446744073709551615"]
    )


def bound(c: Chooser, edge: bytes) -> bytes:
    return c.pick([edge] * 4 + [entry_id(c), b"(" + entry_id(c), b"3", b"(3", b"(-", b"+", b"x"])


def pairs(c: Chooser) -> list[Word]:
    words: list[Word] = []
    for _ in range(c.number(1, 2)):
        words += [c.pick(FIELDS), c.pick(VALUES)]
    return words[: c.pick([4] * 30 + [1, 3])]


def xadd(c: Chooser) -> Command:
    options = c.pick([[]] * 8 + [[b"NOMKSTREAM"], [b"MAXLEN", wrong(c, b"3")], [b"MAXLEN", b"=", b"1"]])
    options += c.pick([[]] * 8 + [[b"MINID", entry_id(c)], [b"MAXLEN", b"2"], [b"LIMIT", b"1"], [b"nomkstream"]])
    new = c.pick([entry_id(c)] * 6 + [b"*", b"*", b"%d-*" % c.number(1, 6), b"4", b"0-0", b"0-*", b"-", b"x-1"])
    return [b"XADD", key_of(c, STREAMS), *options, new, *pairs(c)]


def stream(c: Chooser) -> Command:
    key = key_of(c, STREAMS)
    return c.pick(
        [
            [b"XLEN", key],
            [b"XRANGE", key, bound(c, b"-"), bound(c, b"+")],
            [b"XRANGE", key, bound(c, b"-"), bound(c, b"+"), b"COUNT", wrong(c, number(c, 0, 3))],
            [b"XREVRANGE", key, bound(c, b"+"), bound(c, b"-"), b"COUNT", number(c, 1, 3)],
            [b"XDEL", key, *[some_entry(c) for _ in range(c.number(1, 2))]],
            [b"XDEL", key, some_entry(c)],
            [
                b"XTRIM",
                key,
                *c.pick([[b"MAXLEN", wrong(c, number(c, 0, 4))], [b"MINID", entry_id(c)], [b"LIMIT", b"1"]]),
            ],
            [b"XINFO", b"STREAM", key],
            [b"XSETID", key, some_entry(c)],
        ]
    )


def group(c: Chooser) -> Command:
    key, name, consumer = key_of(c, STREAMS), c.pick(GROUPS), c.pick(CONSUMERS)
    start = c.pick([b"0", b"$", b"0-0", entry_id(c), b"x", b"-"])
    read = c.pick([[]] * 5 + [[b"ENTRIESREAD", wrong(c, number(c, -1, 3))]])
    return c.pick(
        [
            [b"XGROUP", b"CREATE", key, name, start, *c.pick([[b"MKSTREAM"], []]), *read],
            [b"XGROUP", b"CREATE", key, name, b"0", b"MKSTREAM"],
            [b"XGROUP", b"CREATE", key, name, b"0", b"MKSTREAM"],
            [b"XGROUP", b"SETID", key, name, start, *read],
            [b"XGROUP", b"DESTROY", key, name],
            [b"XGROUP", b"CREATECONSUMER", key, name, consumer],
            [b"XGROUP", b"DELCONSUMER", key, name, consumer],
            [b"XINFO", b"GROUPS", key],
            [b"XINFO", b"CONSUMERS", key, name],
        ]
    )


def read_group(c: Chooser) -> Command:
    options: list[Word] = c.pick([[], [b"COUNT", wrong(c, number(c, 0, 3))], [b"NOACK"], [b"COUNT", b"1", b"NOACK"]])
    since = c.pick([b">"] * 6 + [b"0", entry_id(c), b"$", b"+", b"x"])
    keys = c.pick([[key_of(c, STREAMS)]] * 6 + [[b"s0", b"s1"], [b"s0", b"s0"]])
    return [
        b"XREADGROUP",
        b"GROUP",
        c.pick(GROUPS),
        c.pick(CONSUMERS),
        *options,
        b"STREAMS",
        *keys,
        *[since] * len(keys),
    ]


def read(c: Chooser) -> Command:
    since = [c.pick([b"0", entry_id(c), b"$", b"+", b">", b"x"]) for _ in range(2)]
    keys = c.pick([[key_of(c, STREAMS)], [b"s0", b"s1"]])
    options: list[Word] = c.pick([[], [b"COUNT", wrong(c, number(c, 0, 2))], [b"NOACK"], [b"GROUP", b"g0", b"c0"]])
    return [b"XREAD", *options, b"STREAMS", *keys, *since[: len(keys)]]


def pending(c: Chooser) -> Command:
    key, name, consumer = key_of(c, STREAMS), c.pick(GROUPS), c.pick(CONSUMERS)
    idle = c.pick([b"0", b"0", b"0", b"100000000", b"-5", wrong(c, b"0")])
    entries = [some_entry(c) for _ in range(c.number(1, 3))]
    options: list[Word] = []
    for _ in range(c.number(0, 2)):
        options += c.pick(
            [
                [b"JUSTID"],
                [b"FORCE"],
                [b"IDLE", wrong(c, b"200000000")],
                [b"TIME", FAR_FUTURE],
                [b"RETRYCOUNT", wrong(c, number(c, -1, 5))],
                [b"LASTID", entry_id(c)],
            ]
        )
    start, end = bound(c, b"-"), bound(c, b"+")
    return c.pick(
        [
            [b"XACK", key, name, *entries],
            [b"XPENDING", key, name],
            [b"XPENDING", key, name, start, end, wrong(c, number(c, 0, 4)), *c.pick([[], [consumer]])],
            [b"XPENDING", key, name, b"IDLE", idle, start, end, b"10", *c.pick([[], [consumer]])],
            [b"XCLAIM", key, name, consumer, idle, *entries, *options],
            [b"XCLAIM", key, name, consumer, idle, *entries, *options],
            [b"XAUTOCLAIM", key, name, consumer, idle, bound(c, b"0-0"), *c.pick([[], [b"JUSTID"]])],
            [b"XAUTOCLAIM", key, name, consumer, idle, b"0-0", b"COUNT", wrong(c, number(c, 1, 3))],
        ]
    )


def short_wait(c: Chooser) -> Command:
    """A read whose time runs out if there is nothing for it."""
    return blocking(c, for_ms=b"%d" % SHORT_MS)


def blocking(c: Chooser, *, for_ms: bytes = b"") -> Command:
    """Reads that wait for longer than any sequence takes, or for a given time."""
    block: list[Word] = [b"BLOCK", for_ms or wrong(c, c.pick([b"0", b"0", b"60000"]))]
    keys = c.pick([[c.pick(STREAMS)]] * 4 + [[b"s0", b"s1"]])
    count = c.pick([[], [b"COUNT", b"1"]])
    if c.number(0, 2) == 0:
        return [b"XREAD", *count, *block, b"STREAMS", *keys, *[c.pick([b"$", b"9-9", b"0"])] * len(keys)]
    consumer = [b"GROUP", c.pick(GROUPS), c.pick(CONSUMERS)]
    return [
        b"XREADGROUP",
        *consumer,
        *count,
        *block,
        *c.pick([[], [], [b"NOACK"]]),
        b"STREAMS",
        *keys,
        *[b">"] * len(keys),
    ]


def hashes(c: Chooser) -> Command:
    key, field = key_of(c, HASHES), c.pick(FIELDS)
    return c.pick(
        [
            [b"HSET", key, *pairs(c)],
            [b"HGET", key, field],
            [b"HMGET", key, field, c.pick(FIELDS)],
            [b"HGETALL", key],
            [b"HDEL", key, field, c.pick(FIELDS)],
            [b"HINCRBY", key, field, wrong(c, number(c, -2, 3))],
            [b"HEXISTS", key, field],
            [b"HLEN", key],
        ]
    )


def zsets(c: Chooser) -> Command:
    key, member = key_of(c, ZSETS), c.pick(FIELDS)
    reverse: list[Word] = c.pick([[], [b"REV"]])
    limit: list[Word] = c.pick([[], [b"LIMIT", number(c, -1, 1), number(c, -1, 2)]])
    low, high = [c.pick([b"-inf", b"+inf", b"(1", c.pick(SCORES), b"x"]) for _ in range(2)]
    by_score: list[Word] = [b"BYSCORE", *reverse, *limit]
    return c.pick(
        [
            [b"ZADD", key, wrong(c, c.pick(SCORES)), member],
            [b"ZADD", key, c.pick(SCORES), member, c.pick(SCORES), c.pick(FIELDS)],
            [b"ZRANGE", key, low, high, *by_score, *c.pick([[], [b"WITHSCORES"]])],
            [b"ZRANGE", key, wrong(c, number(c, -3, 3)), number(c, -3, 3), *reverse, b"WITHSCORES"],
            [b"ZREM", key, member, c.pick(FIELDS)],
            [b"ZREMRANGEBYSCORE", key, low, high],
            [b"ZCARD", key],
            [b"ZSCORE", key, member],
        ]
    )


def keys(c: Chooser) -> Command:
    key = c.pick(KEYS)
    return c.pick(
        [
            [b"DEL", key, c.pick(KEYS)],
            [b"EXISTS", key, key],
            [b"TYPE", key],
            [b"PEXPIREAT", key, c.pick([FAR_PAST, FAR_FUTURE, wrong(c, FAR_FUTURE)])],
            [b"PEXPIRE", key, wrong(c, c.pick([b"100000000", b"0", b"-1"]))],
            [b"EXPIRE", key, wrong(c, c.pick([b"100000", b"-1"]))],
            [b"PTTL", key],
            [b"TTL", key],
            [b"PERSIST", key],
            [b"KEYS", c.pick([b"*", b"s?", b"[hk]0", b"[^s]*", b"none"])],
            [b"SCAN", b"0", b"COUNT", wrong(c, b"100"), *c.pick([[], [b"MATCH", b"s*"], [b"TYPE", b"hash"]])],
            [b"DBSIZE"],
            [b"FLUSHALL"],
        ]
    )


def strings(c: Chooser) -> Command:
    key = key_of(c, STRINGS)
    options: list[Word] = []
    for _ in range(c.number(0, 2)):
        options += c.pick([[b"NX"], [b"XX"], [b"PX", wrong(c, b"1000000")], [b"EX", wrong(c, b"1000")], [b"KEEPTTL"]])
    return c.pick(
        [
            [b"SET", key, c.pick(VALUES), *options],
            [b"GET", key],
            [b"INCR", key],
            [b"INCRBY", key, wrong(c, number(c, -2, 3))],
            [b"SET", key, b"5"],
        ]
    )


def pubsub(c: Chooser) -> Command:
    channel = c.pick(CHANNELS)
    return c.pick(
        [
            [b"SUBSCRIBE", channel],
            [b"SSUBSCRIBE", channel],
            [b"PSUBSCRIBE", c.pick(PATTERNS)],
            [b"UNSUBSCRIBE", channel],
            [b"SUNSUBSCRIBE", channel],
            [b"PUNSUBSCRIBE", c.pick(PATTERNS)],
            [b"PUBLISH", channel, c.pick(VALUES)],
            [b"SPUBLISH", channel, c.pick(VALUES)],
            [b"PUBSUB", c.pick([b"CHANNELS", b"SHARDCHANNELS"]), *c.pick([[], [b"n*"]])],
            [b"PUBSUB", c.pick([b"NUMSUB", b"SHARDNUMSUB"]), b"n0", b"n1"],
            [b"PUBSUB", b"NUMPAT"],
            [b"PING", *c.pick([[], [b"hi"]])],
        ]
    )


def connection(c: Chooser) -> Command:
    target = Ref("client", c.number(0, 3))
    by_id: list[list[Word]] = [[b"ID", target], [b"ID", target, b"SKIPME", b"no"], [b"TYPE", b"pubsub"], [b"ID", b"0"]]
    by_address: list[list[Word]] = [[b"ADDR", Ref("address", c.number(0, 3))], [b"1.2.3.4:5"]]
    return c.pick(
        [
            [b"PING"],
            [b"ECHO", c.pick(VALUES)],
            [b"HELLO", wrong(c, c.pick([b"2", b"3"]))],
            [b"HELLO", b"3", b"SETNAME", b"me"],
            [b"CLIENT", b"SETNAME", c.pick([b"me", b"not me"])],
            [b"CLIENT", b"GETNAME"],
            [b"CLIENT", b"UNBLOCK", target, *c.pick([[], [b"ERROR"], [b"TIMEOUT"], [b"x"]])],
            [b"CLIENT", b"KILL", *c.pick(by_id)],
            [b"CLIENT", b"KILL", *c.pick(by_address)],
            [b"SELECT", wrong(c, b"0")],
            [b"AUTH", *c.pick([[b"x"], [b"default", b"x"], [b"nobody", b"x"]])],
            [b"RESET"],
            [b"MULTI"],
            [b"EXEC"],
            [b"EXEC"],
            [b"DISCARD"],
            [b"WAIT", b"0", b"0"],
            [
                c.pick([b"NONSENSE", b"XGROUP", b"GET", b"XADD", b"CLIENT", b"EXEC"]),
                *c.pick([[], [b"a"], [b"a", b"b"]]),
            ],
        ]
    )


def server(c: Chooser) -> Command:
    """Settings, and who is connected."""
    limit = c.pick([b"0", b"0", b"0", b"1", b"1", b"100mb", b"1GB", b"2k", b"", b"x", b"-1", b"1.5"])
    settings: list[list[Word]] = [
        [b"maxmemory", limit],
        [b"MAXMEMORY", limit, b"maxmemory-policy", c.pick([b"noeviction", b"x"])],
        [b"maxmemory", limit, b"maxmemory", b"0"],
        [b"appendfsync", c.pick([b"everysec", b"always", b"ALWAYS", b"sometimes"]), b"maxmemory", limit],
        [b"maxmemory", limit, b"appendfsync"],
    ]
    names: list[list[Word]] = [[b"maxmemory"], [b"appendfsync", b"maxmemory-policy"], [b"MaxMemory-P*"], [b"nonsense"]]
    kinds = [b"normal", b"pubsub", b"PubSub", b"replica", b"master", b"x"]
    return c.pick(
        [
            [b"CONFIG", b"SET", b"maxmemory", c.pick([b"0", b"1"])],
            [b"CONFIG", b"SET", b"maxmemory", c.pick([b"0", b"1"])],
            [b"CONFIG", b"SET", *c.pick(settings)],
            [b"CONFIG", b"GET", *c.pick(names)],
            [b"CLIENT", b"KILL", b"TYPE", c.pick(kinds), *c.pick([[], [], [b"SKIPME", c.pick([b"no", b"x", b"YES"])]])],
            [b"CLIENT", b"KILL", b"TYPE", c.pick(kinds), b"TYPE", c.pick(kinds)],
            [b"CLIENT", b"KILL", b"ID", Ref("client", c.number(0, 3)), b"ID", Ref("client", c.number(0, 3))],
        ]
    )


LUA = [
    b"return {1, 2.9, -2.9, 'x', true, false, {ok='fine'}, {'nested', nil, 'lost'}}",
    b"return redis.call('GET', KEYS[1])",
    b"return redis.pcall('XLEN', KEYS[1])",
    b"local a = redis.pcall('NONSENSE'); return a.err",
    b"return redis.call('SET', 'k0', 1.5)",
    b"redis.call('HSET', KEYS[1], 'f', 10 / 3, 'g', 1e15, 'h', 1e17, 'i', -7)\nreturn redis.call('HGETALL', KEYS[1])",
    b"#!lua flags=no-writes\nreturn redis.call('DEL', KEYS[1])",
    b"#!lua flags=no-such\nreturn 1",
    b"#!lua nonsense\nreturn 1",
    b"#!lua\nreturn undefined_name",
    b"some_name = 1",
    b"return error_in_syntax(",
    b"return {err='MINE is bad'}",
    b"return redis.error_reply('MINE is bad')",
    b"return redis.error_reply('single')",
    b"return redis.status_reply('fine')",
    b"error('thrown')",
    b"error({err='MINE thrown'})",
    b"\n\nredis.call('XADD', KEYS[1], '1-1', 'a')",
    b"local ok, e = pcall(redis.call, 'GET'); return {tostring(ok), type(e), tostring(e)}",
    b"return redis.call('EVAL', 'return 1', 0)",
    b"return redis.call('SUBSCRIBE', 'n0')",
    b"return redis.call('XREAD', 'BLOCK', 0, 'STREAMS', KEYS[1], '$')",
    b"return redis.call('GET', {})",
    b"return redis.call()",
    b"return {KEYS, ARGV, #KEYS, #ARGV}",
    b"return redis.sha1hex('x')",
    b"return string.format('%.0f', 2 ^ 53) .. tostring(1e15)",
    b"return redis.call('XPENDING', KEYS[1], 'g0')",
    b"return redis.call('XINFO', 'GROUPS', KEYS[1])",
    b"return redis.call('ZRANGE', 'z0', 0, -1, 'WITHSCORES')",
    b"redis.call('XADD', KEYS[1], '*', 'a', 1); redis.call('DEL', KEYS[1])",
    b"redis.call('XADD', KEYS[1], '*', 'a', 1); redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)",
    b"redis.call('XADD', KEYS[1], '*', 'a', 1); redis.call('XADD', KEYS[1], '*', 'a', 2)",
    b"return redis.call('SPUBLISH', 'n0', 'from a script')",
    b"return coroutine.wrap(function() return {redis.call('XINFO', 'STREAM', KEYS[1]), redis.pcall('GET')} end)()",
    b"string.sub = nil",
    b"return tostring(nil .. 'x')",
]


def lua(c: Chooser) -> Command:
    return [b"EVAL", c.pick(LUA), wrong(c, b"1"), c.pick(KEYS), c.pick(VALUES)]


def script_cache(c: Chooser) -> Command:
    script = SCRIPTS[c.pick(sorted(SCRIPTS))]
    return c.pick(
        [
            [b"SCRIPT", b"LOAD", script.body.encode()],
            [b"SCRIPT", b"LOAD", script.body.encode()],
            [b"SCRIPT", b"EXISTS", script.sha.encode(), b"x"],
            [b"SCRIPT", b"FLUSH"],
            [b"EVALSHA", script.sha.encode(), b"0"],
        ]
    )


def run(name: str, keys: Sequence[Word], args: Sequence[Word]) -> Command:
    """A script of ours."""
    return [b"EVALSHA", SCRIPTS[name].sha.encode(), b"%d" % len(keys), *keys, *args]


def load_scripts() -> list[Command]:
    """Makes the server know all of ours."""
    return [[b"SCRIPT", b"LOAD", script.body.encode()] for script in SCRIPTS.values()]


def ordering_key(c: Chooser) -> bytes:
    return c.pick([b"", b"k"])


def submit(c: Chooser) -> Command:
    keys: list[Word] = []
    args: list[Word] = [c.pick(GROUPS)]
    # One stream for all, so that no id of this moment is given twice.
    lane = key_of(c, STREAMS)
    for _ in range(c.number(1, 3)):
        task = c.pick(TASKS)
        keys += [task, lane, *CHAIN]
        args += [b"id-" + task, b"text", lane, c.pick([b"d0", b"d0", b"d1"]), b"", ordering_key(c)]
        args.append(wrong(c, number(c, 1, 5)))
        args += [c.pick([b"", b"n0", b"n1", b"box"]), c.pick(VALUES)]
    return run("submit", keys, args)


def settle(c: Chooser) -> Command:
    keys: list[Word] = [b"dead"]
    args: list[Word] = [c.pick(GROUPS), b"n", b"100000000"]
    for _ in range(c.number(1, 2)):
        task = c.pick(TASKS)
        keys += [task, key_of(c, STREAMS), b"due", *CHAIN]
        state = c.pick([b"succeeded", b"failed", b"dead_lettered"])
        args += [c.pick(CONSUMERS), some_entry(c), b"id-" + task, b"text", b"text", ordering_key(c), state]
        args.append(c.pick(VALUES))
        args += [c.pick([b"", b"REASON"]), c.pick([b"", b"message"]), number(c, 1, 5)]
    return run("settle", keys, args)


def lease(c: Chooser) -> Command:
    """Renewing, giving back, taking over."""
    key, owner, lane, task = key_of(c, STREAMS), c.pick(CONSUMERS), c.pick(STREAMS), c.pick(TASKS)
    back = [owner, some_entry(c), number(c, 0, 3), c.pick([b"0", b"300000000"]), number(c, 0, 5)]
    back += [c.pick([b"", b"REASON"]), b"message"]
    return c.pick(
        [
            [b"XCLAIM", key, c.pick(GROUPS), owner, b"0", some_entry(c), b"RETRYCOUNT", b"1", b"FORCE", b"JUSTID"],
            run("renew", [key, b"s0"], [c.pick(GROUPS), owner, some_entry(c), owner, some_entry(c)]),
            run("give_back", [c.pick(TASKS), key, b"due"], [c.pick(GROUPS), b"100000000", *back]),
            run(
                "reclaim",
                [key, b"due"],
                [c.pick(GROUPS), owner, c.pick([b"0", b"200000000"]), b"0-0", wrong(c, number(c, 1, 3))],
            ),
            run("unheard", [key, b"due"], [c.pick(GROUPS), owner, c.pick([b"0-0", some_entry(c)]), number(c, 1, 3)]),
            run("retire", [key], [c.pick(GROUPS), c.pick([b"0", b"200000000"])]),
            run("lookup", [c.pick(TASKS), c.pick(TASKS)], [c.pick([b"", b"n0"]), b"box"]),
            run("locate", [task, key, *CHAIN], [c.pick(GROUPS), b"id-" + task, lane, ordering_key(c)]),
            run(
                "cancel",
                [task, key, b"due", *CHAIN],
                [c.pick(GROUPS), b"n", b"100000000", b"REASON", b"message", b"id-" + task, lane, ordering_key(c)],
            ),
        ]
    )


def letters(c: Chooser) -> Command:
    """Reading dead letters, and putting one back; these stand in a stream of their own, whose ids are known."""
    task, entry = c.pick(TASKS), c.pick([b"1-0", b"2-0", b"3-1"])
    filters = [c.pick([b"", b"s0"]), c.pick([b"", b"text"]), c.pick([b"", b"REASON"]), c.pick([b"", b"id-" + task])]
    letter: Command = [b"XADD", b"buried", entry, b"request_id", b"id-" + task, b"lane", b"s0", b"reason", b"REASON"]
    letter += [b"entry", c.pick([b"1-0", b"9-9"]), *c.pick([[], [b"history", b"{}"], [b"digest", b"d0"]])]
    letter += c.pick([[], [], [b"ordering_key", b"k"], [b"ordering_key", b"k", b"entry.accepted_ms", b"1"]])
    letter += c.pick([[b"entry.f", b"v"], [b"entry.f", b"v", b"entry.g", b""], []])
    ended: Command = [
        b"HSET",
        task,
        b"state",
        c.pick([b"dead_lettered", b"succeeded", b"queued"]),
        b"settled_entry",
        b"1-0",
    ]
    return c.pick(
        [
            letter,
            letter,
            ended,
            [b"XDEL", b"buried", entry],
            run(
                "letters",
                [b"buried"],
                [c.pick([b"+", b"(" + entry]), number(c, 1, 3), wrong(c, number(c, 0, 4)), *filters],
            ),
            run(
                "replay",
                [b"buried", task, key_of(c, STREAMS), c.pick([b"mark-0", b"mark-1"]), *CHAIN],
                [c.pick(GROUPS), entry, wrong(c, number(c, 0, 5)), b"100000000"],
            ),
        ]
    )


def beat(c: Chooser) -> Command:
    keys: list[Word] = [b"agents"]
    args: list[Word] = [c.pick([b"100000000", b"100000000", b"0", b"-5"])]
    for _ in range(c.number(1, 4)):
        keys.append(c.pick(AGENTS))
        args += [c.pick([b"agent-0", b"agent-1"]), c.pick([b"", b"boot-1", b"boot-2"]), number(c, 0, 8)]
        args += [number(c, 1000, 1010), b"fine", b"{}"]
    return run("beat", keys, args)


def upheaval(c: Chooser) -> Command:
    """What those who wait for a stream cannot like."""
    return c.pick(
        [
            [b"DEL", b"s0"],
            [b"SET", b"s0", b"v"],
            [b"XGROUP", b"DESTROY", b"s0", b"g0"],
            [b"FLUSHALL"],
            [b"PEXPIREAT", b"s0", FAR_PAST],
            [b"EVAL", b"redis.call('DEL', KEYS[1]); redis.call('HSET', KEYS[1], 'f', 'v')", b"1", b"s0"],
            [b"EVAL", b"redis.call('DEL', KEYS[1]); redis.call('XADD', KEYS[1], '9-9', 'f', 'v')", b"1", b"s0"],
        ]
    )


def cause(c: Chooser) -> Command:
    """What may end the wait of a reader."""
    fresh: Command = [b"XADD", b"s0", b"*", b"f", b"v"]
    return c.pick([fresh, fresh, fresh, xadd(c), submit(c), lua(c), group(c), upheaval(c)])


@dataclass(frozen=True, slots=True)
class Crowd:
    """Several readers that wait, and what somebody else does then."""

    waits: list[Command]
    causes: list[Command]


def crowd(c: Chooser) -> Crowd:
    return Crowd([blocking(c) for _ in range(SESSIONS - 1)], [cause(c) for _ in range(6)])


def pause(c: Chooser) -> list[tuple[int, list[Command]]]:
    """What connections send while writes are held back."""
    return [(c.number(0, SESSIONS - 1), several(c)) for _ in range(c.number(2, 5))]


def mangled(c: Chooser) -> Command:
    """A command with a word too many, too few, twice or wrong."""
    words = list(c.pick(_SOUND)(c))
    at = c.number(min(1, len(words) - 1), len(words) - 1)
    junk = c.pick([b"x", b"", b"-1", b"COUNT", b"(", b"STREAMS", b"99999999999999999999"])
    match c.number(0, 3):
        case 0:
            words.insert(at, junk)
        case 1:
            words.insert(at, words[at])
        case 2 if len(words) > 1:
            del words[at]
        case _ if at:
            words[at] = junk
    return words


# How often each is chosen by the dice.
FAMILIES: dict[Callable[[Chooser], Command], int] = {
    xadd: 14,
    stream: 8,
    group: 10,
    read_group: 12,
    read: 4,
    pending: 14,
    blocking: 6,
    hashes: 4,
    zsets: 4,
    keys: 5,
    strings: 2,
    pubsub: 9,
    connection: 5,
    server: 2,
    lua: 5,
    script_cache: 1,
    submit: 5,
    settle: 5,
    lease: 6,
    letters: 4,
    beat: 2,
    upheaval: 2,
    mangled: 8,
}
# Those whose wrong forms are answered at once.
_SOUND = [xadd, stream, group, read_group, read, pending, hashes, zsets, keys, strings, lua, submit, settle, lease]
_WEIGHTED = [family for family, weight in FAMILIES.items() for _ in range(weight)]
_COUNTED_ID = [b"%d-0" % number for number in range(1, 9)]


def any_command(c: Chooser) -> Command:
    return c.pick(_WEIGHTED)(c)


def several(c: Chooser) -> list[Command]:
    """Commands in one go; now and then as a transaction."""
    commands = [any_command(c) for _ in range(c.number(1, 3))]
    return c.pick([commands, [[b"MULTI"], *commands, c.pick([[b"EXEC"], [b"EXEC"], [b"DISCARD"]])]])


def beginning(c: Chooser) -> list[Command]:
    """A stream with entries and a group that has read some, or nothing."""
    entries: list[Command] = [[b"XADD", b"s0", b"%d-0" % entry, b"f", b"v"] for entry in range(1, c.number(2, 4))]
    create: Command = [b"XGROUP", b"CREATE", b"s0", b"g0", b"0", b"MKSTREAM"]
    reads: list[Command] = [
        [b"XREADGROUP", b"GROUP", b"g0", c.pick(CONSUMERS), b"COUNT", b"1", b"STREAMS", b"s0", b">"]
        for _ in range(c.number(0, 3))
    ]
    return c.pick([[create, *entries, *reads], [create, *entries, *reads], [*entries, create], [[b"PING"]]])


def counted(c: Chooser) -> Command:
    """What changes the counts of one stream and one group: added, deleted, read."""
    entry, few = c.pick(_COUNTED_ID), number(c, 0, 3)
    read = c.pick([[], [], [b"ENTRIESREAD", few]])
    more: list[Word] = c.pick([[b"COUNT", b"1"], [b"COUNT", b"2", b"NOACK"], []])
    return c.pick(
        [
            [b"XADD", b"s0", entry, b"f", b"v"],
            [b"XADD", b"s0", b"*", b"f", b"v"],
            [b"XADD", b"s0", c.pick([b"MAXLEN", b"MINID"]), few, entry, b"f", b"v"],
            [b"XDEL", b"s0", entry, c.pick(_COUNTED_ID)],
            [b"XTRIM", b"s0", c.pick([b"MAXLEN", b"MINID"]), few],
            [b"XSETID", b"s0", entry],
            [b"XGROUP", b"CREATE", b"s0", b"g0", c.pick([b"0", b"$", entry]), b"MKSTREAM", *read],
            [b"XGROUP", b"SETID", b"s0", b"g0", c.pick([b"0", b"$", entry]), *read],
            [b"XREADGROUP", b"GROUP", b"g0", c.pick(CONSUMERS), *more, b"STREAMS", b"s0", b">"],
            [b"XREADGROUP", b"GROUP", b"g0", c.pick(CONSUMERS), *more, b"STREAMS", b"s0", b">"],
            [b"XCLAIM", b"s0", b"g0", c.pick(CONSUMERS), b"0", entry, b"LASTID", c.pick(_COUNTED_ID)],
            [b"XAUTOCLAIM", b"s0", b"g0", c.pick(CONSUMERS), b"0", b"0", b"COUNT", b"2"],
            [b"XINFO", b"GROUPS", b"s0"],
        ]
    )
