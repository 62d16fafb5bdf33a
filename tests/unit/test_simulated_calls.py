"""Simulated gRPC calls behave as grpc.aio's do: each scenario is played with a real server and in simulation."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from grpc import StatusCode, aio

from edgescale.calls import CORE_ERROR, SentStatus
from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.network import SimulatedNetwork
from edgescale.harness.simulation.node import Node
from edgescale.harness.simulation.upstream import SimulatedChannel
from edgescale.v1.ingestion_service_pb2 import (
    SendHeartbeatRequest,
    SendHeartbeatResponse,
    UploadFileEnd,
    UploadFileRequest,
    UploadFileResponse,
    UploadFileStart,
)
from edgescale.v1.ingestion_service_pb2_grpc import (
    IngestionServiceServicer,
    IngestionServiceStub,
    add_IngestionServiceServicer_to_server,
)
from edgescale.v1.task_pb2 import Task

Observations = list[Any]
Scenario = Callable[[Any, "Scripted"], Awaitable[Observations]]
Run = Callable[[Scenario], Observations]
KEY = "grpc-status-details-bin"
CHUNK = UploadFileRequest(chunk=b"x" * 65536)
END = UploadFileRequest(end=UploadFileEnd())


class Scripted(IngestionServiceServicer):
    """Does what the request id says, and remembers what happened to it."""

    def __init__(self) -> None:
        self.seen: Observations = []

    async def SendHeartbeat(  # noqa: N802 - named by the contract
        self, request: SendHeartbeatRequest, context: aio.ServicerContext[Any, Any]
    ) -> SendHeartbeatResponse:
        metadata = dict(context.invocation_metadata() or ())
        remaining_s: float | None = context.time_remaining()
        # gRPC rounds a timeout of seconds up to ten milliseconds as it sends it.
        self.seen += [metadata.get("traceparent"), 0 < (remaining_s or 5) <= 5.01]
        try:
            await self._act(request.request_id, context)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        return SendHeartbeatResponse(request_id=request.request_id)

    async def UploadFile(  # noqa: N802 - named by the contract
        self, request_iterator: AsyncIterator[UploadFileRequest], context: aio.ServicerContext[Any, Any]
    ) -> UploadFileResponse:
        try:
            return await self._read(request_iterator, context)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise

    async def _read(
        self, messages: AsyncIterator[UploadFileRequest], context: aio.ServicerContext[Any, Any]
    ) -> UploadFileResponse:
        action = (await anext(messages)).start.request_id
        self.seen.append("begun")
        await self._act(action, context)
        chunks = 0
        async for message in messages:
            chunks += message.WhichOneof("part") == "chunk"
        self.seen.append("ended")
        # A moment, in which a handler whose caller has gone is cancelled.
        await asyncio.sleep(0.05)
        return UploadFileResponse(task=Task(request_id=f"{chunks} chunks"))

    async def _act(self, action: str, context: aio.ServicerContext[Any, Any]) -> None:
        if action == "abort":
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, "full", ((KEY, b"details"),))
        if action == "raise":
            raise ValueError("boom")
        if action == "sleep":
            await asyncio.sleep(60)


def really(scenario: Scenario) -> Observations:
    async def play() -> Observations:
        servicer, server = Scripted(), aio.server()  # type: ignore[abstract]
        add_IngestionServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await scenario(IngestionServiceStub(channel), servicer)
        finally:
            await server.stop(0)

    return asyncio.run(play())


class Stubbed:
    """A simulated channel as generated stubs want one."""

    def __init__(self, channel: SimulatedChannel) -> None:
        self._channel = channel

    def unary_unary(self, path: str, **_: object) -> Callable[..., Any]:
        return partial(self._channel.unary_unary, path.rpartition("/")[2])

    def stream_unary(self, path: str, **_: object) -> Callable[..., Any]:
        return partial(self._channel.stream_unary, path.rpartition("/")[2])


def simulated(scenario: Scenario, seed: int = 0) -> Observations:
    rng = Random(seed)
    loop = SimulationLoop(rng)  # type: ignore[abstract] # the rest is set by name
    network = SimulatedNetwork(loop, rng)
    servicer = Scripted()  # type: ignore[abstract]
    node = Node(loop, "ingestion-1")
    life = SimpleNamespace(node=node, service=servicer, stopping=asyncio.Event())
    world = SimpleNamespace(loop=loop, network=network, ingestions={"ingestion-1": life}, incarnations={})
    channel = SimulatedChannel(cast("Any", world), Node(loop, "gateway-1"), rng)
    stub = IngestionServiceStub(cast("aio.Channel", Stubbed(channel)))
    return cast("Observations", loop.run_until_complete(cast("Any", scenario(stub, servicer))))


@pytest.fixture(
    params=[really, *(partial(simulated, seed=seed) for seed in range(10))],
    ids=["real", *(f"seed {seed}" for seed in range(10))],
)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    gc.disable()
    yield request.param
    gc.enable()


async def error_of(call: Awaitable[object]) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - real and virtual time alike
            await asyncio.sleep(0.01)


def start(action: str) -> UploadFileRequest:
    return UploadFileRequest(start=UploadFileStart(request_id=action))


async def written_for_ever(call: Any, action: str) -> None:
    await call.write(start(action))
    while True:
        await call.write(CHUNK)


# --- one request ------------------------------------------------------------------------------------------------------


def test_a_response_comes_back_and_metadata_and_deadline_arrive(run: Run) -> None:
    async def scenario(stub: Any, servicer: Scripted) -> Observations:
        call = stub.SendHeartbeat(SendHeartbeatRequest(request_id="ok"), timeout=5, metadata=(("traceparent", "t"),))
        before = call.done()
        response = await call
        again = await call
        return [
            before,
            response.request_id,
            again.request_id,
            call.done(),
            await call.code(),
            call.cancel(),
            *servicer.seen,
        ]

    assert run(scenario) == [False, "ok", "ok", True, StatusCode.OK, False, "t", True]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("abort", [StatusCode.RESOURCE_EXHAUSTED, "full", b"details"]),
        ("raise", [StatusCode.UNKNOWN, "Unexpected <class 'ValueError'>: boom", None]),
    ],
)
def test_a_status_comes_back_with_its_details(run: Run, action: str, expected: Observations) -> None:
    async def scenario(stub: Any, _: Scripted) -> Observations:
        call = stub.SendHeartbeat(SendHeartbeatRequest(request_id=action))
        error = await error_of(call)
        trailing = error.trailing_metadata()
        assert trailing is not None
        details = (await call.trailing_metadata()).get(KEY)
        assert (await call.code(), await call.details(), details) == (error.code(), error.details(), trailing.get(KEY))
        return [error.code(), error.details(), details]

    assert run(scenario) == expected


def test_a_deadline_ends_the_call_and_the_handler(run: Run) -> None:
    async def scenario(stub: Any, servicer: Scripted) -> Observations:
        error = await error_of(stub.SendHeartbeat(SendHeartbeatRequest(request_id="sleep"), timeout=0.2))
        await until(lambda: "cancelled" in servicer.seen)
        return [error.code(), error.details(), (error.trailing_metadata() or {}).get(KEY)]

    assert run(scenario) == [StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", None]


@pytest.mark.parametrize("who", ["call", "task"])
def test_a_call_that_is_cancelled_raises_so_and_cancels_the_handler(run: Run, who: str) -> None:
    async def scenario(stub: Any, servicer: Scripted) -> Observations:
        call = stub.SendHeartbeat(SendHeartbeatRequest(request_id="sleep"))
        waiting = asyncio.ensure_future(_awaited(call))
        await until(lambda: servicer.seen)
        cancelled = call.cancel() if who == "call" else waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: "cancelled" in servicer.seen)
        return [cancelled, await call.code(), await call.details(), call.cancelled(), call.cancel()]

    expected = [True, StatusCode.CANCELLED, "Locally cancelled by application!", True, False]
    assert run(scenario) == expected


async def _awaited(call: Awaitable[object]) -> object:
    return await call


def test_callbacks_are_called_when_the_call_is_done_and_at_once_afterwards(run: Run) -> None:
    async def scenario(stub: Any, _: Scripted) -> Observations:
        call = stub.SendHeartbeat(SendHeartbeatRequest(request_id="ok"))
        seen: Observations = []
        call.add_done_callback(lambda it: seen.append(("first", it is call, it.done())))
        await call
        call.add_done_callback(lambda it: seen.append(("second", it is call, it.done())))
        return seen

    assert run(scenario) == [("first", True, True), ("second", True, True)]


# --- a stream of requests ---------------------------------------------------------------------------------------------


def test_messages_arrive_in_order_and_the_response_follows_their_end(run: Run) -> None:
    async def scenario(stub: Any, servicer: Scripted) -> Observations:
        call = stub.UploadFile()
        for message in (start("read"), CHUNK, CHUNK, CHUNK, END):
            await call.write(message)
        await call.done_writing()
        await call.done_writing()
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(CHUNK)
        response = await call
        with pytest.raises(asyncio.InvalidStateError):
            await call.write(CHUNK)
        await call.done_writing()
        return [response.task.request_id, *servicer.seen]

    assert run(scenario) == ["3 chunks", "begun", "ended"]


def test_a_call_that_ends_early_fails_the_write_under_way_and_its_own_status_can_be_had(run: Run) -> None:
    async def scenario(stub: Any, _: Scripted) -> Observations:
        call = stub.UploadFile()
        sent = SentStatus(call)
        with pytest.raises((aio.AioRpcError, asyncio.InvalidStateError)):
            await written_for_ever(call, "abort")
        error = await error_of(call)
        assert (error.code(), error.details()) in {
            (StatusCode.RESOURCE_EXHAUSTED, "full"),
            (StatusCode.INTERNAL, CORE_ERROR),
        }
        own = await sent.of(error)
        trailing = own.trailing_metadata()
        assert trailing is not None
        return [own.code(), own.details(), trailing.get(KEY)]

    assert run(scenario) == [StatusCode.RESOURCE_EXHAUSTED, "full", b"details"]


def test_an_upload_that_is_cancelled_is_over_for_both_sides(run: Run) -> None:
    async def scenario(stub: Any, servicer: Scripted) -> Observations:
        call = stub.UploadFile()
        for message in (start("read"), CHUNK):
            await call.write(message)
        await until(lambda: servicer.seen)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises((asyncio.CancelledError, asyncio.InvalidStateError)):
            await call.write(CHUNK)
        await until(lambda: "cancelled" in servicer.seen)
        return [await call.code()]

    assert run(scenario) == [StatusCode.CANCELLED]


CUT = {("begun", "ended", "cancelled"), ("begun", "cancelled")}

# --- in simulation only -----------------------------------------------------------------------------------------------


async def _cut(stub: Any, servicer: Scripted) -> Observations:
    call = stub.UploadFile()
    for message in (start("read"), CHUNK):
        await call.write(message)
    await until(lambda: servicer.seen)
    call.cancel()
    await until(lambda: "cancelled" in servicer.seen)
    return servicer.seen[:]


def test_the_messages_of_a_cancelled_call_end_first_as_if_all_had_come() -> None:
    seen = {tuple(simulated(_cut, seed)) for seed in range(20)}

    assert seen == CUT


def test_real_grpc_does_nothing_that_the_simulation_does_not() -> None:
    assert {tuple(really(_cut)) for _ in range(5)} <= CUT


async def _refused(stub: Any, _: Scripted) -> Observations:
    call = stub.UploadFile()
    pumping = asyncio.ensure_future(written_for_ever(call, "abort"))
    error = await error_of(call)
    await asyncio.wait([pumping])
    pumping.exception()
    return [error.code()]


def test_an_early_refusal_is_sometimes_lost_to_a_write_as_in_grpc() -> None:
    codes = {simulated(_refused, seed)[0] for seed in range(40)}

    assert codes == {StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL}


def test_a_write_waits_until_the_handler_takes_the_message() -> None:
    async def scenario(stub: Any, _: Scripted) -> Observations:
        call = stub.UploadFile()
        await call.write(start("sleep"))
        writing = asyncio.ensure_future(call.write(CHUNK))
        await asyncio.sleep(30)
        taken = writing.done()
        call.cancel()
        await asyncio.wait([writing])
        return [taken]

    assert simulated(scenario) == [False]
