"""The two ends of a simulated connection."""

import asyncio
import contextvars
from typing import TYPE_CHECKING

from edgescale.harness.simulation.direction import Direction
from edgescale.harness.simulation.packets import Kind
from edgescale.harness.simulation.tasks import OWNER

if TYPE_CHECKING:
    from edgescale.harness.simulation.network import SimulatedNetwork

# Bytes on their way at which a sender is asked to pause. Source: the default of asyncio's transports.
HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = HIGH_WATER_BYTES // 4


class Connection:
    """Two transports, and the two directions between them."""

    def __init__(self, network: "SimulatedNetwork", number: int, source: str, target: str) -> None:
        self.network = network
        self.number = number
        self.near = SimulatedTransport(self, source, target)
        self.far = SimulatedTransport(self, target, source)
        self.directions = (Direction(self, self.near, self.far), Direction(self, self.far, self.near))
        self.near.outgoing, self.far.outgoing = self.directions
        self.near.incoming, self.far.incoming = reversed(self.directions)

    def cut(self) -> None:
        """Both ends lose the connection at once; nothing on its way arrives."""
        for transport in (self.near, self.far):
            transport.lose(ConnectionResetError("connection reset by peer"))

    def reset(self) -> None:
        """Each end is sent a reset, behind what has departed.

        A process that is dead needs none, and what one had closed, its kernel brings to its end.
        """
        for sender, receiver in ((self.near, self.far), (self.far, self.near)):
            if receiver.dead:
                receiver.lose(None)
            elif not sender.is_closing():
                sender.outgoing.reset()

    def forget(self) -> None:
        """Take it off the network's list once both ends are lost."""
        if self.near.lost and self.far.lost and self in self.network.connections:
            self.network.connections.remove(self)


class SimulatedTransport(asyncio.Transport):
    """One end of a connection, for an asyncio protocol.

    Attributes:
        node: whose end it is.
        paused: it does not read now.
        lost: the connection is over at this end.
        context: in which its protocol is called.
    """

    outgoing: Direction
    incoming: Direction

    def __init__(self, connection: Connection, node: str, peer: str) -> None:
        super().__init__({"peername": (peer, 0), "sockname": (node, 0)})
        self.connection = connection
        self.node = node
        self.paused = False
        self.lost = False
        self.context: contextvars.Context | None = None
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        self._writing_paused = False

    @property
    def dead(self) -> bool:
        """Whether the process has crashed whose end it is."""
        owner = self.context.get(OWNER) if self.context is not None else None
        return owner is not None and owner.crashed

    def attach(self, protocol: asyncio.Protocol) -> None:
        """Give the end to its protocol; from now on its callbacks run in the present context."""
        self.context = contextvars.copy_context()
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put bytes on their way."""
        if self._closing or self.lost or not data:
            return
        outgoing = self.outgoing
        outgoing.send(Kind.DATA, bytes(data))
        if outgoing.bytes_waiting > HIGH_WATER_BYTES and not self._writing_paused and self._protocol:
            self._writing_paused = True
            self._protocol.pause_writing()

    def drained(self) -> None:
        """Some bytes have arrived; a sender that was paused may go on."""
        if self._writing_paused and self.outgoing.bytes_waiting <= LOW_WATER_BYTES and self._protocol:
            self._writing_paused = False
            self._protocol.resume_writing()

    def receive(self, kind: Kind, data: bytes) -> None:
        """Something has come from the other end; what comes to an end that is lost vanishes."""
        if self.lost or self._protocol is None:
            return
        if kind is Kind.DATA:
            self._protocol.data_received(data)
        elif kind is Kind.RESET:
            self.lose(ConnectionResetError("connection reset by peer"))
        elif not self._protocol.eof_received():
            self.close()

    def pause_reading(self) -> None:
        """Let what comes wait."""
        self.paused = True

    def resume_reading(self) -> None:
        """Let it come."""
        self.paused = False
        self.incoming.await_arrival()

    def is_reading(self) -> bool:
        """Whether it may come."""
        return not self.paused and not self._closing

    def is_closing(self) -> bool:
        """Whether this end is closed, or about to be."""
        return self._closing or self.lost

    def get_write_buffer_size(self) -> int:
        """Bytes that have not arrived yet."""
        return self.outgoing.bytes_waiting

    def close(self) -> None:
        """Send the end of the stream behind what is on its way."""
        if not self._closing and not self.lost:
            self._closing = True
            self.outgoing.send(Kind.END)
            self.connection.network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        """Give the connection up: the other end is sent a reset, behind what has departed."""
        if not self.lost:
            self.outgoing.reset()
            self.lose(None)

    def lose(self, error: Exception | None) -> None:
        """Tell the protocol that the connection is gone."""
        if self.lost:
            return
        self.lost = True
        self.incoming.drop()
        self.connection.forget()
        if self._protocol is not None:
            self.connection.network.loop.call_soon(self._protocol.connection_lost, error, context=self.context)
