"""Callers, ingestion, Redis and workers together, while Redis restarts, is flushed, or drops the inbox's connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgescale.errors import EdgeScaleError
from edgescale.handlers.base import Context, Outcome
from edgescale.local.valkey import EmbeddedValkey
from edgescale.v1 import task_pb2
from tests.door import Caller, Door, backlogs, ingesting
from tests.parts import Act, Deed, done, working
from tests.servers import Server
from tests.support import eventually

AGAIN_WITHIN_S = 5.0
IMPATIENT: dict[str, Any] = {"redis_timeout_ms": 500, "redis_patience_ms": 1_000}


@asynccontextmanager
async def pipeline(url: str, folder: Path, act: Act, **changes: Any) -> AsyncIterator[tuple[Door, Caller]]:
    """An ingestion server and two workers, none of which waits long for a server that is away."""
    settings = IMPATIENT | changes
    async with (
        working(url, act, lease_ms=1_000, **settings),
        working(url, act, lease_ms=1_000, **settings),
        ingesting(url, folder, **settings) as opened,
    ):
        yield opened


class Executions:
    """A handler's function that answers each time with another number, so that two executions can be told apart."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, payload: bytes, context: Context) -> Outcome:
        del payload
        self.count += 1
        number = self.count
        await asyncio.sleep(0.01)
        return done(f"{context.request_id} in execution {number}")


class Load:
    """Callers who ask one thing after the other, and repeat what they were not answered, under the same request id.

    Attributes:
        answers: what each request id was answered.
        last: when the last answer came, by the loop's clock.
    """

    def __init__(self, caller: Caller, callers: int = 8) -> None:
        self.answers: dict[str, task_pb2.Task] = {}
        self.last = 0.0
        self._client = caller.client
        self._callers = callers
        self._ends = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask during the block; at its end, everyone waits for the last answer."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._callers):
                group.create_task(self._ask(f"c{number}"))
            yield
            self._ends.set()

    async def _ask(self, name: str) -> None:
        number = 0
        while not self._ends.is_set():
            number += 1
            request_id = f"{name}-{number}"
            self.answers[request_id] = await self._answer(request_id)
            self.last = asyncio.get_running_loop().time()

    async def _answer(self, request_id: str) -> task_pb2.Task:
        while True:
            try:
                return await self._client.analyze_text("The ferry was early.", request_id=request_id, timeout_s=20)
            except EdgeScaleError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(0.05)

    async def flows(self) -> None:
        """Wait until some more are answered."""
        seen = len(self.answers)
        await eventually(lambda: len(self.answers) > seen + 20, timeout_s=AGAIN_WITHIN_S)


def said(task: task_pb2.Task) -> str:
    return task.result.json.string_value


async def restart(server: EmbeddedValkey) -> None:
    await server.stop()
    await asyncio.sleep(0.3)
    await server.start()


async def crash(server: EmbeddedValkey) -> None:
    """What was written in the last second may be lost."""
    await server.kill()
    await asyncio.sleep(0.3)
    await server.start()


@pytest.mark.parametrize("fault", [restart, crash])
async def test_callers_are_answered_across_restarts_of_redis(
    private_server: EmbeddedValkey, tmp_path: Path, fault: Callable[[EmbeddedValkey], Awaitable[None]]
) -> None:
    executions = Executions()
    async with pipeline(private_server.url, tmp_path, executions) as (door, caller):
        load = Load(caller)
        async with load.running():
            await load.flows()
            for _ in range(2):
                await fault(private_server)
                await load.flows()
        asked_again = {name: said(await caller.client.task(name)) for name in load.answers}
        await eventually(lambda: _idle(door))
    if fault is restart:
        assert asked_again == {name: said(task) for name, task in load.answers.items()}
    assert all(said(task).startswith(f"{name} in ") for name, task in load.answers.items())


async def _idle(door: Door) -> bool:
    return await backlogs(door.rig) == {} and door.inbox.open_requests == 0


async def test_callers_are_answered_across_flushes_of_redis(server: Server, tmp_path: Path) -> None:
    executions = Executions()
    async with pipeline(server.url, tmp_path, executions) as (door, caller):
        load = Load(caller)
        async with load.running():
            for _ in range(5):
                await load.flows()
                await door.rig.connection.command("FLUSHALL")
            await load.flows()
        await eventually(lambda: _idle(door))
    assert all(said(task).startswith(f"{name} in ") for name, task in load.answers.items())


@pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
async def test_results_find_their_callers_although_the_inbox_loses_its_connection_again_and_again(
    server: Server, tmp_path: Path
) -> None:
    deed = Deed(held=True)
    # The slow timer would be too slow to help.
    async with pipeline(server.url, tmp_path, deed, inbox_recheck_ms=60_000) as (door, caller):
        for number in range(10):
            deed.gate.clear()
            request_id = f"r{number}"
            answer = asyncio.ensure_future(caller.client.analyze_text("The ferry was early.", request_id=request_id))
            await eventually(lambda: deed.running == 1)
            await door.rig.connection.command("CLIENT", "KILL", "TYPE", "pubsub")
            deed.gate.set()
            assert said(await asyncio.wait_for(answer, AGAIN_WITHIN_S)) == f"{request_id} by attempt 1"
    assert len(deed.begun) == 10
