"""Bytes on their way, and what may become of them."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple


class Verdict(Enum):
    """What becomes of a packet that does not simply arrive."""

    HOLD = "hold"
    """It waits, and all behind it, until no rule holds it any more: a black hole, a partition."""
    RESET = "reset"
    """Both ends see a reset; what is on its way is gone."""


class Kind(Enum):
    """What a packet is to TCP."""

    DATA = "data"
    END = "end"
    """The sender sends nothing more; without data."""
    RESET = "reset"
    """The sender's process is gone, or has given the connection up; without data."""


class Packet(NamedTuple):
    """Some bytes on their way: what one `write` sent, or what is left of it after a piece has gone.

    A packet that is held is judged again whenever a rule is lifted; its connection, direction and number tell that.

    Attributes:
        source, target: names of nodes.
        data: as written.
        number: of the write in its direction, from 0.
        bytes_before: sent in this direction before it.
        connection: a number of its own for each connection, from 1; for what belongs to none, a negative one that it
            shares with its answer, or 0.
        kind: what it is to TCP.
        begun: the beginning of this write has gone already.
    """

    source: str
    target: str
    data: bytes
    number: int
    bytes_before: int
    connection: int = 0
    kind: Kind = Kind.DATA
    begun: bool = False

    @property
    def connects(self) -> bool:
        """Whether it is one way of a handshake: it has no data, and belongs to no connection yet."""
        return not self.data and not self.connection


class Piece(NamedTuple):
    """Only the first bytes of a packet go.

    Attributes:
        size_bytes: how many; the rest is judged once they have arrived. None for all of them, at once.
        delay_s: how much later than usual they arrive.
    """

    size_bytes: int | None
    delay_s: float = 0.0


# A verdict, a piece, a delay in seconds beside the usual latency, or None for no opinion.
Opinion = Verdict | Piece | float | None
Rule = Callable[[Packet], Opinion]
WHOLE = Piece(None)


def strictest(opinions: list[Opinion]) -> Verdict | Piece:
    """What becomes of a packet of which rules think this: resets go before holds; pieces shrink, delays add up."""
    for verdict in (Verdict.RESET, Verdict.HOLD):
        if verdict in opinions:
            return verdict
    pieces = [opinion for opinion in opinions if isinstance(opinion, Piece)]
    sizes = [piece.size_bytes for piece in pieces if piece.size_bytes is not None]
    delays_s = [opinion for opinion in opinions if isinstance(opinion, int | float)]
    return Piece(min(sizes, default=None), sum(piece.delay_s for piece in pieces) + sum(delays_s))
