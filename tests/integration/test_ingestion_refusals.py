"""What ingestion refuses over real gRPC: the status, its details, and that nothing was queued or stored."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.protobuf.duration_pb2 import Duration

from edgescale.errors import LaneFull
from edgescale.uploads.store import BlobStore
from edgescale.v1.file_pb2 import FileMetadata
from edgescale.v1.heartbeat_pb2 import Heartbeat
from edgescale.v1.ingestion_service_pb2 import (
    AnalyzeTextRequest,
    GetTaskRequest,
    ListAgentsRequest,
    ListLanesRequest,
    SendHeartbeatRequest,
    UploadFileEnd,
    UploadFileRequest,
    UploadFileStart,
)
from edgescale.v1.text_pb2 import TextInput
from tests.door import Caller, Door, Refusal, backlogs, ingesting, refusal_of
from tests.servers import Server, own_server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
CHUNK_BYTES_MAX = 65_536


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    """A server with small limits."""
    limits: dict[str, Any] = {"text_bytes_max": 100, "upload_bytes_max": 200_000}
    async with ingesting(server.url, tmp_path, **limits) as opened:
        yield opened


def beat(agent_id: str = "pier-1", request_id: str = "", sequence: int = 1) -> SendHeartbeatRequest:
    return SendHeartbeatRequest(heartbeat=Heartbeat(agent_id=agent_id, sequence=sequence), request_id=request_id)


def text(words: str = "The ferry was early.", request_id: str = "") -> AnalyzeTextRequest:
    return AnalyzeTextRequest(input=TextInput(text=words), request_id=request_id, respond_async=True)


def start(request_id: str = "", **metadata: object) -> UploadFileRequest:
    described = FileMetadata(**metadata)  # type: ignore[arg-type]
    return UploadFileRequest(start=UploadFileStart(metadata=described, request_id=request_id, respond_async=True))


def chunk(data: bytes) -> UploadFileRequest:
    return UploadFileRequest(chunk=data)


async def messages(*given: UploadFileRequest) -> AsyncIterator[UploadFileRequest]:
    for message in given:
        yield message


async def assert_nothing_came_in(rig: Rig, door: Door) -> None:
    assert await backlogs(rig) == {}
    assert door.files() == []
    assert await rig.connection.command("DBSIZE") == 0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (beat("pier\x001"), "heartbeat.agent_id"),
        (beat(""), "heartbeat.agent_id"),
        (beat("x" * 129), "heartbeat.agent_id"),
        (beat(sequence=2**53), "heartbeat.sequence"),
        (beat(request_id="a b"), "request_id"),
        (SendHeartbeatRequest(), "heartbeat.agent_id"),
    ],
)
async def test_a_wrong_heartbeat_is_refused_with_its_field(
    at_the_door: tuple[Door, Caller], rig: Rig, request_: SendHeartbeatRequest, field: str
) -> None:
    door, caller = at_the_door
    refusal = await refusal_of(caller.stub.SendHeartbeat(request_))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", [field])
    assert refusal.retry_ms is None
    await assert_nothing_came_in(rig, door)


@pytest.mark.parametrize(
    ("request_", "field", "reason"),
    [
        (text(""), "input.text", "INVALID_INPUT"),
        (text(" \n"), "input.text", "INVALID_INPUT"),
        (text("x" * 101), "input.text", "TOO_LARGE"),
        (text("x" * 200_000), "input.text", "TOO_LARGE"),
        (text(request_id="x" * 129), "request_id", "INVALID_INPUT"),
        (AnalyzeTextRequest(input=TextInput(text="x", top_terms=101)), "input.top_terms", "INVALID_INPUT"),
    ],
)
async def test_a_wrong_text_is_refused_with_its_field(
    at_the_door: tuple[Door, Caller], rig: Rig, request_: AnalyzeTextRequest, field: str, reason: str
) -> None:
    door, caller = at_the_door
    refusal = await refusal_of(caller.stub.AnalyzeText(request_))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", reason, [field])
    await assert_nothing_came_in(rig, door)


FULL = b"x" * CHUNK_BYTES_MAX
ANNOUNCED = UploadFileRequest(start=UploadFileStart(explicit_end=True))
END = UploadFileRequest(end=UploadFileEnd())
INVALID, LARGE, UNLIKE = (
    ("INVALID_ARGUMENT", "INVALID_INPUT"),
    ("INVALID_ARGUMENT", "TOO_LARGE"),
    (
        "OUT_OF_RANGE",
        "NOT_AS_DECLARED",
    ),
)


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        ([], INVALID, "start"),
        ([chunk(b"x")], INVALID, "start"),
        ([UploadFileRequest()], INVALID, "start"),
        ([start(), start()], INVALID, "chunk"),
        ([start(), chunk(b"x"), start()], INVALID, "chunk"),
        ([start(), chunk(b"x"), UploadFileRequest()], INVALID, "chunk"),
        ([start(), chunk(b"")], INVALID, "chunk"),
        ([start(), chunk(FULL + b"x")], INVALID, "chunk"),
        ([start(), *[chunk(FULL)] * 4], LARGE, "file"),
        ([start(size_bytes=200_001)], LARGE, "metadata.size_bytes"),
        ([start(size_bytes=3), chunk(b"ab")], UNLIKE, "metadata.size_bytes"),
        ([start(size_bytes=3), chunk(b"abcd")], UNLIKE, "metadata.size_bytes"),
        ([start(size_bytes=0), chunk(b"a")], UNLIKE, "metadata.size_bytes"),
        ([start(sha256="0" * 64), chunk(b"ab")], UNLIKE, "metadata.sha256"),
        ([start(sha256="xyz"), chunk(b"ab")], INVALID, "metadata.sha256"),
        ([start(content_type="text/plain\n"), chunk(b"ab")], INVALID, "metadata.content_type"),
        ([start(name="x" * 20_000), chunk(b"ab")], LARGE, "metadata.name"),
        ([start(request_id="a/b"), chunk(b"ab")], INVALID, "request_id"),
        ([start(), END, chunk(b"ab")], INVALID, "end"),
        # Cut off, by the look of it: gRPC ends the messages of a cancelled call as if all had come.
        ([ANNOUNCED, chunk(b"ab")], UNLIKE, "end"),
        ([ANNOUNCED], UNLIKE, "end"),
    ],
)
async def test_a_wrong_upload_is_refused_with_its_field_and_leaves_nothing(
    at_the_door: tuple[Door, Caller],
    rig: Rig,
    given: list[UploadFileRequest],
    status: tuple[str, str],
    field: str,
) -> None:
    door, caller = at_the_door
    refusal = await refusal_of(caller.stub.UploadFile(messages(*given)))
    assert (refusal.code, refusal.reason) == status
    assert refusal.fields == [field]
    await assert_nothing_came_in(rig, door)


async def test_an_empty_file_is_taken(at_the_door: tuple[Door, Caller], rig: Rig) -> None:
    _, caller = at_the_door
    answer = await caller.stub.UploadFile(messages(start("r1", size_bytes=0)))
    assert answer.task.request_id == "r1"
    assert await backlogs(rig) == {"file": 1}


@pytest.mark.parametrize(
    ("request_id", "code"), [("unknown", "NOT_FOUND"), ("", "INVALID_ARGUMENT"), ("a b", "INVALID_ARGUMENT")]
)
async def test_a_task_that_was_never_accepted_cannot_be_asked_for(
    at_the_door: tuple[Door, Caller], request_id: str, code: str
) -> None:
    _, caller = at_the_door
    refusal = await refusal_of(caller.stub.GetTask(GetTaskRequest(request_id=request_id)))
    assert refusal.code == code
    assert refusal.reason == {"NOT_FOUND": "TASK_NOT_FOUND"}.get(code, "INVALID_INPUT")


@pytest.mark.parametrize(
    "wait", [Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=10**15), Duration(seconds=1, nanos=-1)]
)
async def test_a_wait_that_is_no_length_of_time_is_refused(at_the_door: tuple[Door, Caller], wait: Duration) -> None:
    _, caller = at_the_door
    refusal = await refusal_of(caller.stub.GetTask(GetTaskRequest(request_id="r1", wait=wait)))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", ["wait"])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ListAgentsRequest(page_size=1_001), "page_size"),
        (ListAgentsRequest(page_token="next"), "page_token"),  # noqa: S106 - no secret
        (ListAgentsRequest(page_token="9" * 30), "page_token"),
    ],
)
async def test_a_page_that_cannot_be_had_is_refused(
    at_the_door: tuple[Door, Caller], request_: ListAgentsRequest, field: str
) -> None:
    _, caller = at_the_door
    refusal = await refusal_of(caller.stub.ListAgents(request_))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", [field])


async def test_a_request_id_with_other_content_is_refused_and_the_first_stands(
    at_the_door: tuple[Door, Caller], rig: Rig
) -> None:
    door, caller = at_the_door
    await caller.stub.AnalyzeText(text("one", "r1"))
    await caller.stub.SendHeartbeat(beat("pier-1", "r2"))
    await caller.stub.UploadFile(messages(start("r3"), chunk(b"one")))
    [kept] = door.files()
    refusals = [
        await refusal_of(caller.stub.AnalyzeText(text("two", "r1"))),
        await refusal_of(caller.stub.SendHeartbeat(beat("pier-2", "r2"))),
        await refusal_of(caller.stub.UploadFile(messages(start("r3"), chunk(b"two")))),
        await refusal_of(caller.stub.UploadFile(messages(start("r3", name="other"), chunk(b"one")))),
    ]
    assert {(refusal.code, refusal.reason) for refusal in refusals} == {("ALREADY_EXISTS", "REQUEST_ID_CONFLICT")}
    assert await backlogs(rig) == {"text": 1, "heartbeat": 1, "file": 1}
    assert door.files() == [kept]
    assert kept.read_bytes() == b"one"


def assert_full(refusal: Refusal, lane: str) -> None:
    assert (refusal.code, refusal.reason, refusal.facts) == (
        "RESOURCE_EXHAUSTED",
        "LANE_FULL",
        {"lane": lane, "cap": "1"},
    )
    assert refusal.retry_ms is not None
    assert refusal.retry_ms > 0


@pytest.mark.one_partition
async def test_a_full_lane_refuses_at_once_and_says_when_to_try_again(server: Server, rig: Rig, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path, lane_cap=1) as (_, caller):
        await caller.stub.SendHeartbeat(beat())
        await caller.stub.AnalyzeText(text())
        assert_full(await refusal_of(caller.stub.SendHeartbeat(beat())), "heartbeat")
        assert_full(await refusal_of(caller.stub.AnalyzeText(text(), timeout=1)), "text")
    assert await backlogs(rig) == {"heartbeat": 1, "text": 1}


@pytest.mark.one_partition
async def test_a_full_lane_refuses_a_file_before_its_bytes_are_taken(
    server: Server, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_chunks = 0

    async def long_file() -> AsyncIterator[bytes]:
        nonlocal sent_chunks
        for _ in range(2_000):
            yield FULL
            sent_chunks += 1

    async with ingesting(server.url, tmp_path, lane_cap=1) as (door, caller):
        await caller.stub.UploadFile(messages(start("r1"), chunk(b"one")))
        monkeypatch.setattr(BlobStore, "writer", None)
        with pytest.raises(LaneFull) as full:
            await caller.client.upload_file(long_file())
        assert (full.value.lane, full.value.cap) == ("file", 1)
        assert len(door.files()) == 1
    # Only what fits into the windows of the connection was on its way before the refusal arrived.
    assert sent_chunks < 100
    assert await backlogs(rig) == {"file": 1}


@pytest.mark.parametrize("gone", ["killed", "frozen"])
async def test_while_redis_is_away_callers_hear_so_within_their_time_and_it_comes_back_by_itself(
    shared_server: Server, tmp_path: Path, gone: str
) -> None:
    del shared_server
    loop, valkey = asyncio.get_running_loop(), own_server("valkey", tmp_path / "server")
    await valkey.start()
    try:
        async with ingesting(valkey.url, tmp_path, redis_timeout_ms=1_500) as (door, caller):
            await caller.stub.SendHeartbeat(beat())
            process = psutil.Process(valkey.pid)
            if gone == "killed":
                await valkey.kill()
            else:
                process.send_signal(signal.SIGSTOP)
            begun = loop.time()
            refusals = await asyncio.gather(
                refusal_of(caller.stub.SendHeartbeat(beat(), timeout=1)),
                refusal_of(caller.stub.AnalyzeText(text(), timeout=1)),
                refusal_of(caller.stub.UploadFile(messages(start(), chunk(b"x")), timeout=1)),
                refusal_of(caller.stub.GetTask(GetTaskRequest(request_id="r1"), timeout=1)),
                refusal_of(caller.stub.ListAgents(ListAgentsRequest(), timeout=1)),
                refusal_of(caller.stub.ListLanes(ListLanesRequest(), timeout=1)),
            )
            assert loop.time() - begun < 1.5
            if gone == "killed":
                await valkey.start()
            else:
                process.send_signal(signal.SIGCONT)
            await eventually(lambda: caller.stub.AnalyzeText(text(), timeout=1))
            assert door.files() == []
    finally:
        await valkey.stop()
    assert {(refusal.code, refusal.reason) for refusal in refusals} == {("UNAVAILABLE", "BROKER_UNAVAILABLE")}
    assert all(refusal.retry_ms for refusal in refusals)
    assert not any("redis://" in refusal.message or "Errno" in refusal.message for refusal in refusals)
