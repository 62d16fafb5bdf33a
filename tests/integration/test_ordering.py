"""Tasks of one ordering key, through doors and workers: one at a time, in their order, whatever becomes of workers."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgescale.broker.inbox import Inbox
from edgescale.errors import Conflict, InvalidInput
from edgescale.handlers.base import Context, Outcome, Retry
from edgescale.v1 import task_pb2
from tests import killable_worker
from tests.door import Caller, Door, ingesting
from tests.killable_worker import AFTER_SETTLE, BEFORE_SETTLE, DURING
from tests.ordered import chain, ordered, queued, submit_in_order, waiting
from tests.parts import LEASE_MS, SWEEP_MS, Deed, answer_with_attempt, ask, working
from tests.processes import program
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, serving, settlement
from tests.waiting import OFTEN_MS

NAMES = [f"k:{number}" for number in range(1, 5)]


class Watched:
    """A handler's function that notes who is at work beside whom."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.together: list[tuple[str, ...]] = []
        self._at_work: list[str] = []

    async def __call__(self, payload: bytes, context: Context) -> Outcome:
        self.begun.append(context.request_id)
        self._at_work.append(context.request_id)
        if len(self._at_work) > 1:
            self.together.append(tuple(self._at_work))
        try:
            # Long enough for others to begin, if they may.
            await asyncio.sleep(0.02)
            if payload == b"fail" and context.attempt == 1:
                return Retry("NOT_YET", "Not yet.", delay_ms=100)
            return await answer_with_attempt(payload, context)
        finally:
            self._at_work.remove(context.request_id)


async def is_empty(rig: Rig) -> bool:
    return await rig.backlog() == 0 and await waiting(rig) == []


async def test_one_is_done_after_the_other_by_many_workers_even_where_one_fails_at_first(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    act = Watched()
    given = [ordered(name, b"fail" if name == "k:2" else b"hello") for name in NAMES]
    async with AsyncExitStack() as workers:
        for _ in range(3):
            await workers.enter_async_context(working(server.url, act))
        records = await asyncio.gather(*(ask(rig, inbox, task) for task in given))
    assert act.begun == ["k:1", "k:2", "k:2", "k:3", "k:4"]
    assert act.together == []
    assert [record.state for record in records] == ["succeeded"] * 4
    assert await is_empty(rig)


async def test_another_key_is_not_held_up(server: Server, rig: Rig, inbox: Inbox) -> None:
    held = Deed(held=True)
    async with working(server.url, held):
        asking = [asyncio.create_task(ask(rig, inbox, ordered(name))) for name in ("k:1", "k:2", "j:1")]
        await eventually(lambda: held.running == 2)
        assert {context.request_id for context in held.begun} == {"k:1", "j:1"}
        held.gate.set()
        await asyncio.gather(*asking)


async def test_one_that_is_not_due_holds_up_those_behind_it(server: Server, rig: Rig, inbox: Inbox) -> None:
    act, first = Watched(), ordered("k:1")
    due_ms = await rig.now_ms() + 300
    first = replace(first, envelope=replace(first.envelope, not_before_ms=due_ms))
    async with working(server.url, act):
        await asyncio.gather(*(ask(rig, inbox, task) for task in (first, ordered("k:2"))))
    assert act.begun == ["k:1", "k:2"]
    assert await rig.now_ms() >= due_ms


@pytest.mark.parametrize("step", [DURING, BEFORE_SETTLE, AFTER_SETTLE])
async def test_a_worker_that_is_killed_in_the_midst_of_a_chain_leaves_it_in_order(
    server: Server, rig: Rig, inbox: Inbox, step: str
) -> None:
    act = Watched()
    settings: dict[str, Any] = {"lease_ms": LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": 200}
    settings["partitions"] = rig.keys.partitions
    await submit_in_order(rig, *NAMES)
    async with program(killable_worker.__file__, step, redis_url=server.url, **settings) as doomed:
        await doomed.address()
        assert await doomed.status() == -signal.SIGKILL
        async with working(server.url, act):
            records = await asyncio.gather(*(ask(rig, inbox, ordered(name)) for name in NAMES))
    assert act.begun == NAMES[1 if step == AFTER_SETTLE else 0 :]
    assert (act.together, [record.state for record in records]) == ([], ["succeeded"] * 4)
    assert await is_empty(rig)


async def test_a_worker_that_drains_hands_the_first_one_back_and_nobody_goes_past_it(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    held, act = Deed(held=True), Watched()
    await submit_in_order(rig, *NAMES)
    async with working(server.url, held, drain_grace_ms=1):
        await eventually(lambda: held.running == 1)
    assert await queued(rig) == ["k:1"]
    async with working(server.url, act):
        await asyncio.gather(*(ask(rig, inbox, ordered(name)) for name in NAMES))
    assert act.begun == NAMES


async def test_who_waits_behind_one_that_was_taken_away_is_let_go_by_the_slow_timer(server: Server) -> None:
    async with open_rig(server.url, inbox_recheck_ms=OFTEN_MS) as rig, serving(rig.inbox()) as inbox:
        await submit_in_order(rig, "k:1")
        asking = asyncio.create_task(ask(rig, inbox, ordered("k:2")))
        await eventually(lambda: waiting(rig))
        await rig.connection.command("XTRIM", rig.keys.stream(0, "text"), "MAXLEN", 0)
        async with working(server.url, answer_with_attempt):
            assert (await asking).state == "succeeded"


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    async with ingesting(server.url, tmp_path) as (door, caller):
        yield door, caller


async def test_an_id_that_is_made_begins_with_the_ordering_key(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    tasks = [await caller.client.analyze_text("x", ordering_key="k", respond_async=True) for _ in range(2)]
    assert all(task.request_id.startswith("k:") for task in tasks)
    assert await chain(door.rig, "k") == [task.request_id for task in tasks]
    second = await caller.client.task(tasks[1].request_id)
    assert (second.state, second.attempts) == (task_pb2.TASK_STATE_QUEUED, 0)


async def test_files_have_an_order_too(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door

    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    for name in ("k:1", "k:2"):
        await caller.client.upload_file(content(), request_id=name, ordering_key="k", respond_async=True)
    assert await chain(door.rig, "k", "file") == ["k:1", "k:2"]
    with pytest.raises(InvalidInput, match="request_id: must begin with the ordering key and a colon"):
        await caller.client.upload_file(content(), request_id="1", ordering_key="k")


async def test_a_wrong_key_a_wrong_id_and_another_key_under_the_same_id_are_refused(
    at_the_door: tuple[Door, Caller],
) -> None:
    door, caller = at_the_door
    with pytest.raises(InvalidInput, match="ordering_key: must be 1 to 64"):
        await caller.client.analyze_text("x", ordering_key="a b")
    with pytest.raises(InvalidInput, match="customer-5:letter-17"):
        await caller.client.analyze_text("x", request_id="1", ordering_key="k")
    await caller.client.analyze_text("x", request_id="k:1", ordering_key="k", respond_async=True)
    for text, key in (("x", ""), ("y", "k")):
        with pytest.raises(Conflict):
            await caller.client.analyze_text(text, request_id="k:1", ordering_key=key)
    assert await chain(door.rig, "k") == ["k:1"]


async def test_a_cancelled_one_lets_the_next_one_go_through_the_door(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    for name in ("k:1", "k:2"):
        await caller.client.analyze_text("x", request_id=name, ordering_key="k", respond_async=True)
    await caller.client.cancel_task("k:1")
    [entry] = await door.rig.take()
    assert entry.fields[b"request_id"] == b"k:2"
    assert await door.rig.broker.settle("worker-1", settlement(entry)) == "settled"
