"""How clients get through real services: gRPC and HTTP over real sockets."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx
from grpc import StatusCode, aio

from edgescale.calls import SentStatus, write_all
from edgescale.client.client import OPTIONS
from edgescale.client.wire import translated
from edgescale.errors import Unavailable
from edgescale.harness.clients.clients import Door, Stage
from edgescale.harness.clients.grpc_door import GrpcDoor
from edgescale.harness.clients.http_call import BrokenOff, HttpAnswer, HttpCall
from edgescale.harness.clients.rest import HttpDoor
from edgescale.harness.plan import Request
from edgescale.status import DETAILS_KEY
from edgescale.v1.ingestion_service_pb2_grpc import IngestionServiceStub

# Clients that wait for an answer hold a connection each. Idle ones are closed here before the gateway, or who stands
# before it, would: a request that crosses that is lost, and nobody is to blame.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2.0)


class Doors:
    """The doors of a run. To be used in an `async with`, whose end closes all channels.

    Args:
        stage: where the clients are.
        addresses: `host:port` of each door, by its name.
    """

    def __init__(self, stage: Stage, addresses: Mapping[str, str]) -> None:
        self._stage = stage
        self._addresses = addresses
        self._closing = AsyncExitStack()
        self.by_kind: dict[str, Door] = {}

    async def __aenter__(self) -> Self:
        """Make channels; connections follow with the first calls."""
        grpc = {name: at for name, at in self._addresses.items() if name.startswith("ingestion")}
        channels = {
            name: await self._closing.enter_async_context(aio.insecure_channel(at, options=OPTIONS))
            for name, at in grpc.items()
        }
        # No limit of its own: each call has a deadline.
        client = await self._closing.enter_async_context(httpx.AsyncClient(timeout=None, limits=LIMITS))  # noqa: S113
        http = {name: at for name, at in self._addresses.items() if name.startswith("gateway")}
        self.by_kind = {
            "ingestion": RealGrpcDoor(self._stage, channels),
            "gateway": RealHttpDoor(self._stage, client, http),
        }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all channels."""
        await self._closing.aclose()


class RealGrpcDoor(GrpcDoor):
    """Over a channel to each ingestion process."""

    def __init__(self, stage: Stage, channels: Mapping[str, aio.Channel]) -> None:
        super().__init__(stage)
        self._stubs = {name: IngestionServiceStub(channel) for name, channel in channels.items()}

    async def _call(self, request: Request, method: str, message: object, *, timeout_s: float) -> Any:
        called = getattr(self._stubs[request.door], method)
        with translated():
            try:
                if isinstance(message, AsyncGenerator):
                    return await _stream(called(timeout=timeout_s), message)
                return await called(message, timeout=timeout_s)
            except aio.AioRpcError as error:
                # Where no details are sent along, it is the caller's own deadline.
                details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
                if error.code() is StatusCode.DEADLINE_EXCEEDED and details is None:
                    raise TimeoutError from error
                raise


async def _stream(call: aio.StreamUnaryCall[Any, Any], messages: AsyncGenerator[Any, None]) -> Any:
    """The response to all messages, or to as many as the call lived for."""
    sent = SentStatus(call)
    writing = asyncio.create_task(write_all(call, messages))
    try:
        return await call
    except aio.AioRpcError as error:
        raise await sent.of(error) from error
    finally:
        call.cancel()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await messages.aclose()


class RealHttpDoor(HttpDoor):
    """Over HTTP/1.1 to each gateway."""

    def __init__(self, stage: Stage, client: httpx.AsyncClient, addresses: Mapping[str, str]) -> None:
        super().__init__(stage)
        self._client = client
        self._addresses = addresses

    def _call(self, request: Request) -> HttpCall:
        return partial(self._exchange, self._addresses[request.door])

    async def _exchange(
        self,
        address: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body_chunks: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
        cut_after_bytes: int | None = None,
    ) -> HttpAnswer:
        """As `HttpCall`."""
        # What is small goes whole, with its length; an upload in pieces, and only its end tells that it is complete.
        small = isinstance(body_chunks, list | tuple)
        content = b"".join(body_chunks) if small else _until(body_chunks, cut_after_bytes)
        async with asyncio.timeout(timeout_s):
            try:
                answer = await self._client.request(
                    method, f"http://{address}{path}", headers=dict(headers), content=content
                )
            except httpx.TransportError as error:
                raise Unavailable(f"{type(error).__name__}: {error}") from error
        return HttpAnswer(answer.status_code, answer.headers, answer.content)


async def _until(chunks: Iterable[bytes], cut_after_bytes: int | None) -> AsyncIterator[bytes]:
    """The chunks; a body that breaks off takes its connection along."""
    left = cut_after_bytes
    for chunk in chunks:
        if left is not None and len(chunk) > left:
            yield chunk[:left]
            raise BrokenOff
        yield chunk
        left = None if left is None else left - len(chunk)
