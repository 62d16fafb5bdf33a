"""gRPC without gRPC: its C core cannot be simulated, so servicer methods are called with a context of ours.

A call crosses the simulated network twice. Its deadline runs on the caller's side, and cancels the handler on the
other; when the server's connections are reset, it ends as UNAVAILABLE, once that has reached the caller. A server that
falls silent keeps its callers waiting until their deadlines.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import Any

import grpc

from edgescale.errors import EdgeScaleError, Unavailable
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.packets import Kind, Packet, Verdict
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
        self._calls = 0

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
        self._calls += 1
        there = Packet(caller, server.name, method.__name__.encode(), 0, 0, -self._calls)
        back = there._replace(source=server.name, target=caller)
        async with asyncio.timeout_at(deadline):
            await self._cross(there)
            if server.crashed and not server.silent:
                raise Unavailable("the server is gone")
            answer = loop.create_future()
            handler = server.spawn(_serve(method(request, context), answer))
            try:
                outcome = await self._answered(answer, back)
                await self._cross(back)
            except BaseException:
                loop.call_at(self._heard_at(there, deadline), handler.cancel, context=server.context)
                raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _answered(self, answer: asyncio.Future[Any], back: Packet) -> Any:
        with self._network.told_of_reset(back.source, answer):
            try:
                return await answer
            except ConnectionResetError:
                await self._cross(back._replace(kind=Kind.RESET))
                raise Unavailable("the server is gone") from None

    def _heard_at(self, packet: Packet, deadline: float | None) -> float:
        """When the server hears that its caller has given up; it watches the deadline by itself."""
        now = self._network.loop.time()
        verdict = self._network.judge(packet)
        if verdict is Verdict.HOLD:
            return now if deadline is None else deadline
        return now if isinstance(verdict, Verdict) else now + verdict

    async def _cross(self, packet: Packet) -> None:
        try:
            await self._network.cross(packet)
        except ConnectionResetError as error:
            raise Unavailable("connection reset") from error


async def _serve(call: Coroutine[Any, Any, Any], answer: asyncio.Future[Any]) -> None:
    """Answer with the response, or with the error that the caller is to see."""
    try:
        outcome = await call
    except Aborted as aborted:
        outcome = _revived(aborted)
    except asyncio.CancelledError:
        outcome = Unavailable("the call was cancelled")
    except Exception as error:  # noqa: BLE001 - a defect of the service; its caller is the one who can tell
        outcome = error
    if not answer.done():
        answer.set_result(outcome)


def _revived(aborted: Aborted) -> EdgeScaleError:
    details = dict(aborted.trailing).get(DETAILS_KEY)
    return from_status(aborted.code.name, aborted.message, details if isinstance(details, bytes) else None)


async def stream(messages: Iterable[Any]) -> AsyncIterator[Any]:
    """Messages of a client stream, one a turn."""
    for message in messages:
        await asyncio.sleep(0)
        yield message
