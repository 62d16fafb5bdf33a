"""The built-in proxy carries what it does not understand untouched: gRPC, HTTP, anything."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from edgescale.errors import Unavailable
from edgescale.harness.chaos.fault_proxy import FaultProxy, proxied
from edgescale.harness.chaos.toxic import Toxic
from edgescale.harness.chaos.toxics import Latency, Reset, SlowDrip
from edgescale.local.child import LOOPBACK
from edgescale.telemetry.progress import Readiness
from edgescale.worker.health import health_served
from tests.chaos.linked import raw
from tests.door import calling, ingesting
from tests.servers import Server

# All that may befall bytes and must not change them.
HARMLESS: list[Toxic] = [
    Latency(3, 3),
    Latency(1, direction="upstream"),
    SlowDrip(700, 600, 10),
    SlowDrip(900, 10, direction="upstream"),
]


@asynccontextmanager
async def echoing() -> AsyncIterator[FaultProxy]:
    """A link to a server that sends back what it is sent."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    async with proxied(f"{LOOPBACK}:{port}") as proxy, AsyncExitStack() as stack:
        for toxic in HARMLESS:
            await stack.enter_async_context(proxy.toxic(toxic))
        yield proxy
    server.close()


@pytest.mark.parametrize("seed", range(5))
async def test_any_bytes_arrive_as_they_were_sent(seed: int) -> None:
    rng = random.Random(seed)
    parts = [rng.randbytes(rng.randrange(1, 5_000)) for _ in range(20)] + [b"*2\r\n$3\r\nfoo\r\n", b"PING\r\n", b"\r\n"]
    rng.shuffle(parts)
    data = b"".join(parts)
    async with echoing() as proxy, raw(proxy) as connection:
        connection.writer.write(data)
        assert await connection.read(len(data)) == data


async def test_calls_of_grpc_pass_and_break(server: Server, tmp_path: Path) -> None:
    async with (
        ingesting(server.url, tmp_path) as (door, _),
        proxied(door.address) as proxy,
        calling(proxy.url) as caller,
        AsyncExitStack() as stack,
    ):
        for toxic in HARMLESS:
            await stack.enter_async_context(proxy.toxic(toxic))
        assert await caller.serving()
        async with proxy.toxic(Reset(direction="upstream")):
            with pytest.raises(Unavailable):
                await caller.client.analyze_text("The ferry was early.", request_id="r1", timeout_s=5)
        assert proxy.struck[Reset(direction="upstream")] > 0
        assert await caller.serving()


def nobody_asks() -> Readiness:
    raise AssertionError


async def test_requests_of_http_pass() -> None:
    async with (
        health_served(f"{LOOPBACK}:0", nobody_asks) as address,
        proxied(f"http://{address}") as proxy,
        httpx.AsyncClient(base_url=proxy.url, timeout=20) as client,
        AsyncExitStack() as stack,
    ):
        for toxic in HARMLESS:
            await stack.enter_async_context(proxy.toxic(toxic))
        for _ in range(3):
            assert (await client.get("/healthz")).json() == {"status": "alive"}
