"""The slots of a cluster: in which one a key is, and who owns which.

Source: Redis cluster specification, "Key distribution model"; CLUSTER SLOTS; "Command key specifications".
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from edgescale.broker.address import Node
from edgescale.broker.script import Argument

# Where the first key stands; elsewhere it is the first argument. Commands without a key must be told whom they are for.
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "XGROUP": 2, "XINFO": 2}


def slot_of(args: Sequence[Argument], at: str | None = None) -> int:
    """The slot of a key, or of a command's first key where none is given."""
    key = _first_key(args) if at is None else at
    return key_slot(key if isinstance(key, bytes) else str(key).encode(errors="replace"))


def _first_key(args: Sequence[Argument]) -> Argument:
    if args[0] == "XREADGROUP":
        return args[args.index("STREAMS") + 1]
    return args[_KEY_AT.get(str(args[0]), 1)]


def unblocked(args: Sequence[Argument]) -> Sequence[Argument]:
    """The command, which takes what is there now where it would have waited. Source: XREADGROUP, BLOCK."""
    if args[0] != "XREADGROUP" or "BLOCK" not in args:
        return args
    at = args.index("BLOCK")
    return (*args[:at], *args[at + 2 :])


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Who owns which slots, as one node told.

    Attributes:
        lasts: the last slot of each range, rising.
        ranges: first slot and owner of each, in the same order.
        nodes: all that were named, owners first.
    """

    lasts: tuple[int, ...] = ()
    ranges: tuple[tuple[int, Node], ...] = ()
    nodes: tuple[Node, ...] = ()

    @classmethod
    def parse(cls, reply: Sequence[Any], asked: Node) -> "SlotMap":
        """Read a reply to CLUSTER SLOTS; a node that does not know its own name has that under which it was asked."""
        rows = sorted(
            ((int(last), int(first), [_node(node, asked) for node in nodes]) for first, last, *nodes in reply),
            key=lambda row: row[0],
        )
        owners = [nodes[0] for _, _, nodes in rows]
        replicas = [node for _, _, nodes in rows for node in nodes[1:]]
        return cls(
            tuple(last for last, _, _ in rows),
            tuple((first, nodes[0]) for _, first, nodes in rows),
            tuple(dict.fromkeys([*owners, *replicas])),
        )

    @property
    def primaries(self) -> tuple[Node, ...]:
        """All that own a slot."""
        return tuple(dict.fromkeys(owner for _, owner in self.ranges))

    def owner(self, slot: int) -> Node | None:
        """Who owns the slot; None when nobody does, as far as is known."""
        at = bisect_right(self.lasts, slot - 1)
        if at == len(self.ranges) or self.ranges[at][0] > slot:
            return None
        return self.ranges[at][1]


def named(host: str, port: int, asked: Node) -> Node:
    """A node as another one tells of it; nameless ones are reached under the name that was asked.

    Source: `cluster-preferred-endpoint-type unknown-endpoint`.
    """
    return Node(host if host not in {"", "?"} else asked.host, port)


def _node(row: Sequence[Any], asked: Node) -> Node:
    host = row[0].decode() if row[0] is not None else ""
    return named(host, int(row[1]), asked)
