"""One way of a simulated connection: what is on its way, and when it arrives."""

from collections import deque
from typing import TYPE_CHECKING

from edgescale.harness.simulation.loop import NS
from edgescale.harness.simulation.packets import Kind, Packet, Verdict

if TYPE_CHECKING:
    import asyncio

    from edgescale.harness.simulation.transport import Connection, SimulatedTransport


class Direction:
    """One way of a connection: what is sent arrives in order, or not at all.

    What is sent waits, as long as a rule holds it, then departs, and arrives after its latency. Rules judge whole
    writes as they depart; what has departed arrives, whatever rules come.
    """

    def __init__(self, connection: "Connection", sender: "SimulatedTransport", receiver: "SimulatedTransport") -> None:
        self._connection = connection
        self._network = connection.network
        self._loop = connection.network.loop
        self._sender = sender
        self._receiver = receiver
        self._waiting: deque[tuple[Kind, bytes]] = deque()
        # What has departed, by when it arrives, in nanoseconds.
        self._departed: deque[tuple[int, Kind, bytes]] = deque()
        self._arrival: asyncio.TimerHandle | None = None
        self._last_arrival_ns = 0
        # The next packet departs only when all before it have arrived.
        self._in_pieces = False
        self._begun = False
        self._number = 0
        self._bytes_before = 0
        self.bytes_waiting = 0

    def send(self, kind: Kind, data: bytes = b"") -> None:
        """Put something on its way."""
        self.bytes_waiting += len(data)
        if self._waiting or self._in_pieces or self._network.rules:
            self._waiting.append((kind, data))
            self.pump()
        else:
            self._depart(kind, data, 0)

    def reset(self) -> None:
        """Put a reset on its way, behind what has departed; what has not never does."""
        self.bytes_waiting -= sum(len(data) for _, data in self._waiting)
        self._waiting.clear()
        self._begun = False
        self.send(Kind.RESET)

    def pump(self) -> None:
        """Let what waits depart, in order, as far as the rules allow."""
        while self._waiting and not (self._in_pieces and self._departed):
            kind, data = self._waiting[0]
            if self._sender.dead and not self._sender.is_closing() and kind is not Kind.RESET:
                # A whole machine is gone, and with it what it had not sent; of a process alone a reset would tell.
                return
            opinion = self._network.opinion(self._packet(kind, data))
            if opinion is Verdict.RESET:
                self._connection.cut()
            if isinstance(opinion, Verdict):
                return
            size_bytes = len(data) if opinion.size_bytes is None else opinion.size_bytes
            self._in_pieces = opinion.size_bytes is not None
            self._begun = size_bytes < len(data)
            if self._begun:
                self._waiting[0] = (kind, data[size_bytes:])
            else:
                self._waiting.popleft()
            self._depart(kind, data[:size_bytes], round(opinion.delay_s * NS))

    def _packet(self, kind: Kind, data: bytes) -> Packet:
        source, target = self._sender.node, self._receiver.node
        number, before = self._number, self._bytes_before
        return Packet(source, target, data, number, before, self._connection.number, kind, self._begun)

    def _depart(self, kind: Kind, data: bytes, delay_ns: int) -> None:
        self._number += not self._begun
        self._bytes_before += len(data)
        network = self._network
        if len(data) > 1 and network.rng.random() < network.latency.fragment_probability:
            cut = network.rng.randrange(1, len(data))
            self._fly(kind, data[:cut], delay_ns)
            data = data[cut:]
        self._fly(kind, data, delay_ns)

    def _fly(self, kind: Kind, data: bytes, delay_ns: int) -> None:
        arrives_ns = self._loop.now_ns + self._network.latency_ns() + delay_ns
        # Never before what was sent before.
        self._last_arrival_ns = arrives_ns = max(arrives_ns, self._last_arrival_ns)
        self._departed.append((arrives_ns, kind, data))
        if self._arrival is None:
            self.await_arrival()

    def await_arrival(self) -> None:
        """Set the clock for the next arrival, unless the receiver does not read."""
        if self._departed and self._arrival is None and not self._receiver.paused:
            when_ns, context = self._departed[0][0], self._receiver.context
            self._arrival = self._loop.call_at_ns(when_ns, self._arrive, context=context)

    def _arrive(self) -> None:
        self._arrival = None
        departed, receiver, now_ns = self._departed, self._receiver, self._loop.now_ns
        while departed and departed[0][0] <= now_ns and not receiver.paused:
            _, kind, data = departed.popleft()
            self.bytes_waiting -= len(data)
            receiver.receive(kind, data)
            self._sender.drained()
        if departed:
            self.await_arrival()
        elif self._waiting:
            self.pump()

    def drop(self) -> None:
        """Nothing on its way arrives any more."""
        self._waiting.clear()
        self._departed.clear()
        self.bytes_waiting = 0
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None
