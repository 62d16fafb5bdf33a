"""An ingestion process from its start to its end: what it says of itself, how much it takes on, how it stops."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection, Subscription
from edgescale.broker.model import TaskRecord
from edgescale.errors import ConfigError, Unavailable
from edgescale.local.child import free_port
from edgescale.local.valkey import EmbeddedValkey
from edgescale.v1.heartbeat_pb2 import Heartbeat
from edgescale.v1.ingestion_service_pb2 import (
    AnalyzeTextRequest,
    GetTaskRequest,
    SendHeartbeatRequest,
    UploadFileRequest,
    UploadFileStart,
)
from edgescale.v1.text_pb2 import TextInput
from tests.door import Caller, Door, calling, ingesting, refusal_of
from tests.parts import Deed, answer_with_attempt, working
from tests.processes import service
from tests.servers import Server, own_server
from tests.support import eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
SERVICE = "edgescale.v1.IngestionService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def text(request_id: str = "r1") -> AnalyzeTextRequest:
    return AnalyzeTextRequest(input=TextInput(text="The ferry was early."), request_id=request_id)


@asynccontextmanager
async def watched(caller: Caller, service: str = "") -> AsyncIterator[list[int]]:
    """What the health service says, as it says it; the first word has arrived."""
    heard: list[int] = []

    async def listen() -> None:
        async for answer in caller.health.Watch(health_pb2.HealthCheckRequest(service=service)):
            heard.append(answer.status)  # noqa: PERF401 - the test reads along

    listening = asyncio.create_task(listen())
    try:
        await eventually(lambda: heard)
        yield heard
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_server_that_serves_says_so_for_itself_and_for_its_service(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (_, caller):
        for name in ("", SERVICE):
            answer = await caller.health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.health.Check(health_pb2.HealthCheckRequest(service="unknown"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_lists_the_service_and_describes_its_methods(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (_, caller):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(caller.channel)  # type: ignore[arg-type] # aio, too
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="edgescale.v1.TextInput"),
        ]
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    assert SERVICE in [service.name for service in answers[0].list_services_response.service]
    [encoded, *_] = answers[1].file_descriptor_response.file_descriptor_proto
    [described] = FileDescriptorProto.FromString(encoded).service
    methods = {method.name: (method.input_type, method.client_streaming) for method in described.method}
    assert methods["AnalyzeText"] == (".edgescale.v1.AnalyzeTextRequest", False)
    assert methods["UploadFile"] == (".edgescale.v1.UploadFileRequest", True)
    assert answers[2].file_descriptor_response.file_descriptor_proto


async def test_before_results_can_arrive_it_is_alive_but_takes_nothing(tmp_path: Path, shared_server: Server) -> None:
    del shared_server
    late = EmbeddedValkey(tmp_path / "server", port=free_port())
    bind = f"127.0.0.1:{free_port()}"
    door = Door(late.url, tmp_path, grpc_bind=bind, redis_timeout_ms=300)
    try:
        async with calling(bind) as caller, watched(caller, SERVICE) as heard:
            assert heard == [NOT_SERVING]
            refusal = await refusal_of(caller.stub.AnalyzeText(text(), timeout=5))
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "NOT_SERVING")
            assert refusal.retry_ms
            assert refusal.message == "this server is not ready yet"
            await late.start()
            await asyncio.wait_for(door.ready.wait(), 5)
            await eventually(lambda: heard == [NOT_SERVING, SERVING])
            async with working(late.url, answer_with_attempt):
                await caller.stub.AnalyzeText(text(), timeout=5)
    finally:
        await door.close()
        await late.stop()


async def test_nothing_is_taken_before_the_inbox_is_subscribed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed, may_subscribe = Connection.subscribed, asyncio.Event()

    @asynccontextmanager
    async def late(connection: Connection, channel: str) -> AsyncIterator[Subscription]:
        await may_subscribe.wait()
        async with subscribed(connection, channel) as subscription:
            yield subscription

    monkeypatch.setattr(Connection, "subscribed", late)
    bind = f"127.0.0.1:{free_port()}"
    door = Door(server.url, tmp_path, grpc_bind=bind)
    try:
        async with calling(bind) as caller:
            await eventually(lambda: refusal_of(caller.stub.AnalyzeText(text(), timeout=5)))
            for _ in range(10):
                assert (await refusal_of(caller.stub.AnalyzeText(text(), timeout=5))).reason == "NOT_SERVING"
            may_subscribe.set()
            await asyncio.wait_for(door.ready.wait(), 5)
            async with working(server.url, answer_with_attempt):
                await caller.stub.AnalyzeText(text(), timeout=5)
    finally:
        may_subscribe.set()
        await door.close()


@pytest.mark.slots_stay("it is not serving for the moment in which a subscription follows its slot")
async def test_who_is_subscribed_and_reads_no_results_does_not_serve(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup, may_read = Broker.lookup, asyncio.Event()

    async def held(broker: Broker, request_id: str, *, inbox: str = "") -> TaskRecord | None:
        await may_read.wait()
        return await lookup(broker, request_id, inbox=inbox)

    monkeypatch.setattr(Broker, "lookup", held)
    async with (
        working(server.url, answer_with_attempt),
        ingesting(server.url, tmp_path, redis_timeout_ms=300) as (door, caller),
        watched(caller) as heard,
    ):
        waiting = asyncio.ensure_future(caller.stub.AnalyzeText(text(), timeout=30))
        await eventually(lambda: heard == [SERVING, NOT_SERVING])
        assert door.inbox.ready.is_set()
        may_read.set()
        await eventually(lambda: heard == [SERVING, NOT_SERVING, SERVING])
        await waiting


async def test_health_follows_redis(tmp_path: Path, shared_server: Server) -> None:
    del shared_server
    valkey = own_server("valkey", tmp_path / "server")
    await valkey.start()
    try:
        async with (
            ingesting(valkey.url, tmp_path, redis_timeout_ms=300) as (_, caller),
            watched(caller) as heard,
        ):
            await eventually(lambda: heard == [SERVING])
            await valkey.kill()
            await eventually(lambda: heard == [SERVING, NOT_SERVING])
            await valkey.start()
            await eventually(lambda: heard == [SERVING, NOT_SERVING, SERVING])
    finally:
        await valkey.stop()


@pytest.mark.slots_stay("it is not serving for the moment in which a subscription follows its slot")
async def test_a_stop_is_heard_first_then_open_requests_are_answered_and_new_ones_are_not_taken(
    server: Server, tmp_path: Path
) -> None:
    deed = Deed(held=True)
    async with (
        ingesting(server.url, tmp_path) as (door, caller),
        working(server.url, deed),
        watched(caller) as heard,
    ):
        opened = asyncio.ensure_future(caller.stub.AnalyzeText(text("r1")))
        await eventually(lambda: deed.running == 1)
        polled = asyncio.ensure_future(caller.stub.GetTask(_poll("r1")))
        await eventually(lambda: door.service.requests.under_way == 2)
        door.stop.set()
        await eventually(lambda: heard == [SERVING, NOT_SERVING])
        assert not door.running.done()
        late = await refusal_of(caller.stub.AnalyzeText(text("r2"), timeout=5))
        assert late.code == "UNAVAILABLE"
        deed.gate.set()
        assert (await opened).task.request_id == "r1"
        assert (await polled).task.result.json.string_value == "r1 by attempt 1"
        # Who watches health must not hold up the end.
        await asyncio.wait_for(door.running, 3)
    assert [context.request_id for context in deed.begun] == ["r1"]


def _poll(request_id: str) -> GetTaskRequest:
    request = GetTaskRequest(request_id=request_id)
    request.wait.seconds = 30
    return request


@pytest.mark.slots_stay("it is not serving for the moment in which a subscription follows its slot")
async def test_a_process_that_is_told_to_end_answers_its_callers_first(server: Server, tmp_path: Path) -> None:
    deed = Deed(held=True)
    settings: dict[str, Any] = {"redis_url": server.url, "data_dir": tmp_path, "grpc_bind": "127.0.0.1:0"}
    async with (
        service("ingestion", **settings) as process,
        calling(await process.address()) as caller,
        watched(caller) as heard,
        working(server.url, deed),
    ):
        opened = asyncio.ensure_future(caller.stub.AnalyzeText(text("r1")))
        await eventually(lambda: deed.running == 1)
        process.terminate()
        await eventually(lambda: heard == [SERVING, NOT_SERVING])
        deed.gate.set()
        assert (await opened).task.result.json.string_value == "r1 by attempt 1"
        assert await process.status() == 0


async def test_requests_that_outlast_the_grace_are_ended_and_so_is_the_server(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path, drain_grace_ms=200) as (door, caller):
        opened = asyncio.ensure_future(caller.client.analyze_text("The ferry was early.", request_id="r1"))
        await eventually(lambda: door.inbox.open_requests)
        door.stop.set()
        await asyncio.wait_for(door.running, 5)
        with pytest.raises(Unavailable):
            await opened


async def test_a_process_takes_no_more_requests_than_it_may(server: Server, tmp_path: Path) -> None:
    deed = Deed(held=True)
    async with (
        ingesting(server.url, tmp_path, requests_in_flight_max=3) as (door, caller),
        working(server.url, deed),
    ):
        calls = [asyncio.ensure_future(caller.stub.AnalyzeText(text(f"r{number}"))) for number in range(3)]
        await eventually(lambda: door.service.requests.under_way == 3)
        for _ in range(20):
            refusal = await refusal_of(caller.stub.AnalyzeText(text("r9"), timeout=5))
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS")
            assert refusal.retry_ms
        deed.gate.set()
        await asyncio.gather(*calls)
        assert (await caller.stub.AnalyzeText(text("r9"))).task.request_id == "r9"
        assert await caller.serving()


async def test_a_process_takes_no_more_uploads_than_it_may(server: Server, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(request_id: str) -> AsyncIterator[UploadFileRequest]:
        yield UploadFileRequest(start=UploadFileStart(request_id=request_id, respond_async=True))
        await gate.wait()

    async with ingesting(server.url, tmp_path, uploads_in_flight_max=2) as (door, caller):
        calls = [asyncio.ensure_future(caller.stub.UploadFile(slow(f"r{number}"))) for number in range(2)]
        await eventually(lambda: door.service.uploads.under_way == 2)
        refusal = await refusal_of(caller.stub.UploadFile(slow("r9"), timeout=5))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS")
        # Uploads do not take the places of other requests.
        await caller.stub.SendHeartbeat(SendHeartbeatRequest(heartbeat=Heartbeat(agent_id="pier-1")))
        gate.set()
        await asyncio.gather(*calls)
        assert (await caller.stub.UploadFile(slow("r9"))).task.request_id == "r9"


async def test_a_port_that_is_taken_is_named(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, _):
        second = Door(server.url, tmp_path, grpc_bind=door.address)
        with pytest.raises(ConfigError, match=f"cannot listen on {door.address}; is another process using the port"):
            await second.close()


async def test_a_thousand_cancelled_calls_leave_nothing_open(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path) as (door, caller):
        for _ in range(10):
            calls = [caller.stub.AnalyzeText(text(f"r{number}")) for number in range(100)]
            await eventually(lambda: door.inbox.open_requests >= 50)
            for call in calls:
                call.cancel()
        await eventually(lambda: door.service.requests.under_way == 0)
        assert door.inbox.open_requests == 0
