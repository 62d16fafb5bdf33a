"""Uvicorn's HTTP protocol with a limit on the head of a request.

The parser keeps whatever it is sent until the head is complete, and nothing bounds how much that is or how long it
takes. Once the head is there, the routes have limits of their own.
"""

import asyncio
from http import HTTPStatus

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edgescale.gateway.problems import MEDIA_TYPE, TYPE_PREFIX

# As much as common servers and proxies take; one more read of the socket may pass before it is noticed.
HEAD_BYTES_MAX = 64 * 1024
# From the connection, or from the first byte of a later request. A head is sent in one go.
HEAD_S = 20.0


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _head_bytes: int | None = None
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a head before long."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to a head that is still incomplete."""
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._head_bytes is None:
            # The head began within this piece, at an unknown place.
            self._head_bytes = 0
            self._expect_head()
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            sentence = f"the request's head is over the limit of {HEAD_BYTES_MAX} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, None
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        del msg
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no sound HTTP request")

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        document = {
            "type": TYPE_PREFIX + status.name.lower().replace("_", "-"),
            "title": status.phrase,
            "status": status,
            "detail": sentence,
            "instance": "/",
            "reason": status.name,
        }
        body = to_json(document)
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
