"""The Redis model behind a real socket, so that whatever speaks to Redis can speak to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edgescale.harness.simulation.redis import VALKEY_9, Flavour, RedisModel, Session


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that listens."""

    model: RedisModel
    url: str


class Connection(asyncio.Protocol):
    """One connection: a session of the model plugged into a socket."""

    def __init__(self, model: RedisModel) -> None:
        self._model = model
        self._session: Session | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        host, port = transport.get_extra_info("peername")
        self._session = self._model.connect(transport.write, transport.close, address=f"{host}:{port}")

    def data_received(self, data: bytes) -> None:
        assert self._session is not None
        self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._session is not None:
            self._session.disconnect()


@asynccontextmanager
async def served_model(flavour: Flavour = VALKEY_9) -> AsyncIterator[ServedModel]:
    """A model on the machine's clock, on a port of its own."""
    loop = asyncio.get_running_loop()

    def call_later(delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        return loop.call_later(delay_s, callback).cancel

    model = RedisModel(lambda: time.time_ns() // 1000, call_later, flavour=flavour)
    server = await loop.create_server(lambda: Connection(model), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield ServedModel(model, f"redis://127.0.0.1:{port}/0")
    finally:
        server.close()
        model.stop()
        await server.wait_closed()
