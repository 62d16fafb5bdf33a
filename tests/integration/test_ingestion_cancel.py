"""Cancelling over real gRPC and by the Python client: what the canceller and those who wait are told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from edgescale.errors import InvalidInput, NotFound, TaskFailed
from edgescale.v1 import task_pb2
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextRequest, CancelTaskRequest, GetTaskRequest
from edgescale.v1.text_pb2 import TextInput
from tests.door import Caller, Door, backlogs, ingesting, refusal_of
from tests.parts import answer_with_attempt, working
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    # The slow timer would be too slow to help: who waits hears because it is announced.
    async with ingesting(server.url, tmp_path, inbox_recheck_ms=60_000) as opened:
        yield opened


def text(request_id: str = "r1") -> AnalyzeTextRequest:
    return AnalyzeTextRequest(input=TextInput(text="The ferry was early."), request_id=request_id)


async def test_whoever_waits_for_a_cancelled_task_is_told_at_once(
    at_the_door: tuple[Door, Caller], server: Server, tmp_path: Path, rig: Rig
) -> None:
    _, caller = at_the_door
    async with ingesting(server.url, tmp_path / "other", inbox_recheck_ms=60_000) as (_, other):
        sender = asyncio.ensure_future(refusal_of(caller.stub.AnalyzeText(text())))
        await eventually(lambda: backlogs(rig))
        polling = GetTaskRequest(request_id="r1", wait=Duration(seconds=20))
        poller = asyncio.ensure_future(other.stub.GetTask(polling))
        await eventually(lambda: _waits(rig, 2))
        task = (await other.stub.CancelTask(CancelTaskRequest(request_id="r1"))).task
        refusal, polled = await sender, (await poller).task
    assert (task.state, task.attempts) == (task_pb2.TASK_STATE_CANCELLED, 0)
    assert (task.error.reason, task.error.message) == ("CANCELLED", "a caller asked for it")
    assert task.settle_time.ToMilliseconds() >= task.accept_time.ToMilliseconds() > 0
    assert polled == task
    # Not gRPC's own CANCELLED: that is what a call ends with whose caller has gone.
    assert (refusal.code, refusal.reason) == ("ABORTED", "TASK_FAILED")
    assert refusal.message == "task r1 cancelled: a caller asked for it"
    assert refusal.facts == {"request_id": "r1", "state": "cancelled", "task_reason": "CANCELLED"}


async def _waits(rig: Rig, count: int) -> bool:
    return len(await rig.inboxes("r1")) == count


async def test_a_cancelled_request_that_is_sent_again_is_answered_as_cancelled(
    at_the_door: tuple[Door, Caller], rig: Rig
) -> None:
    client = at_the_door[1].client
    await client.analyze_text("The ferry was early.", request_id="r1", respond_async=True)
    await client.cancel_task("r1")
    for _ in range(2):
        with pytest.raises(TaskFailed) as failed:
            await client.analyze_text("The ferry was early.", request_id="r1")
        assert (failed.value.state, failed.value.task_reason) == ("cancelled", "CANCELLED")
    assert await backlogs(rig) == {}


async def test_a_task_that_has_ended_is_given_back_as_it_is(at_the_door: tuple[Door, Caller], server: Server) -> None:
    client = at_the_door[1].client
    async with working(server.url, answer_with_attempt):
        done = await client.analyze_text("The ferry was early.", request_id="r1")
    assert await client.cancel_task("r1") == done
    assert await client.task("r1") == done


async def test_what_there_is_not_cannot_be_cancelled(at_the_door: tuple[Door, Caller]) -> None:
    client = at_the_door[1].client
    with pytest.raises(NotFound):
        await client.cancel_task("r1")
    for wrong in ("", "a b"):
        with pytest.raises(InvalidInput) as invalid:
            await client.cancel_task(wrong)
        assert invalid.value.field == "request_id"


async def test_the_file_of_a_cancelled_upload_stays(at_the_door: tuple[Door, Caller], tmp_path: Path, rig: Rig) -> None:
    door, caller = at_the_door
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    sent = await caller.client.upload_file(path, request_id="f1", respond_async=True)
    cancelled = await caller.client.cancel_task("f1")
    assert (cancelled.state, cancelled.file_id) == (task_pb2.TASK_STATE_CANCELLED, sent.file_id)
    assert [file.read_bytes() for file in door.files()] == [b"content"]
    with pytest.raises(TaskFailed):
        await caller.client.upload_file(path, request_id="f1")
    assert len(door.files()) == 1, "the second copy is nobody's"
    assert await backlogs(rig) == {}


async def test_a_heartbeat_can_be_cancelled_too(at_the_door: tuple[Door, Caller], rig: Rig) -> None:
    client = at_the_door[1].client
    await client.send_heartbeat("pier-1", sequence=1, request_id="beat")
    assert (await client.cancel_task("beat")).state == task_pb2.TASK_STATE_CANCELLED
    assert await backlogs(rig) == {}
