"""Tasks that are not to be started before some time, or not from some time on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from edgescale.v1 import task_pb2
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextRequest, GetTaskRequest
from edgescale.v1.text_pb2 import TextInput
from tests.door import Caller, Door, backlogs, ingesting, refusal_of
from tests.parts import Deed, working
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey", "cluster"], indirect=True, scope="session")
TIMES: dict[str, Any] = {"lease_ms": 300, "sweep_ms": 50}


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    async with ingesting(server.url, tmp_path) as opened:
        yield opened


def text(
    *, not_before_ms: int | None = None, expires_ms: int | None = None, respond_async: bool = False
) -> AnalyzeTextRequest:
    schedule = task_pb2.Schedule()
    if not_before_ms is not None:
        schedule.not_before.FromMilliseconds(not_before_ms)
    if expires_ms is not None:
        schedule.expire_time.FromMilliseconds(expires_ms)
    return AnalyzeTextRequest(
        input=TextInput(text="Later."), request_id="r1", schedule=schedule, respond_async=respond_async
    )


async def test_a_task_that_is_not_due_is_started_when_it_is_and_not_before(
    at_the_door: tuple[Door, Caller], server: Server, rig: Rig
) -> None:
    _, caller = at_the_door
    due_ms = await rig.now_ms() + 1_000
    deed = Deed()
    async with working(server.url, deed, **TIMES):
        task = (await caller.stub.AnalyzeText(text(not_before_ms=due_ms))).task
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED
    assert task.settle_time.ToMilliseconds() >= due_ms
    assert [context.attempt for context in deed.begun] == [1], "waiting is no attempt"


async def test_a_task_that_waits_belongs_to_the_backlog_and_outlives_its_worker(
    at_the_door: tuple[Door, Caller], server: Server, rig: Rig
) -> None:
    _, caller = at_the_door
    due_ms = await rig.now_ms() + 2_000
    async with working(server.url, Deed(), **TIMES):
        await caller.stub.AnalyzeText(text(not_before_ms=due_ms, respond_async=True))
        await eventually(lambda: rig.connection.command("ZCARD", rig.keys.schedule(0, "text")))
    assert await backlogs(rig) == {"text": 1}
    async with working(server.url, Deed(), **TIMES):
        task = (await caller.stub.GetTask(GetTaskRequest(request_id="r1", wait=Duration(seconds=10)))).task
    assert task.settle_time.ToMilliseconds() >= due_ms


async def test_a_task_past_its_deadline_is_not_started_and_who_waits_is_told(
    at_the_door: tuple[Door, Caller], server: Server, rig: Rig
) -> None:
    _, caller = at_the_door
    deed = Deed()
    expires_ms = await rig.now_ms() + 100
    await caller.stub.AnalyzeText(text(expires_ms=expires_ms, respond_async=True))

    async def has_passed() -> bool:
        return await rig.now_ms() > expires_ms

    await eventually(has_passed)
    async with working(server.url, deed, **TIMES):
        refusal = await refusal_of(caller.stub.AnalyzeText(text()))
    assert (refusal.code, refusal.reason) == ("DEADLINE_EXCEEDED", "TASK_EXPIRED")
    assert refusal.facts == {"request_id": "r1", "state": "expired", "task_reason": "EXPIRED"}
    assert deed.begun == []
    assert await backlogs(rig) == {}
    task = (await caller.stub.GetTask(GetTaskRequest(request_id="r1"))).task
    assert task.state == task_pb2.TASK_STATE_EXPIRED


async def test_a_deadline_that_is_not_after_the_beginning_is_refused(at_the_door: tuple[Door, Caller]) -> None:
    _, caller = at_the_door
    refusal = await refusal_of(caller.stub.AnalyzeText(text(not_before_ms=5_000, expires_ms=5_000)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["schedule.expire_time"])
