"""The gateway's channels to ingestion in a simulation: which process they lead to, and what happens when it goes.

As gRPC's `pick_first` does, a channel keeps one connection as long as it can, makes another one with the next call, and
fails calls at once while it waits to try again.
Source: gRPC's "Connection Backoff Protocol", "Keepalive" and `pick_first`, with the options of `gateway/upstream.py`.
"""

import asyncio
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from edgescale.harness.simulation.calls import SimulatedCall, SimulatedUpload
from edgescale.harness.simulation.line import AGAIN_S, NOBODY, OPENING, Call, End, Line
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.rpc import Metadata, Method
from edgescale.harness.simulation.served import Served, Status

if TYPE_CHECKING:
    from edgescale.harness.simulation.services import Ingestion
    from edgescale.harness.simulation.world import World

CONNECT_S = 1.0
BACKOFF_S = 0.1
BACKOFF_FACTOR = 1.6
BACKOFF_MAX_S = 1.0
BACKOFF_JITTER = 0.2
# How long data may go unacknowledged before the kernel gives the connection up. Source: gRPC's TCP_USER_TIMEOUT.
UNACKNOWLEDGED_S = 10.0
# When a peer that has gone without a word is found gone by pings.
KEEPALIVE_S = 40.0
GONE = Status(grpc.StatusCode.UNAVAILABLE, "Socket closed")
NOBODY_THERE = Status(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")


class Link:
    """One connection of a channel, and the calls on it.

    Args:
        world: where it is.
        gateway: the near end.
        ingestion: the far end.
        rng: draws how cancellations and failures interleave.

    Attributes:
        calls: open ones, at the gateway.
        served: the same at ingestion.
    """

    def __init__(self, world: "World", gateway: Node, ingestion: "Ingestion", rng: Random) -> None:
        self.loop = world.loop
        self.server = ingestion.node
        self.rng = rng
        self.calls: dict[SimulatedCall, None] = {}
        self.served: dict[Served, None] = {}
        self._world = world
        self._ingestion = ingestion
        self._unheard = False
        self._connected: asyncio.Future[bool] = world.loop.create_future()
        near = End(gateway.name, gateway.context, self._lost_here)
        far = End(self.server.name, self.server.context, self._lost_there)
        self._line = Line(world.network, near, far, patience_s=UNACKNOWLEDGED_S)
        # A process that dies resets its connections; a machine that is gone does not.
        for node in (gateway, self.server):
            node.died.add_done_callback(self._died, context=NOBODY)

    def _died(self, _: object) -> None:
        self.loop.call_later(KEEPALIVE_S, self._line.reset, context=NOBODY)

    @property
    def usable(self) -> bool:
        """Whether new calls may go over it; a server that stops says so, and takes no new ones."""
        return self._line.open and not self._ingestion.stopping.is_set()

    async def connect(self) -> bool:
        """One message each way; False when nobody answers."""
        self._line.to_far(lambda: self._line.to_near(self._answered, OPENING), OPENING)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._connected
        except TimeoutError:
            self._line.close()
            return False

    def _answered(self) -> None:
        if not self._connected.done():
            self._connected.set_result(True)

    def method(self, name: str) -> Method:
        """A method of the servicer, or of the health service."""
        method: Method = self._check if name == "Check" else getattr(self._ingestion.service, name)
        return method

    async def _check(self, request: HealthCheckRequest, context: object) -> HealthCheckResponse:
        """As `edgescale.ingestion.server` has it said: it serves when its inbox is subscribed."""
        del request, context
        serving = self._ingestion.inbox.ready.is_set()
        return HealthCheckResponse(status=HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING)

    def to_server(self, arrive: Call) -> None:
        """Send something of a call."""
        self._line.to_far(arrive)
        if self.server.crashed and not self._unheard:
            self._unheard = True
            self._send_again(UNACKNOWLEDGED_S)

    def _send_again(self, patience_s: float) -> None:
        """Nothing acknowledges what was sent to a machine that is gone. The next life at its address resets it."""
        reborn = self._world.incarnations[self.server.name] > self.server.incarnation
        if reborn or patience_s <= 0:
            self._line.reset()
        else:
            self.loop.call_later(AGAIN_S, self._send_again, patience_s - AGAIN_S, context=NOBODY)

    def to_gateway(self, arrive: Call) -> None:
        """Send something of a call back."""
        self._line.to_near(arrive)

    def _lost_here(self) -> None:
        if not self._connected.done():
            self._connected.set_result(False)
        for call in list(self.calls):
            call.end(GONE)

    def _lost_there(self) -> None:
        for served in list(self.served):
            served.cancel()

    def close(self) -> None:
        """Cancel what is open, and let the line be."""
        for call in list(self.calls):
            call.cancel()


class SimulatedChannel:
    """One channel of one life of a gateway.

    Args:
        world: where ingestion is looked for.
        gateway: whose channel it is.
        rng: draws the order in which processes are tried, and the jitter.
    """

    def __init__(self, world: "World", gateway: Node, rng: Random) -> None:
        self._world = world
        self._gateway = gateway
        self._rng = rng
        self._link: Link | None = None
        self._waiting: list[SimulatedCall] = []
        self._connecting = False
        self._failures = 0
        self._again_at = 0.0

    def unary_unary(
        self, method: str, request: Any, *, timeout: float | None = None, metadata: Metadata = ()
    ) -> SimulatedCall:
        """A call with one request and one response."""
        call = SimulatedCall(self._world.loop, method, request, timeout_s=timeout, metadata=metadata)
        self._place(call)
        return call

    def stream_unary(self, method: str, *, timeout: float | None = None, metadata: Metadata = ()) -> SimulatedUpload:
        """A call with many requests and one response."""
        call = SimulatedUpload(self._world.loop, method, timeout_s=timeout, metadata=metadata)
        self._place(call)
        return call

    def _place(self, call: SimulatedCall) -> None:
        if self._link is not None and self._link.usable:
            call.begin(self._link)
        elif self._connecting or self._world.loop.time() >= self._again_at:
            self._waiting.append(call)
            if not self._connecting:
                self._connecting = True
                self._gateway.spawn(self._connect())
        else:
            self._world.loop.call_soon(call.end, NOBODY_THERE)

    async def _connect(self) -> None:
        self._link = await self._connected()
        self._connecting = False
        if self._link is None:
            self._back_off()
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if self._link is None:
                call.end(NOBODY_THERE)
            elif not call.over:
                call.begin(self._link)

    async def _connected(self) -> Link | None:
        """A connection to the first process that answers."""
        living = [life for life in self._world.ingestions.values() if _listens(life)]
        self._rng.shuffle(living)
        for life in living:
            link = Link(self._world, self._gateway, life, self._rng)
            if await link.connect():
                self._failures = 0
                return link
        return None

    def _back_off(self) -> None:
        usual_s = min(BACKOFF_S * BACKOFF_FACTOR**self._failures, BACKOFF_MAX_S)
        self._failures += 1
        self._again_at = self._world.loop.time() + usual_s * self._rng.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)

    def close(self) -> None:
        """Cancel what is open."""
        for call in self._waiting:
            call.cancel()
        if self._link is not None:
            self._link.close()


def _listens(life: "Ingestion") -> bool:
    return not life.node.crashed and not life.stopping.is_set()
