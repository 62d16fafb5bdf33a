"""TCP in memory: each direction of a connection is a queue that keeps its order, with latency drawn from the seed.

A fault is a function from a packet to an opinion (see `packets.py` and `rules.py`): it may arrive later or in pieces,
wait, or reset the connection. All rules are asked about every packet, and the strictest opinion decides. Taking a rule
away heals what it did: what was held departs, in order, at once.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import Any, cast

from edgescale.harness.simulation.loop import NS, SimulationLoop
from edgescale.harness.simulation.packets import WHOLE, Packet, Piece, Rule, Verdict, strictest
from edgescale.harness.simulation.tasks import OWNER
from edgescale.harness.simulation.transport import Connection, SimulatedTransport

Accept = Callable[["SimulatedTransport"], asyncio.Protocol]


@dataclass(frozen=True, slots=True)
class Latency:
    """One-way delays in seconds, drawn evenly, and how often a write arrives in pieces."""

    low_s: float = 0.00005
    high_s: float = 0.001
    fragment_probability: float = 0.05


@dataclass(frozen=True, slots=True)
class Listener:
    """Who takes connections at an address.

    Attributes:
        node: its name.
        accept: makes the protocol of a new connection's far end.
        context: in which all far ends run.
    """

    node: str
    accept: Accept
    context: contextvars.Context


class SimulatedNetwork:
    """All connections of a simulation.

    Args:
        loop: delivers packets in its virtual time.
        rng: draws latencies and fragments.
        latency: of every link.

    Attributes:
        connections: those of which at least one end is open.
        rules: those in force.
    """

    def __init__(self, loop: SimulationLoop, rng: Random, latency: Latency | None = None) -> None:
        self.loop = loop
        self.rng = rng
        self.latency = latency or Latency()
        self.connections: list[Connection] = []
        self.rules: list[Rule] = []
        self._low_ns = round(self.latency.low_s * NS)
        self._span_ns = round(self.latency.high_s * NS) - self._low_ns
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._last_connection = 0
        self._lifted = asyncio.Event()
        self._untold: dict[str, dict[asyncio.Future[Any], None]] = {}

    def listen(
        self, node: str, host: str, port: int, accept: Accept, *, context: contextvars.Context | None = None
    ) -> None:
        """Let a node take connections at an address; its ends of them run in the context."""
        self._listeners[host, port] = Listener(node, accept, contextvars.copy_context() if context is None else context)

    def close_listener(self, host: str, port: int) -> None:
        """Refuse connections from now on; those that are open stay."""
        self._listeners.pop((host, port), None)

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[None]:
        """Put a fault in force; it is healed at the end of the block."""
        self.rules.append(rule)
        try:
            yield
        finally:
            self.rules.remove(rule)
            self.look_again()

    def look_again(self) -> None:
        """Have held packets judged anew."""
        for connection in list(self.connections):
            for direction in connection.directions:
                direction.pump()
        self._lifted.set()
        self._lifted.clear()

    def opinion(self, packet: Packet) -> Verdict | Piece:
        """What the rules make of a packet."""
        return strictest([rule(packet) for rule in self.rules]) if self.rules else WHOLE

    def latency_ns(self) -> int:
        """How long the next packet takes."""
        return self._low_ns + int(self.rng.random() * self._span_ns)

    def judge(self, packet: Packet) -> Verdict | float:
        """What becomes of a packet that belongs to no connection: a verdict, or after how many seconds it arrives."""
        latency_s = self.latency_ns() / NS
        opinion = self.opinion(packet)
        return opinion if isinstance(opinion, Verdict) else latency_s + opinion.delay_s

    async def cross(self, packet: Packet) -> None:
        """Wait until a packet that belongs to no connection has arrived; one that is held waits for the heal.

        Raises:
            ConnectionResetError: a rule resets it.
        """
        while (verdict := self.judge(packet)) is Verdict.HOLD:
            await self._lifted.wait()
        if isinstance(verdict, Verdict):
            raise ConnectionResetError("connection reset by peer")
        await asyncio.sleep(verdict)

    async def create_connection(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a listener, as `loop.create_connection` does.

        Raises:
            ConnectionRefusedError: nobody listens there, or a rule refuses connections.
        """
        owner = OWNER.get()
        source = owner.name if owner else "outside"
        listener = self._listeners.get((host, port))
        await self._shake_hands(source, listener.node if listener else host)
        listener = self._listeners.get((host, port))
        if listener is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        self._last_connection += 1
        connection = Connection(self, self._last_connection, source, listener.node)
        self.connections.append(connection)
        client = cast("asyncio.Protocol", factory())
        connection.near.attach(client)
        # A copy each, for a context cannot be entered twice; and never the caller's, which may crash.
        listener.context.copy().run(lambda: connection.far.attach(listener.accept(connection.far)))
        return connection.near, client

    async def _shake_hands(self, source: str, target: str) -> None:
        try:
            await self.cross(Packet(source, target, b"", 0, 0))
            await self.cross(Packet(target, source, b"", 0, 0))
        except ConnectionResetError as error:
            # A handshake that is answered by a reset is what a refusal is.
            raise ConnectionRefusedError("connection refused") from error

    @contextmanager
    def told_of_reset(self, node: str, future: asyncio.Future[Any]) -> Iterator[None]:
        """Within the block, a reset of all of the node's connections fails the future with ConnectionResetError."""
        waiting = self._untold.setdefault(node, {})
        waiting[future] = None
        try:
            yield
        finally:
            del waiting[future]

    def reset_all(self, node: str) -> None:
        """Reset every connection of a node, as its kernel does when the process dies.

        Its peers hear of it behind what is on its way to them, after the usual latency, or once no rule holds that any
        more; until then their ends are half-open. Without this, a crash is that of a whole machine: nobody is told.
        """
        for connection in list(self.connections):
            if node in {connection.near.node, connection.far.node}:
                connection.reset()
        for future in self._untold.get(node, ()):
            if not future.done():
                future.set_exception(ConnectionResetError("connection reset by peer"))
