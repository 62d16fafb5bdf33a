"""The two ends of a simulated connection, and what is on its way between them."""

import asyncio
import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any

from edgescale.harness.simulation.packets import Packet, Verdict

if TYPE_CHECKING:
    from edgescale.harness.simulation.network import SimulatedNetwork

# Bytes on their way at which a sender is asked to pause. Source: the default of asyncio's transports.
HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = HIGH_WATER_BYTES // 4


class Connection:
    """Two transports, and the two directions between them."""

    def __init__(self, network: "SimulatedNetwork", source: str, target: str) -> None:
        self.network = network
        self.near = SimulatedTransport(self, source, target)
        self.far = SimulatedTransport(self, target, source)
        self.directions = (Direction(network, self.near, self.far), Direction(network, self.far, self.near))
        self.near.outgoing, self.far.outgoing = self.directions
        self.near.incoming, self.far.incoming = reversed(self.directions)

    def reset(self) -> None:
        """Both ends lose the connection; nothing on its way arrives."""
        self.forget()
        for transport in (self.near, self.far):
            transport.lose(ConnectionResetError("connection reset by peer"))

    def forget(self) -> None:
        """Take it off the network's list."""
        if self in self.network.connections:
            self.network.connections.remove(self)


class Direction:
    """One way of a connection: what is sent arrives in order, or not at all."""

    def __init__(
        self, network: "SimulatedNetwork", sender: "SimulatedTransport", receiver: "SimulatedTransport"
    ) -> None:
        self._network = network
        self._sender = sender
        self._receiver = receiver
        self._waiting: deque[Packet] = deque()
        self._arriving: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._bytes_sent = 0
        self.bytes_waiting = 0

    def send(self, data: bytes) -> None:
        """Put bytes on their way, now and then in two pieces; empty bytes end the stream."""
        pieces = [data]
        if len(data) > 1 and self._network.rng.random() < self._network.latency.fragment_probability:
            cut = self._network.rng.randrange(1, len(data))
            pieces = [data[:cut], data[cut:]]
        for piece in pieces:
            self._waiting.append(Packet(self._sender.node, self._receiver.node, piece, self._numbers, self._bytes_sent))
            self._numbers += 1
            self._bytes_sent += len(piece)
            self.bytes_waiting += len(piece)
        self.pump()

    def pump(self) -> None:
        """Set the first packet going, unless one is, or the receiver does not read, or a rule holds it."""
        if self._arriving is not None or not self._waiting or self._receiver.paused:
            return
        verdict = self._network.judge(self._waiting[0])
        if verdict is Verdict.RESET:
            self._sender.connection.reset()
        elif not isinstance(verdict, Verdict):
            self._arriving = self._network.loop.call_later(verdict, self._arrive, context=self._receiver.context)

    def _arrive(self) -> None:
        self._arriving = None
        # All that was written behind it in the meantime arrives with it, as far as no rule has another opinion.
        packet = self._waiting.popleft()
        self.bytes_waiting -= len(packet.data)
        self._receiver.receive(packet.data)
        self._sender.drained()
        self.pump()

    def drop(self) -> None:
        """Nothing on its way arrives any more."""
        self._waiting.clear()
        self.bytes_waiting = 0
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None


class SimulatedTransport(asyncio.Transport):
    """One end of a connection, for an asyncio protocol."""

    outgoing: Direction
    incoming: Direction

    def __init__(self, connection: Connection, node: str, peer: str) -> None:
        super().__init__({"peername": (peer, 0), "sockname": (node, 0)})
        self.connection = connection
        self.node = node
        self.paused = False
        self.context: Any = None
        self._protocol: asyncio.Protocol | None = None
        self._closing = False
        self._lost = False
        self._writing_paused = False

    def attach(self, protocol: asyncio.Protocol) -> None:
        """Give the end to its protocol; from now on its callbacks run in the present context."""
        self.context = contextvars.copy_context()
        self._protocol = protocol
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put bytes on their way."""
        if self._closing or self._lost or not data:
            return
        self.outgoing.send(bytes(data))
        if self.outgoing.bytes_waiting > HIGH_WATER_BYTES and not self._writing_paused and self._protocol:
            self._writing_paused = True
            self._protocol.pause_writing()

    def drained(self) -> None:
        """Some bytes have arrived; a sender that was paused may go on."""
        if self._writing_paused and self.outgoing.bytes_waiting <= LOW_WATER_BYTES and self._protocol:
            self._writing_paused = False
            self._protocol.resume_writing()

    def receive(self, data: bytes) -> None:
        """Bytes from the other end, or its end."""
        if self._lost or self._protocol is None:
            return
        if data:
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()

    def pause_reading(self) -> None:
        """Let what comes wait."""
        self.paused = True

    def resume_reading(self) -> None:
        """Let it come."""
        self.paused = False
        self.incoming.pump()

    def is_reading(self) -> bool:
        """Whether it may come."""
        return not self.paused and not self._closing

    def is_closing(self) -> bool:
        """Whether this end is closed, or about to be."""
        return self._closing or self._lost

    def get_write_buffer_size(self) -> int:
        """Bytes that have not arrived yet."""
        return self.outgoing.bytes_waiting

    def close(self) -> None:
        """Send the end of the stream behind what is on its way."""
        if not self._closing and not self._lost:
            self._closing = True
            self.outgoing.send(b"")
            self.connection.network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        """Reset the connection."""
        self.connection.reset()

    def lose(self, error: Exception | None) -> None:
        """Tell the protocol that the connection is gone."""
        if self._lost:
            return
        self._lost = True
        self.incoming.drop()
        if error is not None:
            self.outgoing.drop()
        self.connection.forget()
        if self._protocol is not None:
            self.connection.network.loop.call_soon(self._protocol.connection_lost, error, context=self.context)
