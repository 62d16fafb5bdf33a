"""Commands that take entries over from other consumers."""

from dataclasses import dataclass

from edgescale.harness.simulation.redis.arguments import ID_MAX, SYNTAX, id_text, integer, range_start, stream_id
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import WRITE, command
from edgescale.harness.simulation.redis.replies import Reply, ReplyError
from edgescale.harness.simulation.redis.stream import Consumer, Pending
from edgescale.harness.simulation.redis.stream_commands import shown
from edgescale.harness.simulation.redis.stream_groups import Place, find_group, record_claim, record_progress

# XAUTOCLAIM looks at so many entries for each that it may take over. Source: XAUTOCLAIM.
_SCAN_FACTOR = 10
_COUNT_MAX = ((1 << 63) - 1) // 16


@dataclass(slots=True)
class _Claim:
    """The options of XCLAIM."""

    entries: list[int]
    delivered_ms: int
    deliveries: int | None = None
    force: bool = False
    only_ids: bool = False
    last_id: int = 0


def _parse_claim(argv: list[bytes], now_ms: int) -> _Claim:
    entries: list[int] = []
    at = 5
    # Options begin with a letter, and ids never do.
    while at < len(argv) and not argv[at][:1].isalpha():
        try:
            entries.append(stream_id(argv[at]))
        except ReplyError:
            # Said of what is no id is that it is no option either.
            break
        at += 1
    claim = _Claim(entries, now_ms)
    words = iter(argv[at:])
    for word in words:
        option = word.upper()
        if option == b"FORCE":
            claim.force = True
        elif option == b"JUSTID":
            claim.only_ids = True
        else:
            value = next(words, None) if option in {b"IDLE", b"TIME", b"RETRYCOUNT", b"LASTID"} else None
            if value is None:
                raise ReplyError(b"ERR Unrecognized XCLAIM option '%b'", word)
            _set_option(claim, option, value, now_ms)
    return claim


def _set_option(claim: _Claim, option: bytes, value: bytes, now_ms: int) -> None:
    if option == b"LASTID":
        claim.last_id = stream_id(value)
        return
    number = integer(value, b"ERR Invalid %b option argument for XCLAIM" % option)
    if option == b"RETRYCOUNT":
        claim.deliveries = number if number >= 0 else None
        return
    delivered_ms = now_ms - number if option == b"IDLE" else number
    # A time from the future or from before 1970 stands for now.
    claim.delivered_ms = delivered_ms if 0 <= delivered_ms <= now_ms else now_ms


@command("xclaim", -6, WRITE)
def xclaim(client: Client, argv: list[bytes]) -> Reply:
    """XCLAIM key group consumer min-idle id ... [options]: the entries that changed hands."""
    place = find_group(client, argv[1], argv[2])
    group = place.group
    idle_ms = max(integer(argv[4], b"ERR Invalid min-idle-time argument for XCLAIM"), 0)
    claim = _parse_claim(argv, client.model.now_ms)
    moved_on = claim.last_id > group.last_id
    group.last_id = max(group.last_id, claim.last_id)
    claimer = _Claimer(client, place, argv[3])
    claimed = [entry for entry in claim.entries if _claim_one(claimer, claim, entry, idle_ms)]
    if moved_on and not claimer.recorded:
        record_progress(client, place)
    return [id_text(entry) for entry in claimed] if claim.only_ids else list(shown(place.stream, claimed))


class _Claimer:
    """One consumer taking entries over, and the notes of it in the log."""

    def __init__(self, client: Client, place: Place, name: bytes) -> None:
        self.place = place
        self.now_ms = client.model.now_ms
        self.recorded = False
        self._client = client
        self._name = name
        self._consumer: Consumer | None = None
        if client.model.flavour.modern:
            self._own()

    def _own(self) -> Consumer:
        """The claiming consumer; older servers make it with its first entry only."""
        if self._consumer is None:
            self._consumer = self.place.group.consumer(self._name, self.now_ms)
            self._consumer.seen_ms = self.now_ms
        return self._consumer

    def _record(self, entry: int, held: Pending) -> None:
        record_claim(self._client, self.place, entry, held)
        self.recorded = True

    def take(self, entry: int, delivered_ms: int, deliveries: int) -> None:
        """Take the entry over."""
        consumer = self._own()
        consumer.active_ms = self.now_ms
        self._record(entry, self.place.group.assign(entry, consumer, delivered_ms, deliveries))

    def forget(self, entry: int, held: Pending) -> None:
        """Drop an entry from the list that the stream does not have any more."""
        # Replaying this claim finds no entry either, and drops it just the same.
        self._record(entry, held)
        self.place.group.release(entry)


def _claim_one(claimer: _Claimer, claim: _Claim, entry: int, idle_ms: int) -> bool:
    held = claimer.place.group.pending.values.get(entry)
    if entry not in claimer.place.stream.entries.values:
        if held is not None:
            claimer.forget(entry, held)
        return False
    if held is None:
        if not claim.force:
            return False
        before = 1
    else:
        if idle_ms and claimer.now_ms - held.delivered_ms < idle_ms:
            return False
        before = held.deliveries
    deliveries = claim.deliveries
    if deliveries is None:
        deliveries = before if claim.only_ids else before + 1
    claimer.take(entry, claim.delivered_ms, deliveries)
    return True


@command("xautoclaim", -6, WRITE)
def xautoclaim(client: Client, argv: list[bytes]) -> Reply:
    """XAUTOCLAIM key group consumer min-idle start [COUNT n] [JUSTID]: next start, entries, ids that are gone."""
    idle_ms = max(integer(argv[4], b"ERR Invalid min-idle-time argument for XAUTOCLAIM"), 0)
    start = range_start(argv[5])
    count, only_ids = _autoclaim_options(argv[6:])
    place = find_group(client, argv[1], argv[2])
    claimer = _Claimer(client, place, argv[3])
    claimed: list[int] = []
    deleted: list[int] = []
    ahead = place.group.pending.between(start, ID_MAX, count * _SCAN_FACTOR + 1)
    scanned = 0
    for entry in ahead[: count * _SCAN_FACTOR]:
        if len(claimed) + len(deleted) == count:
            break
        scanned += 1
        held = place.group.pending.values[entry]
        if entry not in place.stream.entries.values:
            claimer.forget(entry, held)
            deleted.append(entry)
        elif not idle_ms or claimer.now_ms - held.delivered_ms >= idle_ms:
            claimer.take(entry, claimer.now_ms, held.deliveries + (not only_ids))
            claimed.append(entry)
    following = id_text(ahead[scanned]) if scanned < len(ahead) else b"0-0"
    shown_entries = [id_text(entry) for entry in claimed] if only_ids else list(shown(place.stream, claimed))
    return [following, shown_entries, [id_text(entry) for entry in deleted]]


def _autoclaim_options(words: list[bytes]) -> tuple[int, bool]:
    count, only_ids = 100, False
    rest = iter(words)
    for word in rest:
        if word.upper() == b"JUSTID":
            only_ids = True
        elif word.upper() == b"COUNT" and (value := next(rest, None)) is not None:
            count = integer(value, b"ERR COUNT must be > 0")
            if not 1 <= count <= _COUNT_MAX:
                raise ReplyError(b"ERR COUNT must be > 0")
        else:
            raise ReplyError(SYNTAX)
    return count, only_ids
