"""A connection as simulated gRPC and HTTP see it: messages that travel on their own, each with a latency of its own.

Whoever sends one waits for nothing, and may be dead when it arrives. The network can reset a line like any other of its
connections; a machine that is gone without a word leaves it open, until somebody's patience ends.
"""

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.packets import Packet, Verdict
from edgescale.harness.simulation.rpc import NOTICE_S

if TYPE_CHECKING:
    from edgescale.harness.simulation.transport import Connection

# A message that a rule holds is tried again after so long, as TCP would send it again.
AGAIN_S = 0.2
# What tries again belongs to no node.
NOBODY = contextvars.Context()
DATA = b"message"
# What makes a connection carries nothing.
OPENING = b""

Call = Callable[[], object]


@dataclass(eq=False, slots=True)
class End:
    """One end of a line.

    Attributes:
        node: the name that rules know it by.
        context: where its callbacks run: those of a dead node never do, those of a frozen one later.
        lost: called when the line is reset.
        deaf: whether it knows that the line is gone; nothing arrives after that.
    """

    node: str
    context: contextvars.Context
    lost: Call
    deaf: bool = False


class Line:
    """A connection.

    Args:
        network: whose rules and latencies apply.
        near: one end.
        far: the other one.
        patience_s: how long a message may be held before the connection is given up.
    """

    # Nothing waits in it for the network to look at again; see `Connection`.
    directions = ()

    def __init__(self, network: SimulatedNetwork, near: End, far: End, *, patience_s: float = float("inf")) -> None:
        self.near = near
        self.far = far
        self.open = True
        self._network = network
        self._patience_s = patience_s
        # It has all that the network looks at when it resets the connections of a node.
        self._listed = cast("Connection", self)
        network.connections.append(self._listed)

    def to_far(self, arrive: Call, data: bytes = DATA) -> None:
        """Send a message; `arrive` is called at the far end. Rules see the data: OPENING, or what any message has."""
        self._send(self.near, self.far, arrive, data, 0.0)

    def to_near(self, arrive: Call, data: bytes = DATA) -> None:
        """Send a message; `arrive` is called at the near end."""
        self._send(self.far, self.near, arrive, data, 0.0)

    def _send(self, source: End, target: End, arrive: Call, data: bytes, held_s: float) -> None:
        if not self.open:
            return
        loop = self._network.loop
        verdict = self._network.judge(Packet(source.node, target.node, data, 0, 0))
        if not isinstance(verdict, Verdict):
            loop.call_later(verdict, _arrived, target, arrive, context=target.context)
        elif verdict is Verdict.RESET or held_s >= self._patience_s:
            self.reset()
        else:
            loop.call_later(AGAIN_S, self._send, source, target, arrive, data, held_s + AGAIN_S, context=NOBODY)

    def reset(self) -> None:
        """Both ends lose the connection, once they notice; what is on its way and arrives before that is heard.

        A process that ends leaves to its kernel what it has written.
        """
        if self.close():
            for end in (self.near, self.far):
                self._network.loop.call_later(NOTICE_S, _lost, end, context=end.context)

    def close(self) -> bool:
        """Send nothing more over it; True when it was open until now."""
        was_open, self.open = self.open, False
        if was_open:
            self._network.connections.remove(self._listed)
        return was_open


def _arrived(target: End, arrive: Call) -> None:
    if not target.deaf:
        arrive()


def _lost(end: End) -> None:
    end.deaf = True
    end.lost()
