"""A worker's health, over HTTP: it serves nobody, so nothing else would tell whether it still consumes."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from edgescale.listening import address_of, listen
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.telemetry.progress import Readiness

Message = MutableMapping[str, Any]
JSON, PROBLEM = "application/json", "application/problem+json"
OK, NOT_FOUND, NOT_ALLOWED, UNAVAILABLE = 200, 404, 405, 503
METHODS = ("GET", "HEAD")


class HealthApp:
    """`/healthz`: the process answers. `/readyz`: it consumes. An ASGI application.

    Args:
        readiness: says whether it consumes.
    """

    def __init__(self, readiness: Callable[[], Readiness]) -> None:
        self._readiness = readiness

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request; its body is not read."""
        del receive
        status, document = self._answer(scope["method"], scope["path"])
        body = json.dumps(document).encode()
        headers = [
            (b"content-type", (JSON if status == OK else PROBLEM).encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *([(b"allow", ", ".join(METHODS).encode())] if status == NOT_ALLOWED else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        if path not in {"/healthz", "/readyz"}:
            return _problem(NOT_FOUND, "NOT_FOUND", "there are /healthz and /readyz here", path)
        if method not in METHODS:
            return _problem(NOT_ALLOWED, "METHOD_NOT_ALLOWED", f"{path} is to be read", path)
        if path == "/healthz":
            return OK, {"status": "alive"}
        readiness = self._readiness()
        if readiness.state == "consuming":
            return OK, {"status": "consuming"}
        extra = {"state": readiness.state, "stalled_ms": dict(readiness.stalled)}
        return _problem(UNAVAILABLE, "NOT_CONSUMING", readiness.sentence, path, **extra)


def _problem(status: int, reason: str, detail: str, path: str, **members: Any) -> tuple[int, dict[str, Any]]:
    """A problem document, with the members that those of the gateway have. Source: RFC 9457."""
    document = {
        "type": f"urn:edgescale:error:{reason.lower().replace('_', '-')}",
        "title": reason.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": path,
        "reason": reason,
    }
    return status, document | members


class _Server(uvicorn.Server):
    """Uvicorn without signals: they are the worker's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def health_served(bind: str, readiness: Callable[[], Readiness]) -> AsyncIterator[str]:
    """Answer probes within the block.

    Args:
        bind: `host:port`, port 0 for a free one.
        readiness: says whether the worker consumes.

    Yields:
        Where.

    Raises:
        ConfigError: the address cannot be had.
    """
    # It writes lines of its own about malformed requests, outside the catalogue.
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    listening = await listen("worker_health_bind", bind)
    server = _Server(
        uvicorn.Config(
            HealthApp(readiness),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )
    async with _serving(server, listening):
        address = address_of(listening)
        get_log().info(Event.HEALTH_SERVED, address=address)
        yield address


@asynccontextmanager
async def _serving(server: uvicorn.Server, listening: socket.socket) -> AsyncIterator[None]:
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving
