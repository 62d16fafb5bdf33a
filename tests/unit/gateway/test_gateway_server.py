"""The gateway on a real socket, under a real uvicorn."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from edgescale.config import Settings
from edgescale.errors import ConfigError, LaneFull
from edgescale.gateway.server import _address_of, _listen, serve_gateway
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextResponse, GetTaskResponse, UploadFileResponse
from tests.support import eventually
from tests.unit.gateway.gateway_fixtures import (
    PATIENCE_S,
    CountedChance,
    ScriptedIngestion,
    Uploads,
    problem_of,
    small_settings,
    task,
)


class Gateway:
    """A gateway that serves, and its end."""

    def __init__(self, address: str, serving: asyncio.Task[None]) -> None:
        self.address = address
        self.serving = serving
        self.client = httpx.AsyncClient(base_url=f"http://{address}", timeout=PATIENCE_S)

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([self.serving])


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_gateway(settings, CountedChance(), ready=address.set_result))
    async with asyncio.timeout(PATIENCE_S):
        either: list[asyncio.Future[Any]] = [serving, address]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    running = Gateway(address.result(), serving)
    try:
        yield running
    finally:
        await running.client.aclose()
        serving.cancel()
        await running.ended()


@pytest.fixture
def bound(target: str) -> Settings:
    return small_settings(target, http_bind="127.0.0.1:0", drain_grace_ms=1000)


async def test_it_serves_where_it_says_and_does_not_say_what_it_is(bound: Settings) -> None:
    async with gateway(bound) as running:
        response = await running.client.get("/readyz")

        assert response.json() == {"status": "ready"}
        assert "server" not in response.headers
        assert not running.address.endswith(":0")


async def test_a_port_that_is_taken_is_a_clear_refusal(bound: Settings) -> None:
    async with gateway(bound) as running:
        second = bound.model_copy(update={"http_bind": running.address})

        with pytest.raises(ConfigError, match=r"http_bind 127.0.0.1:\d+: .*in use"):
            await serve_gateway(second, CountedChance())


async def test_a_port_is_taken_from_the_moment_it_is_bound() -> None:
    first = await _listen("127.0.0.1:0")

    with first, pytest.raises(ConfigError, match="in use"):
        await _listen(_address_of(first))


async def test_an_address_that_nobody_has_is_a_clear_refusal(bound: Settings) -> None:
    settings = bound.model_copy(update={"http_bind": "no.such.host.invalid:1"})

    with pytest.raises(ConfigError, match="http_bind"):
        await serve_gateway(settings, CountedChance())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_once_open_requests_are_answered(
    number: signal.Signals, bound: Settings, ingestion: ScriptedIngestion
) -> None:
    release = asyncio.Event()

    async def later(_request: object) -> AnalyzeTextResponse:
        await release.wait()
        return AnalyzeTextResponse(task=task("id-1"))

    ingestion.answers["AnalyzeText"] = later
    async with gateway(bound) as running:
        waiting = asyncio.create_task(running.client.post("/v1/text-analyses", json={"text": "x"}))
        async with asyncio.timeout(PATIENCE_S):
            await ingestion.entered.wait()

        os.kill(os.getpid(), number)
        await eventually(lambda: refuses(running.address))
        release.set()

        assert (await waiting).status_code == 200
        await running.ended()
        assert running.serving.exception() is None


async def refuses(address: str) -> bool:
    host, port = address.split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


async def test_whoever_still_waits_when_the_grace_is_over_is_sent_elsewhere(
    bound: Settings, ingestion: ScriptedIngestion
) -> None:
    ingestion.hang("AnalyzeText")
    async with gateway(bound) as running:
        waiting = asyncio.create_task(running.client.post("/v1/text-analyses", json={"text": "x"}))
        async with asyncio.timeout(PATIENCE_S):
            await ingestion.entered.wait()

        running.serving.cancel()

        response = await waiting
        await running.ended()
    document = problem_of(response, 503, "NOT_SERVING")
    assert document["request_id"] == "id-1"
    assert response.headers["Retry-After"] == "1"


async def test_a_refusal_in_the_midst_of_a_large_upload_reaches_the_sender_as_429(
    bound: Settings, ingestion: ScriptedIngestion
) -> None:
    async def take_some(requests: Uploads) -> UploadFileResponse:
        async for request in requests:
            ingestion.chunks.append(request.chunk)
            if len(ingestion.chunks) == 20:
                raise LaneFull("file", cap=1, retry_after_ms=2500)
        raise AssertionError

    async def large() -> AsyncIterator[bytes]:
        for _ in range(140):
            yield b"x" * 65536

    ingestion.answers["UploadFile"] = take_some
    async with gateway(bound) as running:
        response = await running.client.post("/v1/files", content=large())

        problem_of(response, 429, "LANE_FULL")
        assert response.headers["Retry-After"] == "3"
        # The connection is fit for the next request: the server has discarded the rest of the body.
        assert (await running.client.get("/healthz")).status_code == 200


async def test_a_large_upload_arrives_whole(bound: Settings, ingestion: ScriptedIngestion) -> None:
    content = os.urandom(9_000_001)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    ingestion.answers["UploadFile"] = ingestion.read_all
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-file")))
    async with gateway(bound) as running:
        raw = await running.client.post("/v1/files", content=pieces())
        raw_content = ingestion.content
        ingestion.chunks.clear()
        form = await running.client.post("/v1/files", files={"file": ("f", content)})

    assert (raw.status_code, form.status_code) == (200, 200)
    assert raw_content == content
    assert ingestion.content == content


async def test_a_connection_that_breaks_in_the_midst_of_an_upload_cancels_it(
    bound: Settings, ingestion: ScriptedIngestion
) -> None:
    ingestion.answers["UploadFile"] = ingestion.read_all
    async with gateway(bound) as running:
        host, port = running.address.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000)
        async with asyncio.timeout(PATIENCE_S):
            await writer.drain()
            await ingestion.entered.wait()

            writer.close()

            await ingestion.cancelled.wait()
    assert not ingestion.half_closed


async def test_a_sender_that_asks_first_is_refused_before_it_sends(bound: Settings) -> None:
    async with gateway(bound) as running:
        host, port = running.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/files HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE_S):
            status_line = await reader.readline()
        writer.close()
        await writer.wait_closed()

    assert status_line.startswith(b"HTTP/1.1 413 ")
