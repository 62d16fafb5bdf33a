"""Faults of the network, as rules: each a function from a packet to an opinion, put in force by `network.rule`.

A link is a pair of node names; `*` stands for every other node. Rules add up, and their order does not matter: the
strictest opinion decides. A rule sees whole writes, whatever pieces they arrive in; what redis-py sends as one command
is one write. Calls of `rpc.py` cross the network as packets of no connection, and rules hold for them as well.
"""

from collections.abc import Callable
from random import Random  # noqa: TID251 - drawn from the simulation's seed

from edgescale.harness.simulation.packets import Kind, Opinion, Packet, Piece, Rule, Verdict

Link = tuple[str, str]
Matching = Callable[[bytes], bool]
ANY = "*"
# Bytes that drip at once, at most; redis-py's parser meets them in every place of a reply.
DRIP_BYTES_MAX = 7


def goes(packet: Packet, source: str, target: str) -> bool:
    """Whether a packet goes that way."""
    return source in {ANY, packet.source} and target in {ANY, packet.target}


def crosses(packet: Packet, link: Link) -> bool:
    """Whether a packet is on a link, whichever way."""
    one, other = link
    return goes(packet, one, other) or goes(packet, other, one)


def any_command(data: bytes) -> bool:
    """Every write counts."""
    return bool(data)


def holding(word: bytes) -> Matching:
    """Writes that hold a word: the name of a command, the hash of a script, a key."""
    return lambda data: word in data


def now_and_then(probability: float, rng: Random, matching: Matching = any_command) -> Matching:
    """Some of the writes that match, drawn one by one."""
    return lambda data: matching(data) and rng.random() < probability


def delay(link: Link, low_s: float, high_s: float, rng: Random) -> Rule:
    """Everything on the link takes longer by so many seconds, drawn evenly for each packet; order is kept."""
    return lambda packet: rng.uniform(low_s, high_s) if crosses(packet, link) else None


def black_hole(link: Link) -> Rule:
    """Nothing on the link arrives, either way, and nobody is told. What was sent arrives after the heal, in order."""
    return lambda packet: Verdict.HOLD if crosses(packet, link) else None


def one_way(source: str, target: str) -> Rule:
    """Nothing arrives that goes this way; what goes the other way does."""
    return lambda packet: Verdict.HOLD if goes(packet, source, target) else None


def reset(link: Link) -> Rule:
    """Whoever sends anything on the link has its connection reset, and new ones are refused.

    Connections on which nobody sends do not notice; `network.reset_all` is for them.
    """
    return lambda packet: Verdict.RESET if crosses(packet, link) else None


def refuse(link: Link) -> Rule:
    """New connections are refused; those that are open stay. A call of `rpc.py` makes no connection of its own."""
    return lambda packet: Verdict.RESET if packet.connects and crosses(packet, link) else None


def slow_drip(link: Link, bytes_per_s: float) -> Rule:
    """Each direction of each connection passes so many bytes a second, a few at a time."""

    def rule(packet: Packet) -> Opinion:
        if not packet.data or not crosses(packet, link):
            return None
        # One to the most, by how many went before: nothing is to be drawn for it.
        size_bytes = 1 + packet.bytes_before % DRIP_BYTES_MAX
        return Piece(size_bytes, min(size_bytes, len(packet.data)) / bytes_per_s)

    return rule


def cut_after_bytes(source: str, target: str, count: int) -> Rule:
    """So many more bytes of each connection arrive that go this way; the next one resets the connection."""
    begins: dict[int, int] = {}

    def rule(packet: Packet) -> Opinion:
        if not packet.data or not goes(packet, source, target):
            return None
        left = count - packet.bytes_before + begins.setdefault(packet.connection, packet.bytes_before)
        if left <= 0:
            return Verdict.RESET
        return Piece(left) if left < len(packet.data) else None

    return rule


def cut_after_command(link: Link, matching: Matching = any_command, times: int = 1, *, first: int = 1) -> Rule:
    """Executed, reply lost: a command arrives, and its connection is reset in place of the first byte that comes back.

    Args:
        link: the client and the server.
        matching: which writes of the client count.
        times: how many of them it befalls.
        first: which one is the first of those, from 1.
    """
    befalls = _Chosen(link, matching, times, first)
    cut: set[int] = set()

    def rule(packet: Packet) -> Opinion:
        if befalls(packet):
            cut.add(packet.connection)
        if packet.connection not in cut or not goes(packet, link[1], link[0]):
            return None
        cut.remove(packet.connection)
        return Verdict.RESET

    return rule


def lose_request(link: Link, matching: Matching = any_command, times: int = 1, *, first: int = 1) -> Rule:
    """Request lost: the connection is reset in place of the command, of which not a byte arrives.

    Args: as of `cut_after_command`.
    """
    befalls = _Chosen(link, matching, times, first)
    return lambda packet: Verdict.RESET if befalls(packet) else None


class _Chosen:
    """Picks writes of a client: those that match, from one to another."""

    def __init__(self, link: Link, matching: Matching, times: int, first: int) -> None:
        self._client, self._server = link
        self._matching = matching
        self._next = 1
        self._first, self._last = first, first + times - 1
        # The last write of each connection that was looked at: one that is held is judged more than once.
        self._seen: dict[int, int] = {}

    def __call__(self, packet: Packet) -> bool:
        if packet.kind is not Kind.DATA or packet.begun or not goes(packet, self._client, self._server):
            return False
        if packet.connection and self._seen.get(packet.connection, -1) >= packet.number:
            return False
        self._seen[packet.connection] = packet.number
        if self._next > self._last or not self._matching(packet.data):
            return False
        self._next += 1
        return self._next > self._first
