"""A worker that is told to stop: takes nothing new, finishes what it can, hands the rest back, and ends in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edgescale.broker.inbox import Inbox
from edgescale.local.valkey import EmbeddedValkey
from edgescale.worker.worker import Worker
from tests.parts import BLOCK_MS, LEASE_MS, SWEEP_MS, Act, Deed, answer_with_attempt, ask, make_worker, said, working
from tests.servers import Server, own_server
from tests.support import Rig, eventually, open_rig

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
LONG_MS = 60_000


@asynccontextmanager
async def leaving(rig: Rig, act: Act, slots: int = 4) -> AsyncIterator[tuple[Worker, asyncio.Task[None]]]:
    """A worker on the rig's own connection, and its run, which the test brings to its end."""
    worker = make_worker(rig, act, slots=slots)
    ready = asyncio.Event()
    running = asyncio.create_task(worker.run(on_ready=lambda _: ready.set()))
    try:
        await asyncio.wait_for(ready.wait(), 5)
        yield worker, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_runs_may_finish_and_what_comes_after_the_stop_is_not_taken(server: Server, rig: Rig) -> None:
    deed = Deed(held=True)
    async with (
        open_rig(server.url, lease_ms=LONG_MS, drain_grace_ms=LONG_MS, redis_block_ms=BLOCK_MS) as own,
        leaving(own, deed) as (worker, running),
    ):
        await rig.submit("r1", "r2")
        await eventually(lambda: deed.running == 2)
        worker.stop()
        # A read that waits at the server ends by itself; from then on nothing is taken.
        await eventually(lambda: _nobody_reads(rig))
        await rig.submit("r3")
        await asyncio.sleep(2 * BLOCK_MS / 1000)
        assert not running.done()
        deed.gate.set()
        await asyncio.wait_for(running, 5)
    assert sorted(deed.ended) == ["r1", "r2"]
    assert await rig.backlog() == 1
    assert await rig.pending() == []


async def _nobody_reads(rig: Rig) -> bool:
    clients = await rig.connection.command("CLIENT", "LIST")
    return b"cmd=xreadgroup" not in clients


async def test_what_is_handed_back_does_not_wait_for_a_read_that_waits_at_the_server(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    deed = Deed(held=True)
    changes = {"lease_ms": LONG_MS, "drain_grace_ms": 10, "redis_block_ms": 30_000}
    async with open_rig(server.url, **changes) as own, leaving(own, deed) as (worker, running):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: deed.running == 1)
        await eventually(lambda: _somebody_reads(rig))
        worker.stop()
        async with working(server.url, answer_with_attempt, lease_ms=LONG_MS):
            assert said(await answer) == "r1 by attempt 1"
            assert not running.done()
            assert worker.readiness.state == "draining"


@pytest.mark.one_partition
async def test_what_the_last_read_brings_after_the_grace_is_handed_back(server: Server, rig: Rig, inbox: Inbox) -> None:
    deed = Deed(held=True)
    changes = {"lease_ms": LONG_MS, "drain_grace_ms": 10, "redis_block_ms": 30_000}
    async with open_rig(server.url, **changes) as own, leaving(own, deed) as (worker, running):
        await eventually(lambda: _somebody_reads(rig))
        worker.stop()
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        # The read was asked for before the stop, and nobody can take it back.
        await asyncio.wait_for(running, 10)
        async with working(server.url, answer_with_attempt, lease_ms=LONG_MS):
            assert said(await answer) == "r1 by attempt 1"


async def _somebody_reads(rig: Rig) -> bool:
    clients = (await rig.connection.command("CLIENT", "LIST")).splitlines()
    return any(b"cmd=xreadgroup" in client and b"flags=b" in client for client in clients)


async def test_leases_are_kept_while_a_drain_waits(server: Server, rig: Rig) -> None:
    deed, other = Deed(held=True), Deed()
    changes = {"lease_ms": 300, "sweep_ms": SWEEP_MS, "drain_grace_ms": LONG_MS, "redis_block_ms": BLOCK_MS}
    async with open_rig(server.url, **changes) as own, leaving(own, deed) as (worker, running):
        await rig.submit("r1")
        await eventually(lambda: deed.running == 1)
        worker.stop()
        async with working(server.url, other, lease_ms=300):
            await asyncio.sleep(0.9)
            deed.gate.set()
            await asyncio.wait_for(running, 5)
    assert (deed.ended, other.begun) == (["r1"], [])


@pytest.mark.one_partition
async def test_what_outlasts_the_grace_is_claimed_by_another_at_once_and_has_used_up_no_attempt(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    held = Deed(held=True)
    names = [f"r{number}" for number in range(4)]
    changes = {"lease_ms": LONG_MS, "drain_grace_ms": 50, "redis_block_ms": BLOCK_MS}
    with capture_logs() as lines:
        async with open_rig(server.url, **changes) as own, leaving(own, held) as (worker, running):
            answers = asyncio.gather(*(ask(rig, inbox, name) for name in names))
            await eventually(lambda: held.running == 4)
            worker.stop()
            await asyncio.wait_for(running, 5)
        assert {deliveries for _, _, deliveries in await rig.pending()} == {0}
        async with working(server.url, answer_with_attempt, lease_ms=LONG_MS, attempts_max=1):
            records = await asyncio.wait_for(answers, 5)
    assert [said(record) for record in records] == [f"{name} by attempt 1" for name in names]
    assert [line["request_id"] for line in lines if line["event"] == "task.given_back"] == names


async def test_a_task_settled_during_the_drain_is_not_done_again(server: Server, rig: Rig, inbox: Inbox) -> None:
    deed, other = Deed(held=True), Deed()
    changes = {"lease_ms": LONG_MS, "drain_grace_ms": LONG_MS, "redis_block_ms": BLOCK_MS}
    async with open_rig(server.url, **changes) as own, leaving(own, deed) as (worker, running):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: deed.running == 1)
        worker.stop()
        deed.gate.set()
        await asyncio.wait_for(running, 5)
        async with working(server.url, other):
            assert said(await answer) == "r1 by attempt 1"
            await ask(rig, inbox, "r2")
    assert [context.request_id for context in other.begun] == ["r2"]


async def test_an_idle_worker_ends_as_soon_as_its_reads_do(server: Server) -> None:
    async with (
        open_rig(server.url, redis_block_ms=BLOCK_MS, drain_grace_ms=LONG_MS) as own,
        leaving(own, Deed()) as (worker, running),
    ):
        worker.stop()
        await asyncio.wait_for(running, 2)


async def test_being_told_twice_is_being_told_once(server: Server) -> None:
    async with open_rig(server.url, redis_block_ms=BLOCK_MS) as own, leaving(own, Deed()) as (worker, running):
        worker.stop()
        worker.stop()
        await asyncio.wait_for(running, 2)


@asynccontextmanager
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = own_server("valkey", tmp_path / "server")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.parametrize("under_way", ["handler", "outcome"])
async def test_a_drain_ends_in_time_while_redis_is_away(tmp_path: Path, shared_server: Server, under_way: str) -> None:
    del shared_server
    deed = Deed(held=True)
    changes = {
        "lease_ms": LEASE_MS,
        "sweep_ms": SWEEP_MS,
        "drain_grace_ms": 200,
        "redis_block_ms": BLOCK_MS,
        "redis_timeout_ms": 200,
        "redis_patience_ms": 300,
    }
    async with (
        own_valkey(tmp_path) as away,
        open_rig(away.url, **changes) as own,
        leaving(own, deed) as (worker, running),
    ):
        await own.submit("r1")
        await eventually(lambda: deed.running == 1)
        await away.kill()
        if under_way == "outcome":
            # It is there, and cannot be stored.
            deed.gate.set()
        worker.stop()
        # Grace, patience with outcomes, patience with hand-backs, and what is under way meanwhile.
        await asyncio.wait_for(running, 3)


@pytest.mark.parametrize("gone", ["killed", "silent"])
async def test_a_worker_that_finds_no_redis_can_be_stopped(tmp_path: Path, shared_server: Server, gone: str) -> None:
    del shared_server
    async with own_valkey(tmp_path) as away, open_rig(away.url) as own:
        if gone == "killed":
            await away.kill()
        else:
            await own.connection.command("CLIENT", "PAUSE", LONG_MS)
        worker = make_worker(own, Deed())
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0.1)
        worker.stop()
        await asyncio.wait_for(running, 2)
