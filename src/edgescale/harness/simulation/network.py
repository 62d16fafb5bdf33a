"""TCP in memory: each direction of a connection is a queue that keeps its order, with latency drawn from the seed.

A fault is a function from a packet to a verdict: pass it, delay it, hold it, or reset the connection. The first rule
with an opinion decides; taking a rule away heals what it did, and held packets then arrive in order.
"""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import cast

from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.packets import Packet, Rule, Verdict
from edgescale.harness.simulation.tasks import OWNER
from edgescale.harness.simulation.transport import Connection, SimulatedTransport

Accept = Callable[["SimulatedTransport"], asyncio.Protocol]


@dataclass(frozen=True, slots=True)
class Latency:
    """One-way delays in seconds, drawn evenly, and how often a write arrives in pieces."""

    low_s: float = 0.00005
    high_s: float = 0.001
    fragment_probability: float = 0.05


class SimulatedNetwork:
    """All connections of a simulation.

    Args:
        loop: delivers packets in its virtual time.
        rng: draws latencies and fragments.
        latency: of every link.
    """

    def __init__(self, loop: SimulationLoop, rng: Random, latency: Latency | None = None) -> None:
        self.loop = loop
        self.rng = rng
        self.latency = latency or Latency()
        self._listeners: dict[tuple[str, int], tuple[str, Accept, contextvars.Context]] = {}
        self._rules: list[Rule] = []
        self.connections: list[Connection] = []

    def listen(
        self, node: str, host: str, port: int, accept: Accept, *, context: contextvars.Context | None = None
    ) -> None:
        """Let a node take connections at an address; its ends of them run in the context."""
        self._listeners[host, port] = (node, accept, context or contextvars.copy_context())

    def close_listener(self, host: str, port: int) -> None:
        """Refuse connections from now on; those that are open stay."""
        self._listeners.pop((host, port), None)

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[None]:
        """Put a fault in force; it is healed at the end of the block."""
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)
            self.look_again()

    def look_again(self) -> None:
        """Have held packets judged anew."""
        for connection in list(self.connections):
            for direction in connection.directions:
                direction.pump()

    def judge(self, packet: Packet) -> Verdict | float:
        """What becomes of a packet: a verdict, or its delay."""
        usual_s = self.rng.uniform(self.latency.low_s, self.latency.high_s)
        for rule in self._rules:
            opinion = rule(packet)
            if isinstance(opinion, Verdict):
                return opinion
            if opinion is not None:
                return usual_s + opinion
        return usual_s

    async def create_connection(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a listener, as `loop.create_connection` does.

        Raises:
            ConnectionRefusedError: nobody listens there.
            ConnectionResetError: a rule resets connections to there.
        """
        owner = OWNER.get()
        source = getattr(owner, "name", "outside")
        known = self._listeners.get((host, port))
        target = known[0] if known else host
        await self._handshake(source, target)
        known = self._listeners.get((host, port))
        if known is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        connection = Connection(self, source, known[0])
        self.connections.append(connection)
        client = cast("asyncio.Protocol", factory())
        connection.near.attach(client)
        _, accept, context = known
        # A copy each, for a context cannot be entered twice; and never the caller's, which may crash.
        context = context.copy()
        context.run(lambda: connection.far.attach(accept(connection.far)))
        return connection.near, client

    async def _handshake(self, source: str, target: str) -> None:
        """One packet each way; a black hole makes it wait for ever."""
        for packet in (Packet(source, target, b"", 0, 0), Packet(target, source, b"", 0, 0)):
            while True:
                verdict = self.judge(packet)
                if verdict is Verdict.RESET:
                    raise ConnectionResetError("reset while connecting")
                if not isinstance(verdict, Verdict):
                    await asyncio.sleep(verdict)
                    break
                # A held handshake is sent again, as TCP does, once a second.
                await asyncio.sleep(1.0)

    def reset_all(self, node: str) -> None:
        """Reset every connection of a node, as the kernel does when its process dies."""
        for connection in list(self.connections):
            if node in {connection.near.node, connection.far.node}:
                connection.reset()
