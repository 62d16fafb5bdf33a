"""The server's side of a simulated gRPC call: a handler, and the messages that it iterates over.

Source: grpc.aio's server (`_cython/_cygrpc/aio/server.pyx.pxi`). A call that is cancelled, or whose connection is lost,
first ends the handler's messages as if all had come, and cancels the handler a loop turn or two later.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc

from edgescale.harness.simulation.rpc import Aborted, Metadata, Method, SimulatedContext

if TYPE_CHECKING:
    from edgescale.harness.simulation.upstream import Link


@dataclass(frozen=True, slots=True)
class Status:
    """What a call ended with.

    Attributes:
        code: OK comes with a response.
        details: the sentence.
        trailing: metadata.
        response: None unless the code is OK.
    """

    code: grpc.StatusCode
    details: str = ""
    trailing: Metadata = ()
    response: Any = None


class Messages:
    """A client's stream, as the handler sees it. A message counts as taken once the handler has asked for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[Any, Callable[[], None]]] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Any:
        """The next message, once it is there."""
        while not self._arrived:
            if self._ended:
                raise StopAsyncIteration
            self._reader = self._loop.create_future()
            await self._reader
        message, taken = self._arrived.popleft()
        taken()
        return message

    def offer(self, message: Any, taken: Callable[[], None]) -> None:
        """A message has arrived; `taken` is called when the handler takes it, if ever."""
        if not self._ended:
            self._arrived.append((message, taken))
            self._wake()

    def end(self) -> None:
        """All have arrived."""
        self._ended = True
        self._wake()

    def break_off(self) -> None:
        """No more will be read: the messages end here, and nothing tells the reader that they are not all."""
        self._arrived.clear()
        self.end()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Served:
    """One call at the server.

    Args:
        link: the connection that it came over.
        request: a message; None for a stream of them.
        deadline: by the loop's clock; None for none.
        metadata: of the call.
        answer: takes the status, at the caller's side.
    """

    def __init__(
        self,
        link: "Link",
        request: Any,
        *,
        deadline: float | None,
        metadata: Metadata,
        answer: Callable[[Status], None],
    ) -> None:
        self.messages = Messages(link.loop)
        self._link = link
        self._request = self.messages if request is None else request
        self._deadline = deadline
        self._metadata = metadata
        self._answer = answer
        self._handler: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def start(self, method: Method) -> None:
        """Run the handler, unless the call has been cancelled before it came."""
        if self._over:
            return
        self._link.served[self] = None
        if self._deadline is not None:
            # gRPC's server watches the deadline by itself; the caller may be frozen, or behind a partition.
            self._timer = self._link.loop.call_at(self._deadline, self.cancel)
        self._handler = self._link.server.spawn(self._run(method))

    async def _run(self, method: Method) -> None:
        context = SimulatedContext(self._link.loop, self._deadline, self._metadata)
        try:
            status = Status(grpc.StatusCode.OK, response=await method(self._request, context))
        except Aborted as aborted:
            status = Status(aborted.code, aborted.message, aborted.trailing)
        except asyncio.CancelledError:
            status = Status(grpc.StatusCode.CANCELLED)
        except Exception as error:  # noqa: BLE001 - as grpc.aio's server does
            status = Status(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")
        self._close()
        self._link.to_gateway(lambda: self._answer(status))

    def _close(self) -> None:
        self._over = True
        self._link.served.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def cancel(self) -> None:
        """The caller has cancelled, or is gone, or its deadline has passed."""
        if self._over:
            return
        self._close()
        self.messages.break_off()
        if self._handler is not None:
            self._link.server.call_soon(self._cancel_handler, self._link.rng.randrange(2))

    def _cancel_handler(self, turns: int) -> None:
        if turns:
            self._link.server.call_soon(self._cancel_handler, turns - 1)
        elif self._handler is not None:
            self._handler.cancel()
