"""gRPC without gRPC: its C core cannot be simulated, so servicer methods are called with a context of ours.

A call crosses the simulated network twice. Its deadline runs on the caller's side, and cancels the handler on the
other; a crash of the server ends it as UNAVAILABLE, once the caller's connection has noticed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import Any

import grpc

from edgescale.errors import EdgeScaleError, Unavailable
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.packets import Packet, Verdict
from edgescale.status import DETAILS_KEY, from_status

Method = Callable[[Any, Any], Coroutine[Any, Any, Any]]
Metadata = tuple[tuple[str, str | bytes], ...]
# How long a caller takes to notice that the server's process is gone: its kernel resets the connection.
NOTICE_S = 0.002


class Aborted(Exception):
    """The handler ended the call with a status."""

    def __init__(self, code: grpc.StatusCode, message: str, trailing: Metadata) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.trailing = trailing


class SimulatedContext:
    """As much of `grpc.aio.ServicerContext` as the service uses.

    Args:
        loop: its clock.
        deadline: by that clock, in seconds; None for none.
        metadata: of the call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float | None, metadata: Metadata) -> None:
        self._loop = loop
        self._deadline = deadline
        self._metadata = metadata

    def time_remaining(self) -> float | None:
        """Seconds, None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def invocation_metadata(self) -> Metadata:
        """As the caller sent it."""
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """End the call with a status."""
        raise Aborted(code, details, trailing_metadata)


class Rpc:
    """Calls from node to node.

    Args:
        network: whose rules and latencies apply.
        rng: draws nothing yet but what the network draws.
    """

    def __init__(self, network: SimulatedNetwork, rng: Random) -> None:
        self._network = network
        self._rng = rng

    async def call(
        self,
        caller: str,
        server: Node,
        method: Method,
        request: Any,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> Any:
        """The response.

        Args:
            caller: name of the calling node.
            server: whose method it is.
            method: of a servicer.
            request: a message, or an async iterator of them.
            timeout_s: the deadline; None for none.
            metadata: sent along.

        Raises:
            EdgeScaleError: as the status says; UNAVAILABLE when the server is gone.
            TimeoutError: the deadline passed before a status came.
            asyncio.CancelledError: the caller gave up; the handler is cancelled.
        """
        loop = self._network.loop
        deadline = None if timeout_s is None else loop.time() + timeout_s
        context = SimulatedContext(loop, deadline, metadata)
        async with asyncio.timeout_at(deadline):
            await self._cross(caller, server.name)
            if server.crashed:
                raise Unavailable("the server is gone")
            handler = server.spawn(_settled(method(request, context)))
            try:
                outcome = await self._outcome(handler, server)
                await self._cross(server.name, caller)
            except asyncio.CancelledError:
                # The cancellation travels to the server as a reset of the stream.
                server.call_soon(handler.cancel)
                raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _outcome(self, handler: asyncio.Task[Any], server: Node) -> Any:
        """What the handler ended with, watched from the caller's side."""
        await asyncio.wait([handler, server.died], return_when=asyncio.FIRST_COMPLETED)
        if not handler.done():
            await asyncio.sleep(NOTICE_S)
            raise Unavailable("the server is gone")
        return Unavailable("the call was cancelled") if handler.cancelled() else handler.result()

    async def _cross(self, source: str, target: str) -> None:
        while True:
            verdict = self._network.judge(Packet(source, target, b"rpc", 0, 0))
            if verdict is Verdict.RESET:
                raise Unavailable("connection reset")
            if not isinstance(verdict, Verdict):
                await asyncio.sleep(verdict)
                return
            await asyncio.sleep(0.2)


async def _settled(call: Coroutine[Any, Any, Any]) -> Any:
    """The response, or the error that the caller will see, as a value."""
    try:
        return await call
    except Aborted as aborted:
        return _revived(aborted)


def _revived(aborted: Aborted) -> EdgeScaleError:
    details = dict(aborted.trailing).get(DETAILS_KEY)
    return from_status(aborted.code.name, aborted.message, details if isinstance(details, bytes) else None)


async def stream(messages: Iterable[Any]) -> AsyncIterator[Any]:
    """Messages of a client stream, one a turn."""
    for message in messages:
        await asyncio.sleep(0)
        yield message
