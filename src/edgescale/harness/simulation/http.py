"""HTTP in simulation: requests cross the network, and an ASGI application answers them, as uvicorn would have it.

Source: the ASGI specification and uvicorn's `httptools_impl.py`.
"""

import asyncio
import contextvars
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edgescale.errors import Unavailable
from edgescale.harness.clients.http_call import BrokenOff, HttpAnswer
from edgescale.harness.simulation.line import OPENING, End, Line

if TYPE_CHECKING:
    from edgescale.harness.simulation.gateway import GatewayLife
    from edgescale.harness.simulation.world import World

Message = MutableMapping[str, Any]
SERVER_ERROR = 500


async def http_call(
    world: "World",
    client: str,
    gateway: "GatewayLife",
    method: str,
    path: str,
    headers: Mapping[str, str],
    body_chunks: Iterable[bytes] = (),
    *,
    timeout_s: float | None = None,
    cut_after_bytes: int | None = None,
) -> HttpAnswer:
    """As `HttpCall`; `client` is the name that rules of the network know the caller by."""
    if not gateway.listening:
        raise Unavailable("connection refused")
    pieces = _until(body_chunks, cut_after_bytes)
    exchange = Exchange(world, client, gateway, _scope(client, method, path, headers), pieces)
    exchange.line.to_far(exchange.begin, OPENING)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await exchange.answer
    finally:
        exchange.leave()
    if isinstance(answer, Exception):
        raise answer
    return answer


class Exchange:
    """One request and its response. The client has the near end of the line, the gateway the far one.

    Args:
        world: where it happens.
        client: who asks.
        gateway: who is asked.
        scope: of the ASGI request.
        pieces: of the body; None breaks it off.

    Attributes:
        answer: what the client waits for.
        line: the connection.
        task: the application's, once the gateway has begun to answer.
    """

    task: asyncio.Task[None]

    def __init__(
        self, world: "World", client: str, gateway: "GatewayLife", scope: dict[str, Any], pieces: Iterator[bytes | None]
    ) -> None:
        self.answer: asyncio.Future[HttpAnswer | Unavailable | BrokenOff] = world.loop.create_future()
        near = End(client, contextvars.copy_context(), self._lost)
        far = End(gateway.node.name, gateway.node.context, self._disconnected)
        self.line = Line(world.network, near, far)
        self._gateway = gateway
        self._scope = scope
        self._pieces = pieces
        self._following = next(pieces, b"")
        self._arrived: Message | None = None
        self._on_its_way = False
        self._changed = asyncio.Event()
        self._gone = False
        self._complete = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    # --- at the client ----------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """The client closes the connection: it has its answer, or wants none any more."""
        if not self.answer.done() or self.answer.cancelled():
            self.line.to_far(self._disconnected)
        self.line.close()

    def _lost(self) -> None:
        self._answered(Unavailable("the connection was reset"))

    def _answered(self, answer: HttpAnswer | Unavailable | BrokenOff) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def _send_piece(self) -> None:
        """The application wants more of the body."""
        if self._following is None:
            self._answered(BrokenOff())
            self.line.to_far(self._disconnected)
        else:
            self._on_its_way = True
            self.line.to_far(partial(self._piece_arrived, self._next_piece()))

    def _next_piece(self) -> Message:
        piece = self._following or b""
        self._following = next(self._pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": self._following != b""}

    # --- at the gateway ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The request's head has come, and the beginning of its body with it."""
        if self._gone:
            return
        if not self._gateway.listening:
            self.line.reset()
            return
        self._gateway.exchanges[self] = None
        if self._following is not None:
            self._arrived = self._next_piece()
        self.task = self._gateway.node.spawn(self._run())

    def _piece_arrived(self, piece: Message) -> None:
        self._on_its_way = False
        self._arrived = piece
        self._changed.set()

    def _disconnected(self) -> None:
        self._gone = True
        self._changed.set()
        self.line.close()

    def cancel(self) -> None:
        """The server's patience is over."""
        self.task.cancel()

    async def _run(self) -> None:
        try:
            await self._gateway.app(self._scope, self._receive, self._send)
        except BaseException:  # noqa: BLE001 - as uvicorn does; the application has written down what it was
            if not self._status:
                await self._send({"type": "http.response.start", "status": SERVER_ERROR})
                await self._send({"type": "http.response.body"})
        self._gateway.exchanges.pop(self)
        if not self._complete:
            self.line.reset()

    async def _receive(self) -> Message:
        while not (self._gone or self._complete):
            if self._arrived is not None:
                message, self._arrived = self._arrived, None
                return message
            if self._following != b"" and not self._on_its_way:
                self._send_piece()
            self._changed.clear()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message.get("headers", ())
            self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
            return
        self._body.append(message.get("body", b""))
        if not message.get("more_body", False):
            self._complete = True
            self._changed.set()
            answer = HttpAnswer(self._status, self._headers, b"".join(self._body))
            self.line.to_near(partial(self._answered, answer))


def _scope(client: str, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    raw_path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (client, 0),
        "server": ("gateway", 0),
    }


def _until(pieces: Iterable[bytes], cut_after_bytes: int | None) -> Iterator[bytes | None]:
    """The pieces that are sent, and None where they break off."""
    room = float("inf") if cut_after_bytes is None else cut_after_bytes
    for piece in pieces:
        if len(piece) > room:
            if room:
                yield piece[: int(room)]
            yield None
            return
        room -= len(piece)
        if piece:
            yield piece
