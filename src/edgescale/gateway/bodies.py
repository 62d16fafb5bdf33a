"""Request bodies, read piece by piece within their limits."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.types import Receive

from edgescale.errors import InvalidInput, TooLarge, UnsupportedMediaType, UploadStalled
from edgescale.gateway.headers import require_plain_coding
from edgescale.gateway.waits import Disconnected

# A sender that is silent for so long in the midst of its body is taken for dead: TCP retransmits for less than a minute
# on any path that still works, and whoever produces bytes more slowly than this can send them later.
IDLE_S = 60.0

M = TypeVar("M", bound=BaseModel)


def content_length(headers: Headers) -> int | None:
    """The declared size of the body; None when it is sent in chunks.

    Raises:
        InvalidInput: not a number of bytes.
    """
    value = headers.get("content-length")
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 19):  # noqa: PLR2004 - 2^63 has 19 digits
        raise InvalidInput("Content-Length", "must be a number of bytes")
    return int(value)


def require_room(headers: Headers, bytes_max: int) -> None:
    """Refuse a body by its declared size, before a byte of it is read.

    Raises:
        TooLarge: it declares more than `bytes_max`.
        InvalidInput: it declares no number.
    """
    if (content_length(headers) or 0) > bytes_max:
        raise too_large(bytes_max)


def too_large(bytes_max: int) -> TooLarge:
    """The error for a body over its limit."""
    return TooLarge("body", f"is over the limit of {bytes_max} bytes")


async def pieces(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The body as it arrives, in pieces of the server's size; none of them is empty.

    Raises:
        Disconnected: the sender went away before the end.
        UploadStalled: it fell silent.
    """
    more = True
    while more:
        piece, more = await _next(receive)
        if piece:
            yield piece


async def _next(receive: Receive) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(IDLE_S):
            message = await receive()
    except TimeoutError:
        raise UploadStalled(f"nothing of the body arrived for {IDLE_S:g} s") from None
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


async def read_json(request: Request, model: type[M], bytes_max: int) -> M:
    """The body as a value of the model.

    Raises:
        UnsupportedMediaType: it is not declared as JSON.
        TooLarge: it is over `bytes_max`.
        RequestValidationError: it is no JSON, or not what the model wants.
    """
    _require_json(request.headers)
    require_plain_coding(request.headers)
    require_room(request.headers, bytes_max)
    body = await _read(request.receive, bytes_max)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None


async def _read(receive: Receive, bytes_max: int) -> bytes | bytearray:
    body, more = await _next(receive)
    if not more and len(body) <= bytes_max:
        return body  # most bodies come in one piece, and are not copied
    received = bytearray(body)
    while more and len(received) <= bytes_max:
        piece, more = await _next(receive)
        received += piece
    if len(received) > bytes_max:
        raise too_large(bytes_max)
    return received


def _require_json(headers: Headers) -> None:
    # Browsers send some media types across origins without asking first; JSON is not one of them.
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaType("Content-Type", f"must be application/json, not {media_type[:100]!r}")
