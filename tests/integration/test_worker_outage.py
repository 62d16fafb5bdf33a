"""Workers whose Redis restarts, is flushed, freezes, or drops their connections: they consume again within 5 s."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import GROUP
from edgescale.local.child import free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.parts import Act, Deed, answer_with_attempt, ask, make_worker, said, working
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, serving

AGAIN_WITHIN_S = 5.0
IMPATIENT: dict[str, Any] = {"redis_timeout_ms": 300, "inbox_recheck_ms": 300}


@asynccontextmanager
async def pipeline(url: str, act: Act, **changes: Any) -> AsyncIterator[tuple[Rig, Inbox]]:
    """A worker, and what its callers need, none of which waits long for a server that is away."""
    changes |= IMPATIENT
    async with open_rig(url, **changes) as rig, serving(rig.inbox()) as inbox, working(url, act, **changes):
        yield rig, inbox


async def test_tasks_are_done_again_after_redis_restarted(private_server: EmbeddedValkey) -> None:
    deed = Deed(held=True)
    async with pipeline(private_server.url, deed, lease_ms=2_000) as (rig, inbox):
        running = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: deed.running == 1)
        await private_server.stop()
        # The outcome of what ran meanwhile waits for the server.
        deed.gate.set()
        await eventually(lambda: deed.ended == ["r1"])
        await private_server.start()
        assert said(await asyncio.wait_for(running, AGAIN_WITHIN_S)) == "r1 by attempt 1"
        later = await asyncio.wait_for(ask(rig, inbox, "r2"), AGAIN_WITHIN_S)
    assert said(later) == "r2 by attempt 1"
    assert [context.request_id for context in deed.begun] == ["r1", "r2"]


async def test_tasks_are_done_again_after_a_restart_that_lost_everything(private_server: EmbeddedValkey) -> None:
    async with pipeline(private_server.url, answer_with_attempt) as (rig, inbox):
        await ask(rig, inbox, "r1")
        await rig.connection.command("FLUSHALL")
        await private_server.stop()
        await private_server.start()
        await asyncio.wait_for(ask(rig, inbox, "r1"), AGAIN_WITHIN_S)


@pytest.mark.one_partition
@pytest.mark.slots_stay("it counts commands, and a slot is carried over by commands")
async def test_a_flush_skips_no_task_and_starts_no_hot_loop(server: Server, rig: Rig, inbox: Inbox) -> None:
    async with working(server.url, answer_with_attempt):
        for number in range(5):
            await ask(rig, inbox, f"before{number}")
            await rig.connection.command("FLUSHALL")
            # The first task comes before anybody has made the group anew.
            await asyncio.wait_for(ask(rig, inbox, f"after{number}"), AGAIN_WITHIN_S)
        # In this order, for the group is made anew within a millisecond.
        await rig.connection.command("CONFIG", "RESETSTAT")
        await rig.connection.command("FLUSHALL")
        await asyncio.sleep(0.5)
        assert 1 <= await rig.calls(r"xgroup\|create") <= 2


async def test_a_task_that_was_running_when_redis_was_flushed_is_done_anew_for_its_waiter(server: Server) -> None:
    deed = Deed(held=True)
    async with pipeline(server.url, deed) as (rig, inbox):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: deed.running == 1)
        await rig.connection.command("FLUSHALL")
        # The first run is stopped as soon as a renewal finds its entry gone; the waiter submits again.
        await eventually(lambda: len(deed.begun) == 2)
        deed.gate.set()
        assert said(await answer) == "r1 by attempt 1"
        assert await rig.backlog() == 0


async def test_a_lost_group_does_not_make_a_worker_run_beside_itself_what_it_runs(server: Server) -> None:
    deed = Deed(held=True)
    async with pipeline(server.url, deed, redis_block_ms=100) as (rig, inbox):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: deed.running == 1)
        await rig.connection.command("XGROUP", "DESTROY", rig.keys.stream(0, LANE), GROUP)
        # The group is made anew at 0, and its first reader is given what it runs already.
        await eventually(rig.pending)
        later = asyncio.create_task(ask(rig, inbox, "r2"))
        await eventually(lambda: deed.running == 2)
        deed.gate.set()
        assert [said(await answer), said(await later)] == ["r1 by attempt 1", "r2 by attempt 1"]
    assert [context.request_id for context in deed.begun] == ["r1", "r2"]


async def test_killed_connections_are_made_anew(server: Server, rig: Rig, inbox: Inbox) -> None:
    deed = Deed()
    async with working(server.url, deed):
        for number in range(10):
            await rig.connection.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.wait_for(ask(rig, inbox, f"r{number}"), AGAIN_WITHIN_S)
        # An entry whose delivery was lost with its connection comes again after the lease.
        assert await rig.backlog() == 0


async def test_a_server_that_froze_is_served_again(server: Server) -> None:
    async with pipeline(server.url, answer_with_attempt) as (rig, inbox):
        await ask(rig, inbox, "r1")
        frozen_ms = 1_000
        await rig.connection.command("CLIENT", "PAUSE", frozen_ms)
        thawed = asyncio.get_running_loop().time() + frozen_ms / 1000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(rig, inbox, "r2"), frozen_ms / 1000 / 2)
        await ask(rig, inbox, "r2")
        assert asyncio.get_running_loop().time() < thawed + AGAIN_WITHIN_S


async def test_a_worker_waits_for_a_server_that_is_not_there_yet_and_says_so_once(tmp_path: Path) -> None:
    late = EmbeddedValkey(tmp_path, port=free_port())
    async with open_rig(late.url, **IMPATIENT) as rig:
        worker = make_worker(rig, answer_with_attempt)
        with capture_logs() as lines:
            running = asyncio.create_task(worker.run())
            await asyncio.sleep(0.4)
            try:
                await late.start()
                async with serving(rig.inbox()) as inbox:
                    await asyncio.wait_for(ask(rig, inbox, "r1"), AGAIN_WITHIN_S)
                worker.stop()
                await asyncio.wait_for(running, 5)
            finally:
                running.cancel()
                await late.stop()
    assert [line["event"] for line in lines if line["event"].startswith(("broker", "service"))] == [
        "broker.lost",
        "broker.found",
        "service.started",
        "service.draining",
        "service.stopped",
    ]
