"""Commands on sorted sets."""

from dataclasses import dataclass

from edgescale.harness.simulation.redis.arguments import SYNTAX, integer, real
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import DENYOOM, WRITE, command
from edgescale.harness.simulation.redis.replies import Double, Reply, ReplyError, with_scores
from edgescale.harness.simulation.redis.zset import SortedSet

_NO_LIMIT = -1
_NOT_A_RANGE = b"ERR min or max is not a float"


@command("zadd", -4, WRITE | DENYOOM)
def zadd(client: Client, argv: list[bytes]) -> Reply:
    """ZADD key score member ...: how many members are new; its options are not modelled."""
    if len(argv) % 2:
        raise ReplyError(SYNTAX)
    pairs = [(real(score), member) for score, member in zip(argv[2::2], argv[3::2], strict=True)]
    found = client.keyspace.typed(argv[1], SortedSet)
    if found is None:
        found = SortedSet()
        client.keyspace.put(argv[1], found)
    before = len(found)
    for score, member in pairs:
        found.put(member, score)
    client.record(*argv)
    return len(found) - before


@command("zcard", 2)
def zcard(client: Client, argv: list[bytes]) -> Reply:
    """ZCARD key: how many members."""
    return len(client.keyspace.typed(argv[1], SortedSet) or ())


@command("zscore", 3)
def zscore(client: Client, argv: list[bytes]) -> Reply:
    """ZSCORE key member: its score."""
    found = client.keyspace.typed(argv[1], SortedSet)
    score = None if found is None else found.scores.get(argv[2])
    return None if score is None else Double(client.model.flavour.number(score))


@command("zrem", -3, WRITE)
def zrem(client: Client, argv: list[bytes]) -> Reply:
    """ZREM key member ...: how many were there; the key goes with its last member."""
    found = client.keyspace.typed(argv[1], SortedSet)
    if found is None:
        return 0
    removed = sum(found.remove(member) for member in argv[2:])
    return _removed(client, argv, found, removed)


@command("zremrangebyscore", 4, WRITE)
def zremrangebyscore(client: Client, argv: list[bytes]) -> Reply:
    """ZREMRANGEBYSCORE key min max: how many members went."""
    bounds = Bounds.parse(argv[2], argv[3])
    found = client.keyspace.typed(argv[1], SortedSet)
    if found is None:
        return 0
    removed = sum(found.remove(member) for _, member in bounds.within(found))
    return _removed(client, argv, found, removed)


def _removed(client: Client, argv: list[bytes], found: SortedSet, removed: int) -> int:
    if not len(found):
        client.keyspace.remove(argv[1])
    if removed:
        client.record(*argv)
    return removed


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of scores; a bound that is left out has `(` in front. Source: ZRANGE."""

    low: float
    high: float
    without_low: bool
    without_high: bool

    @classmethod
    def parse(cls, low: bytes, high: bytes) -> "Bounds":
        """Read both bounds.

        Raises:
            ReplyError: one of them is no number.
        """
        return cls(
            # Nothing stands for zero here, as the server's parser has it.
            real(low.removeprefix(b"(") or b"0", _NOT_A_RANGE),
            real(high.removeprefix(b"(") or b"0", _NOT_A_RANGE),
            low.startswith(b"("),
            high.startswith(b"("),
        )

    def within(self, found: SortedSet) -> list[tuple[float, bytes]]:
        """Scores and members of the range, the lowest first."""
        return found.by_score(self.low, self.high, without_low=self.without_low, without_high=self.without_high)


@dataclass(slots=True)
class _Options:
    by_score: bool = False
    reverse: bool = False
    with_scores: bool = False
    offset: int = 0
    count: int = _NO_LIMIT


@command("zrange", -4)
def zrange(client: Client, argv: list[bytes]) -> Reply:
    """ZRANGE key start stop [BYSCORE] [REV] [LIMIT offset count] [WITHSCORES]; BYLEX is not modelled."""
    options = _options(argv[4:])
    if options.count != _NO_LIMIT and not options.by_score:
        raise ReplyError(
            b"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        )
    pairs = _by_score(client, argv, options) if options.by_score else _by_rank(client, argv, options)
    if not options.with_scores:
        return [member for _, member in pairs]
    return with_scores([[member, Double(client.model.flavour.number(score))] for score, member in pairs])


def _options(words: list[bytes]) -> _Options:
    options = _Options()
    rest = iter(words)
    for word in rest:
        match word.upper():
            case b"BYSCORE" if not options.by_score:
                options.by_score = True
            case b"REV" if not options.reverse:
                options.reverse = True
            case b"WITHSCORES":
                options.with_scores = True
            case b"LIMIT":
                offset, count = next(rest, None), next(rest, None)
                if offset is None or count is None:
                    raise ReplyError(SYNTAX)
                options.offset, options.count = integer(offset), integer(count)
            case _:
                raise ReplyError(SYNTAX)
    return options


def _by_score(client: Client, argv: list[bytes], options: _Options) -> list[tuple[float, bytes]]:
    low, high = (argv[3], argv[2]) if options.reverse else (argv[2], argv[3])
    bounds = Bounds.parse(low, high)
    found = client.keyspace.typed(argv[1], SortedSet)
    if found is None or options.offset < 0:
        return []
    pairs = bounds.within(found)
    if options.reverse:
        pairs.reverse()
    end = None if options.count < 0 else options.offset + options.count
    return pairs[options.offset : end]


def _by_rank(client: Client, argv: list[bytes], options: _Options) -> list[tuple[float, bytes]]:
    first, last = integer(argv[2]), integer(argv[3])
    found = client.keyspace.typed(argv[1], SortedSet)
    if found is None:
        return []
    pairs = found.by_rank()
    if options.reverse:
        pairs.reverse()
    first = max(first + len(pairs), 0) if first < 0 else first
    last = last + len(pairs) if last < 0 else last
    return pairs[first : max(last + 1, 0)]
