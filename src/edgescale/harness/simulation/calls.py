"""The caller's side of simulated gRPC calls, as `grpc.aio` has them.

Source: grpc.aio's `_call.py`; the names of its methods and the order of its events are kept where anybody can see them.
"""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc.aio import AioRpcError
from grpc.aio import Metadata as AioMetadata

from edgescale.calls import CORE_ERROR
from edgescale.harness.simulation.rpc import Metadata
from edgescale.harness.simulation.served import Messages, Served, Status

if TYPE_CHECKING:
    from edgescale.harness.simulation.upstream import Link

CANCELLED = Status(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
DEADLINE_EXCEEDED = Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
BROKEN_WRITE = Status(grpc.StatusCode.INTERNAL, CORE_ERROR)


class SimulatedCall:
    """A call with one request and one response.

    Args:
        loop: its clock.
        method: name of the servicer's method.
        request: the message; None for a stream of them.
        timeout_s: the deadline; None for none.
        metadata: sent along.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, method: str, request: Any, *, timeout_s: float | None, metadata: Metadata
    ) -> None:
        self.method = method
        self.over = False
        self._loop = loop
        self._request = request
        self._metadata = metadata
        self._deadline = None if timeout_s is None else loop.time() + timeout_s
        self._timer = None if timeout_s is None else loop.call_later(timeout_s, self.end, DEADLINE_EXCEEDED)
        self._ended: asyncio.Future[None] = loop.create_future()
        self._status: Status | None = None
        self._cancelled = False
        self._callbacks: list[Callable[[SimulatedCall], object]] = []
        self._link: Link | None = None
        self._served: Served | None = None

    def begin(self, link: "Link") -> None:
        """A connection is there: send the request."""
        self._link = link
        self._served = Served(link, self._request, deadline=self._deadline, metadata=self._metadata, answer=self.end)
        link.calls[self] = None
        link.to_server(partial(self._served.start, link.method(self.method)))

    def end(self, status: Status) -> None:
        """A status has come, from wherever; the first one counts."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._link.calls.pop(self, None)
        self._conclude(status)

    def _conclude(self, status: Status) -> None:
        self._set_status(status)
        if not self._ended.done():
            self._ended.set_result(None)

    def _set_status(self, status: Status) -> None:
        self._status = status
        for callback in self._callbacks:
            callback(self)

    def cancel(self) -> bool:
        """Give the call up; False when it is over."""
        if self.over:
            return False
        self._cancelled = True
        if self._link is not None and self._served is not None:
            self._link.to_server(self._served.cancel)
        self.end(CANCELLED)
        return True

    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self._status is not None and self._status.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether a status is there."""
        return self._status is not None

    def add_done_callback(self, callback: Callable[["SimulatedCall"], object]) -> None:
        """Have a callback called each time that the status is set; at once when it is."""
        if self._status is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Seconds; None without a deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def __await__(self) -> Generator[Any, None, Any]:
        """The response.

        Raises:
            AioRpcError: the call ended with another status than OK.
            asyncio.CancelledError: somebody cancelled the call, or whoever waits for it.
        """
        try:
            yield from self._ended
        except asyncio.CancelledError:
            self.cancel()
            raise
        status = self._known()
        if status.code is grpc.StatusCode.OK:
            return status.response
        self._raise()

    def _known(self) -> Status:
        assert self._status is not None  # noqa: S101 - the call is done
        return self._status

    def _raise(self) -> NoReturn:
        if self._cancelled:
            raise asyncio.CancelledError
        status = self._known()
        trailing = AioMetadata.from_tuple(status.trailing)
        raise AioRpcError(status.code, AioMetadata(), trailing, details=status.details)

    async def _settled(self) -> Status:
        if self._status is None:
            await asyncio.shield(self._ended)
        return self._known()

    async def code(self) -> grpc.StatusCode:
        """The status's code, once it is there."""
        return (await self._settled()).code

    async def details(self) -> str:
        """The status's sentence, once it is there."""
        return (await self._settled()).details

    async def initial_metadata(self) -> AioMetadata:
        """None is ever sent."""
        await self._settled()
        return AioMetadata()

    async def trailing_metadata(self) -> AioMetadata:
        """What came with the status, once it is there."""
        return AioMetadata.from_tuple((await self._settled()).trailing)


class SimulatedUpload(SimulatedCall):
    """A call with a stream of requests and one response. A write ends when the server's handler has taken the message.

    A status that comes while a write is under way makes the write fail, and the caller's library then puts a status of
    its own in the place of the server's, or the other way round; see `edgescale.calls`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, method: str, *, timeout_s: float | None, metadata: Metadata
    ) -> None:
        super().__init__(loop, method, None, timeout_s=timeout_s, metadata=metadata)
        self._begun = asyncio.Event()
        self._half_closed = False
        self._taken: asyncio.Future[bool] | None = None

    def begin(self, link: "Link") -> None:
        """A connection is there: send the request's head."""
        super().begin(link)
        self._begun.set()

    async def write(self, message: Any) -> None:
        """Send a message, once the one before it was taken.

        Raises:
            asyncio.InvalidStateError: the call is done, or `done_writing` was called.
            AioRpcError: the call has ended under this write; its status says little.
            asyncio.CancelledError: somebody cancelled the call, or whoever writes.
        """
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._half_closed:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        if not self._begun.is_set():
            await self._begun.wait()
            if self.done():
                self._raise()
        self._taken = taken = self._loop.create_future()
        self._send(partial(self._messages().offer, message, partial(self._acknowledge, taken)))
        try:
            was_taken = await taken
        except asyncio.CancelledError:
            self.cancel()
            raise
        if not was_taken:
            self._set_status(BROKEN_WRITE)
            self._raise()

    def _acknowledge(self, taken: asyncio.Future[bool]) -> None:
        """The handler has taken the message; the word travels back."""
        if self._link is not None:
            self._link.to_gateway(partial(_settle, taken, outcome=True))

    async def done_writing(self) -> None:
        """Say that no more messages come; does nothing when the call is done."""
        if not self.done() and not self._half_closed:
            self._half_closed = True
            self._send(self._messages().end)

    def _conclude(self, status: Status) -> None:
        self._begun.set()
        taken, self._taken = self._taken, None
        if taken is None or taken.done() or self._link is None:
            super()._conclude(status)
            return
        # The write fails, and the status is read: two events of the core, in any order.
        _settle(taken, outcome=False)
        self._read(status, self._link.rng.randrange(3))

    def _read(self, status: Status, turns: int) -> None:
        if turns:
            self._loop.call_soon(self._read, status, turns - 1)
        else:
            super()._conclude(status)

    def _send(self, arrive: Callable[[], object]) -> None:
        assert self._link is not None  # noqa: S101 - the call has begun
        self._link.to_server(arrive)

    def _messages(self) -> Messages:
        assert self._served is not None  # noqa: S101 - the call has begun
        return self._served.messages


def _settle(taken: asyncio.Future[bool], *, outcome: bool) -> None:
    if not taken.done():
        taken.set_result(outcome)
