"""An ingestion service whose answers a test writes, behind a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
from fastapi import FastAPI
from google.protobuf.message import Message
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from edgescale.config import Settings
from edgescale.errors import EdgeScaleError
from edgescale.gateway.upstream import SERVICE
from edgescale.status import DETAILS_KEY, to_status
from edgescale.v1 import ingestion_service_pb2 as api
from edgescale.v1.ingestion_service_pb2_grpc import (
    IngestionServiceServicer,
    add_IngestionServiceServicer_to_server,
)
from edgescale.v1.task_pb2 import Task, TaskState

PATIENCE_S = 10.0
Context = aio.ServicerContext[Any, Any]
Answer = Callable[[Any], Awaitable[Message]]
Uploads = AsyncIterator[api.UploadFileRequest]


class CountedChance:
    """Ids that a test can foresee: id-1, id-2."""

    def __init__(self) -> None:
        self.drawn = 0

    def wall_ms(self) -> int:
        return 0

    def uniform(self, low: float, high: float) -> float:
        del high
        return low

    def new_id(self) -> str:
        self.drawn += 1
        return f"id-{self.drawn}"


def task(request_id: str = "r-1", state: str = "SUCCEEDED", **fields: Any) -> Task:
    return Task(request_id=request_id, kind="text", lane="text", state=TaskState.Value(f"TASK_STATE_{state}"), **fields)


class ScriptedIngestion(IngestionServiceServicer):
    """Answers what the test says, and remembers what it was asked.

    Attributes:
        answers: by method; each is given the request, and may raise errors of the tree.
        seen: requests in the order of their arrival.
        metadata: of the last call.
        chunks: of the last upload.
        half_closed: the last upload came to its end.
        entered: set while or after a call was answered.
        cancelled: set once a call was cancelled from outside.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[Any] = []
        self.metadata: dict[str, Any] = {}
        self.timeouts: list[float | None] = []
        self.chunks: list[bytes] = []
        self.half_closed = False
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()

    def answer(self, method: str, *replies: Message | EdgeScaleError | Exception) -> None:
        """Answer calls of the method with these, in this order; the last one again and again."""
        left = list(replies)

        async def reply(_request: Any) -> Message:
            now = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(now, Exception):
                raise now
            return now

        self.answers[method] = reply

    def hang(self, method: str) -> None:
        """Never answer calls of the method."""

        async def reply(_request: Any) -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        self.answers[method] = reply

    async def SendHeartbeat(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("SendHeartbeat", request, context)

    async def AnalyzeText(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("AnalyzeText", request, context)

    async def GetTask(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("GetTask", request, context)

    async def CancelTask(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("CancelTask", request, context)

    async def ListAgents(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("ListAgents", request, context)

    async def ListLanes(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("ListLanes", request, context)

    async def ListDeadLetters(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("ListDeadLetters", request, context)

    async def GetDeadLetter(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("GetDeadLetter", request, context)

    async def ReplayDeadLetters(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("ReplayDeadLetters", request, context)

    async def PurgeDeadLetters(self, request: Any, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("PurgeDeadLetters", request, context)

    async def UploadFile(self, requests: Uploads, context: Context) -> Any:  # noqa: N802 - named by the contract
        return await self._reply("UploadFile", requests, context)

    async def read_all(self, requests: Uploads) -> api.UploadFileResponse:
        """Take an upload to its end, and answer with a queued task."""
        async for request in requests:
            if request.WhichOneof("part") == "start":
                self.seen.append(request.start)
                assert request.start.explicit_end
            elif request.WhichOneof("part") == "end":
                # The end of the messages says nothing: gRPC ends those of a cancelled call, too, before it tells so.
                self.half_closed = True
            else:
                self.chunks.append(request.chunk)
        if not self.half_closed:
            # The cancellation follows.
            await asyncio.Event().wait()
        return api.UploadFileResponse(task=task("r-file", "QUEUED", file_id="f-1"))

    async def _reply(self, method: str, request: Any, context: Context) -> Any:
        if isinstance(request, Message):
            self.seen.append(request)
        self.metadata = dict(context.invocation_metadata() or ())
        self.timeouts.append(context.time_remaining())
        self.entered.set()
        try:
            return await self.answers[method](request)
        except EdgeScaleError as error:
            details = to_status(error).SerializeToString()
            await context.abort(grpc.StatusCode[error.grpc_status], str(error), ((DETAILS_KEY, details),))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)


@asynccontextmanager
async def serving(ingestion: ScriptedIngestion, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """The service on a real port, as healthy as can be; yields its address."""
    server = aio.server(options=(("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0)))
    add_IngestionServiceServicer_to_server(ingestion, server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def small_settings(target: str, **changes: Any) -> Settings:
    """Limits that tests can reach."""
    values: dict[str, Any] = {
        "ingestion_target": target,
        "text_bytes_max": 1000,
        "upload_bytes_max": 10_000_000,
        "wait_default_ms": 5000,
        "wait_max_ms": 9000,
        "redis_patience_ms": 100,
        "redis_timeout_ms": 100,
    }
    return Settings(**{**values, **changes})


def http_client(app: FastAPI) -> httpx.AsyncClient:
    """Speaks to the app without a socket; a defect shows as its answer, not as an exception."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def problem_of(response: httpx.Response, status: int, reason: str) -> dict[str, Any]:
    """The response's problem document, checked for what every one of them must have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["reason"] == reason
    assert document["type"] == "urn:edgescale:error:" + reason.lower().replace("_", "-")
    assert document["title"]
    assert document["detail"]
    assert document["instance"]
    return document


class Exchange:
    """One request straight through ASGI, the body handed out and the connection cut as the test says."""

    def __init__(self, app: FastAPI, path: str, headers: dict[str, str] | None = None) -> None:
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.taken_bytes = 0
        self.sent: list[dict[str, Any]] = []
        self.task: asyncio.Task[None] | None = None

    def give(self, body: bytes, *, more: bool = True) -> None:
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def cut(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    def start(self) -> None:
        self.task = asyncio.create_task(self._app(self._scope, self._receive, self._send))

    async def end(self) -> int:
        """The status, once the app is through with the request."""
        assert self.task is not None
        async with asyncio.timeout(PATIENCE_S):
            await self.task
        status: int = self.sent[0]["status"]
        return status

    async def _receive(self) -> dict[str, Any]:
        message = await self._incoming.get()
        self.taken_bytes += len(message.get("body", b""))
        return message

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
