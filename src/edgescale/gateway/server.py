"""The gateway as a server: its port, its signals, its end."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.gateway.app import make_app
from edgescale.gateway.protocol import GatewayProtocol
from edgescale.gateway.upstream import Ingestion
from edgescale.listening import BACKLOG, address_of, listen
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# They write lines of their own about malformed requests, outside the catalogue. The caller is told anyway.
CHATTY_LOGGERS = ("uvicorn", "python_multipart")
# Longer than load balancers keep idle connections, 60 s mostly: a server that closes one as the next request is on its
# way loses that request, and whoever sent it cannot know. Source: RFC 9112, section 9.5.
IDLE_S = 75


class _Server(uvicorn.Server):
    """Uvicorn, with our signals and a word when it serves."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    def stop(self) -> None:
        """Take no more connections, answer what is open, and return from `serve`."""
        if not self.should_exit:
            get_log().info(Event.SERVICE_DRAINING)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn would raise the signal anew at the end, and the process would die before the channels are closed.
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def serve_gateway(settings: Settings, chance: Chance, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until cancelled; then answer what is open within `drain_grace_ms`.

    Args:
        settings: `http_bind` says where; port 0 takes a free one.
        chance: makes ids.
        ready: told the real `host:port` once connections are taken.

    Raises:
        ConfigError: the address cannot be had.
    """
    for name in CHATTY_LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    listening = await listen("http_bind", settings.http_bind)
    address = address_of(listening)
    log = get_log()

    def on_started() -> None:
        log.info(Event.SERVICE_STARTED, address=address)
        if ready is not None:
            ready(address)

    async with Ingestion.connect(settings) as ingestion:
        server = _Server(_config(settings, make_app(settings, ingestion, chance)), on_started)
        await _serve(server, listening)


def _config(settings: Settings, app: Callable[..., Any]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=GatewayProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who the caller says it is
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=max(1, settings.drain_grace_ms // 1000),
    )


async def _serve(server: _Server, listening: socket.socket) -> None:
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.stop()
        await serving
        raise
    finally:
        if serving.done() and not serving.cancelled() and not serving.exception():
            get_log().info(Event.SERVICE_STOPPED)
