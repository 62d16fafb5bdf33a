"""The gateway on a real socket, under a real uvicorn."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from edgescale.config import Settings
from edgescale.errors import ConfigError, LaneFull
from edgescale.gateway import protocol, server
from edgescale.gateway.server import serve_gateway
from edgescale.listening import address_of, listen
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


async def test_an_idle_connection_is_kept_longer_than_load_balancers_keep_theirs(
    bound: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[protocol.GatewayProtocol] = []

    class Seen(protocol.GatewayProtocol):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            seen.append(self)

    monkeypatch.setattr(server, "GatewayProtocol", Seen)
    async with gateway(bound) as running:
        await running.client.get("/readyz")
        await eventually(lambda: seen[0].timeout_keep_alive_task)
        closing = seen[0].timeout_keep_alive_task

        assert closing is not None
        assert closing.when() - asyncio.get_running_loop().time() > 65


async def test_a_port_that_is_taken_is_a_clear_refusal(bound: Settings) -> None:
    async with gateway(bound) as running:
        second = bound.model_copy(update={"http_bind": running.address})

        with pytest.raises(ConfigError, match=r"http_bind 127.0.0.1:\d+: .*in use"):
            await serve_gateway(second, CountedChance())


async def test_a_port_is_taken_from_the_moment_it_is_bound() -> None:
    first = await listen("http_bind", "127.0.0.1:0")

    with first, pytest.raises(ConfigError, match="in use"):
        await listen("http_bind", address_of(first))


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


async def answer_to(address: str, *pieces: bytes) -> bytes:
    """All that comes back on one connection, until the server closes it."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        answer = await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return answer


@pytest.mark.parametrize("piece", [b"X-Y: z\r\n" * 1000, b"x" * 10_000], ids=["many headers", "one endless header"])
async def test_an_endless_head_is_cut_off(piece: bytes, bound: Settings) -> None:
    async with gateway(bound) as running:
        host, port = running.address.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")

        sent_bytes = await sent_until_cut_off(writer, piece, 50_000_000)

    assert sent_bytes < 20_000_000


async def sent_until_cut_off(writer: asyncio.StreamWriter, piece: bytes, bytes_max: int) -> int:
    sent_bytes = 0
    with suppress(ConnectionError):
        while sent_bytes < bytes_max:
            writer.write(piece)
            await writer.drain()
            sent_bytes += len(piece)
    writer.transport.abort()
    return sent_bytes


class Wire(asyncio.Transport):
    """Where a protocol writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize("over", [True, False])
async def test_a_head_over_the_limit_is_refused_with_a_problem(
    over: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async def never(_scope: object, _receive: object, _send: object) -> None:
        await asyncio.Event().wait()

    wire = Wire()
    connection = protocol.GatewayProtocol(uvicorn.Config(never, log_config=None), ServerState(), {})
    connection.connection_made(wire)

    connection.data_received(b"GET /healthz HTTP/1.1\r\nX: ")
    connection.data_received(b"x" * (protocol.HEAD_BYTES_MAX - 1))
    assert wire.written == b""
    connection.data_received(b"xx" if over else b"x")
    connection.connection_lost(None)

    assert wire.written.startswith(b"HTTP/1.1 431 ") == over
    if over:
        assert json.loads(wire.written.partition(b"\r\n\r\n")[2])["reason"] == "REQUEST_HEADER_FIELDS_TOO_LARGE"


async def test_what_is_no_http_is_refused_with_a_problem(bound: Settings) -> None:
    async with gateway(bound) as running:
        answer = await answer_to(running.address, b"\x16\x03\x01 hello\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["reason"] == "BAD_REQUEST"


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nX: "])
async def test_a_connection_that_brings_no_request_is_closed(
    said: bytes, bound: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    async with gateway(bound) as running:
        assert await answer_to(running.address, said) == b""


async def test_a_second_request_that_dribbles_is_closed(bound: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with gateway(bound) as running, asyncio.timeout(PATIENCE_S):
        host, port = running.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        await reader.readuntil(b'{"status":"alive"}')

        # From here on uvicorn's own limit for idle connections no longer applies.
        writer.write(request[:20])

        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_body_in_one_piece_with_its_head_is_no_head(bound: Settings, ingestion: ScriptedIngestion) -> None:
    ingestion.answers["UploadFile"] = ingestion.read_all
    head = b"POST /v1/files HTTP/1.1\r\nHost: x\r\nPrefer: respond-async\r\nConnection: close\r\nContent-Length: 500000"
    async with gateway(bound) as running:
        answer = await answer_to(running.address, head + b"\r\n\r\n" + b"x" * 500_000)

    assert answer.startswith(b"HTTP/1.1 202 ")


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
