"""What ingestion answers over real gRPC: results, and what is known of them, whoever waits where and for how long."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from edgescale.client import Client
from edgescale.envelope import Envelope
from edgescale.errors import TaskFailed, WaitExpired
from edgescale.handlers.base import Context, Outcome, Rejected
from edgescale.v1 import task_pb2
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextRequest, GetTaskRequest, ListLanesRequest
from edgescale.v1.text_pb2 import TextInput
from tests.door import Caller, Door, backlogs, calling, ingesting, refusal_of
from tests.parts import Deed, answer_with_attempt, working
from tests.processes import service
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    # The slow timer would be too slow to help: results come because they are announced.
    async with ingesting(server.url, tmp_path, inbox_recheck_ms=60_000) as opened:
        yield opened


def text(
    request_id: str = "r1", words: str = "The ferry was early.", *, respond_async: bool = False
) -> AnalyzeTextRequest:
    return AnalyzeTextRequest(input=TextInput(text=words), request_id=request_id, respond_async=respond_async)


def asking(request_id: str = "r1", wait_s: int = 0) -> GetTaskRequest:
    return GetTaskRequest(request_id=request_id, wait=Duration(seconds=wait_s))


def said(task: task_pb2.Task) -> str:
    return task.result.json.string_value


async def test_a_text_is_answered_with_its_task(at_the_door: tuple[Door, Caller], server: Server) -> None:
    _, caller = at_the_door
    async with working(server.url, answer_with_attempt):
        task = (await caller.stub.AnalyzeText(text())).task
    assert (task.request_id, task.kind, task.lane, task.attempts) == ("r1", "text", "text", 1)
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED
    assert said(task) == "r1 by attempt 1"
    assert abs(task.accept_time.ToMilliseconds() / 1000 - time.time()) < 30
    assert task.settle_time.ToMilliseconds() >= task.accept_time.ToMilliseconds()


async def test_a_caller_without_a_request_id_is_given_one_to_ask_by(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    async with working(server.url, answer_with_attempt):
        first, second = [(await caller.stub.AnalyzeText(text(""))).task for _ in range(2)]
    assert first.request_id != second.request_id
    assert (await caller.stub.GetTask(asking(first.request_id))).task == first


async def test_when_the_callers_time_is_up_it_is_told_the_request_id_and_the_task_goes_on(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    refusal = await refusal_of(caller.stub.AnalyzeText(text(), timeout=1.0))
    assert (refusal.code, refusal.reason) == ("DEADLINE_EXCEEDED", "WAIT_EXPIRED")
    assert refusal.facts == {"request_id": "r1"}
    assert (await caller.stub.GetTask(asking())).task.state == task_pb2.TASK_STATE_QUEUED
    async with working(server.url, answer_with_attempt):
        assert said((await caller.stub.GetTask(asking(wait_s=5))).task) == "r1 by attempt 1"


async def test_a_caller_without_a_deadline_is_answered_after_the_usual_wait(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path, wait_default_ms=200) as (_, caller):
        assert (await refusal_of(caller.stub.AnalyzeText(text()))).reason == "WAIT_EXPIRED"


async def test_nobody_waits_for_longer_than_the_server_allows(server: Server, tmp_path: Path) -> None:
    async with ingesting(server.url, tmp_path, wait_default_ms=100, wait_max_ms=200) as (_, caller):
        assert (await refusal_of(caller.stub.AnalyzeText(text(), timeout=60))).reason == "WAIT_EXPIRED"
        begun = time.monotonic()
        task = (await caller.stub.GetTask(asking(wait_s=60), timeout=60)).task
    assert task.state == task_pb2.TASK_STATE_QUEUED
    assert time.monotonic() - begun < 5


async def test_the_task_of_a_caller_who_goes_away_goes_on(
    at_the_door: tuple[Door, Caller], server: Server, rig: Rig
) -> None:
    door, caller = at_the_door
    call = caller.stub.AnalyzeText(text())
    await eventually(lambda: backlogs(rig))
    call.cancel()
    await eventually(lambda: door.service.requests.under_way == 0)
    assert door.inbox.open_requests == 0
    async with working(server.url, answer_with_attempt):
        assert said((await caller.stub.GetTask(asking(wait_s=5))).task) == "r1 by attempt 1"


async def test_callers_of_one_request_id_get_the_same_answer_from_one_execution(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    deed = Deed(held=True)
    async with working(server.url, deed):
        calls = [asyncio.ensure_future(caller.stub.AnalyzeText(text())) for _ in range(20)]
        await eventually(lambda: deed.running == 1)
        calls += [asyncio.ensure_future(caller.stub.AnalyzeText(text())) for _ in range(20)]
        deed.gate.set()
        answers = await asyncio.gather(*calls, caller.stub.AnalyzeText(text()))
    assert {answer.SerializeToString(deterministic=True) for answer in answers} == {answers[0].SerializeToString()}
    assert len(deed.begun) == 1


async def test_when_one_of_several_callers_goes_away_the_others_are_answered(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    deed = Deed(held=True)
    async with working(server.url, deed):
        first, second = caller.stub.AnalyzeText(text()), caller.stub.AnalyzeText(text())
        await eventually(lambda: deed.running == 1)
        first.cancel()
        deed.gate.set()
        assert said((await second).task) == "r1 by attempt 1"


async def test_callers_at_two_processes_get_the_same_answer_from_one_execution(
    at_the_door: tuple[Door, Caller], server: Server, rig: Rig, tmp_path: Path
) -> None:
    _, caller = at_the_door
    deed = Deed(held=True)
    # Its slow timer would be too slow to help.
    settings: dict[str, Any] = {"redis_url": server.url, "data_dir": tmp_path, "inbox_recheck_ms": 60_000}
    async with (
        service("ingestion", grpc_bind="127.0.0.1:0", **settings) as other,
        calling(await other.address()) as late,
        working(server.url, deed),
    ):
        first = asyncio.ensure_future(caller.stub.AnalyzeText(text()))
        await eventually(lambda: deed.running == 1)
        submitted = asyncio.ensure_future(late.stub.AnalyzeText(text()))
        polled = asyncio.ensure_future(late.stub.GetTask(asking(wait_s=10)))
        await eventually(lambda: _known_at_two_inboxes(rig))
        deed.gate.set()
        tasks = [(await first).task, (await submitted).task, (await polled).task]
    assert tasks[0] == tasks[1] == tasks[2]
    assert len(deed.begun) == 1


async def _known_at_two_inboxes(rig: Rig) -> bool:
    return (await rig.fields("r1"))[b"inboxes"].count(b",") == 1


async def test_a_long_poll_is_answered_as_soon_as_the_task_is_settled(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    door, caller = at_the_door
    deed = Deed(held=True)
    async with working(server.url, deed):
        await caller.stub.AnalyzeText(text(respond_async=True))
        poll = asyncio.ensure_future(caller.stub.GetTask(asking(wait_s=30)))
        await eventually(lambda: deed.running == door.inbox.open_requests == 1)
        # It has looked and found the task open; now it waits for word.
        await asyncio.sleep(0.2)
        assert not poll.done()
        settled = time.monotonic()
        deed.gate.set()
        assert said((await poll).task) == "r1 by attempt 1"
    assert time.monotonic() - settled < 2


async def test_a_poll_tells_queued_from_running_and_counts_the_attempts(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    accepted = (await caller.stub.AnalyzeText(text(respond_async=True))).task
    assert accepted.state == task_pb2.TASK_STATE_QUEUED
    assert (await caller.stub.GetTask(asking())).task == accepted
    deed = Deed(held=True)
    async with working(server.url, deed):
        await eventually(lambda: deed.running == 1)
        running = (await caller.stub.GetTask(asking())).task
        assert (running.state, running.attempts) == (task_pb2.TASK_STATE_RUNNING, 1)
        deed.gate.set()
        done = (await caller.stub.GetTask(asking(wait_s=5))).task
        assert done.state == task_pb2.TASK_STATE_SUCCEEDED
        assert (await caller.stub.AnalyzeText(text(respond_async=True))).task == done


async def test_many_polls_of_open_tasks_are_all_answered(at_the_door: tuple[Door, Caller]) -> None:
    _, caller = at_the_door
    names = [f"r{number}" for number in range(200)]
    await asyncio.gather(*(caller.stub.AnalyzeText(text(name, respond_async=True)) for name in names))
    answers = await asyncio.gather(*(caller.stub.GetTask(asking(name)) for name in names))
    assert {answer.task.state for answer in answers} == {task_pb2.TASK_STATE_QUEUED}


LONG_WORDS = "é" * 20_000


async def test_a_task_that_failed_says_why_even_at_length(at_the_door: tuple[Door, Caller], server: Server) -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        del payload, context
        return Rejected("TOO_OLD", LONG_WORDS)

    _, caller = at_the_door
    async with working(server.url, act):
        refusal = await refusal_of(caller.stub.AnalyzeText(text()))
        async with Client(at_the_door[0].address) as client:
            with pytest.raises(TaskFailed, match=r"^task r1 failed: é+…$") as failed:
                await client.analyze_text("The ferry was early.", request_id="r1")
    assert (refusal.code, refusal.reason) == ("ABORTED", "TASK_FAILED")
    assert refusal.facts == {"request_id": "r1", "state": "failed", "task_reason": "TOO_OLD"}
    assert failed.value.task_reason == "TOO_OLD"
    task = (await caller.stub.GetTask(asking())).task
    assert (task.state, task.error.reason) == (task_pb2.TASK_STATE_FAILED, "TOO_OLD")
    assert not task.HasField("result")


async def test_the_client_knows_the_request_id_of_what_it_gave_up_waiting_for(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    _, caller = at_the_door
    with pytest.raises(WaitExpired) as expired:
        await caller.client.analyze_text("The ferry was early.", timeout_s=1.0)
    async with working(server.url, answer_with_attempt):
        task = await caller.client.task(expired.value.request_id, wait_s=5)
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED


async def test_lanes_tell_backlog_running_and_cap(at_the_door: tuple[Door, Caller], server: Server) -> None:
    _, caller = at_the_door
    deed = Deed(held=True)
    async with working(server.url, deed, slots=2) as worker:
        for number in range(3):
            await caller.stub.AnalyzeText(text(f"r{number}", respond_async=True))
        await eventually(lambda: deed.running == 2)
        lanes = {lane.name: lane for lane in (await caller.stub.ListLanes(ListLanesRequest())).lanes}
        deed.gate.set()
    assert sorted(lanes) == ["file", "heartbeat", "text"]
    assert (lanes["text"].backlog, lanes["text"].running, lanes["text"].cap) == (3, 2, 10_000)
    assert [(consumer.name, consumer.running) for consumer in lanes["text"].consumers] == [(worker.consumer, 2)]
    assert lanes["text"].HasField("oldest_age")
    assert (lanes["file"].backlog, lanes["file"].HasField("oldest_age")) == (0, False)


async def test_a_method_that_there_is_not_is_refused(at_the_door: tuple[Door, Caller]) -> None:
    _, caller = at_the_door
    call: Any = caller.channel.unary_unary("/edgescale.v1.IngestionService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("given", "kept"),
    [(TRACE, TRACE), (TRACE.upper(), ""), (TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), ""), ("x", "")],
)
async def test_a_trace_context_travels_with_the_task_if_it_is_one(
    at_the_door: tuple[Door, Caller], rig: Rig, given: str, kept: str
) -> None:
    _, caller = at_the_door
    await caller.stub.AnalyzeText(text(respond_async=True), metadata=(("traceparent", given),))
    [entry] = await rig.take()
    assert Envelope.decode(entry.fields).traceparent == kept
