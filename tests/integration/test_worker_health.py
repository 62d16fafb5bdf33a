"""What a worker says of itself over HTTP: alive is not consuming."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgescale.broker.inbox import Inbox
from edgescale.harness.chaos.fault_proxy import proxied
from edgescale.harness.chaos.toxics import HalfOpen
from edgescale.local.child import free_port
from edgescale.worker.health import health_served
from edgescale.worker.worker import Worker
from tests.parts import Deed, answer_with_attempt, ask, make_worker, working
from tests.processes import program
from tests.servers import Server
from tests.support import Rig, eventually, open_rig

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
ANYWHERE = "127.0.0.1:0"
QUICK: dict[str, Any] = {"redis_timeout_ms": 300, "sweep_ms": 100, "redis_block_ms": 100}


@asynccontextmanager
async def probed(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        health_served(ANYWHERE, lambda: worker.readiness) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client,
    ):
        yield client


async def status(client: httpx.AsyncClient) -> int:
    return (await client.get("/readyz")).status_code


async def test_a_worker_that_reads_is_ready_with_and_without_work(server: Server, rig: Rig, inbox: Inbox) -> None:
    async with working(server.url, answer_with_attempt, **QUICK) as worker, probed(worker) as client:
        for path, said in (("/healthz", "alive"), ("/readyz", "consuming")):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": said})
            assert answer.headers["cache-control"] == "no-store"
            assert "server" not in answer.headers
        await ask(rig, inbox, "r1")
        assert await status(client) == 200


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_who_only_connects_and_hears_nothing_is_alive_and_not_ready(server: Server) -> None:
    async with (
        proxied(server.url) as proxy,
        working(proxy.url, answer_with_attempt, **QUICK) as worker,
        probed(worker) as client,
    ):
        assert await status(client) == 200
        async with proxy.toxic(HalfOpen(direction="upstream")), proxy.toxic(HalfOpen(direction="downstream")):
            document = await eventually(lambda: _told_of(client, "fetcher:text:0"))
            assert (await client.get("/healthz")).status_code == 200
        assert document["reason"] == "NOT_CONSUMING"
        assert document["state"] == "stalled"
        assert document["detail"].startswith("read loops stand still: ")
        await eventually(lambda: _ready(client))


async def _ready(client: httpx.AsyncClient) -> bool:
    return await status(client) == 200


async def _told_of(client: httpx.AsyncClient, loop: str) -> Any:
    """The document that names this loop."""
    answer = await client.get("/readyz")
    return answer.status_code == 503 and loop in answer.json()["stalled_ms"] and answer.json()


async def test_a_worker_whose_slots_are_all_taken_is_busy_and_ready(server: Server, rig: Rig, inbox: Inbox) -> None:
    deed = Deed(held=True)
    async with working(server.url, deed, slots=1, **QUICK) as worker, probed(worker) as client:
        answers = [asyncio.create_task(ask(rig, inbox, f"r{number}")) for number in range(3)]
        await eventually(lambda: deed.running == 1)
        # Long enough for a fetcher that counted the wait for its slot to look dead.
        bound_s = (QUICK["redis_block_ms"] + QUICK["redis_timeout_ms"] + 500) / 1000
        loop = asyncio.get_running_loop()
        over = loop.time() + 1.5 * bound_s
        while loop.time() < over:
            assert worker.readiness.state == "consuming"
            await asyncio.sleep(0.05)
        assert await status(client) == 200
        deed.gate.set()
        await asyncio.gather(*answers)


async def test_a_worker_whose_slots_are_held_beyond_all_timeouts_is_not_ready(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    released = asyncio.Event()

    async def deaf(payload: bytes, context: Any) -> Any:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return await answer_with_attempt(payload, context)

    async with working(server.url, deaf, slots=1, handler_timeout_ms=100, **QUICK) as worker:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        try:
            await eventually(lambda: worker.readiness.state == "stalled")
            # It is the lane that stands still: Redis answers the renewer.
            assert all(":text:" in name for name in worker.readiness.stalled)
        finally:
            released.set()
        await eventually(lambda: worker.readiness.state == "consuming")
        await answer


async def test_a_worker_is_not_ready_before_redis_is_there_nor_once_it_drains(server: Server) -> None:
    deed = Deed(held=True)
    async with open_rig(server.url, drain_grace_ms=5_000) as rig:
        worker = make_worker(rig, deed)
        async with probed(worker) as client:
            assert (await client.get("/readyz")).json()["state"] == "starting"
            running = asyncio.create_task(worker.run())
            await eventually(lambda: _ready(client))
            await rig.submit("r1")
            await eventually(lambda: deed.running == 1)
            worker.stop()
            document = (await client.get("/readyz")).json()
            assert (document["status"], document["state"]) == (503, "draining")
            deed.gate.set()
            await asyncio.wait_for(running, 10)


async def test_the_command_answers_probes_where_it_is_told_to(server: Server, tmp_path: Path) -> None:
    bind = f"127.0.0.1:{free_port()}"
    settings: dict[str, Any] = {"redis_url": server.url, "data_dir": tmp_path, "worker_lanes": "heartbeat=1"}
    async with program("-m", "edgescale", "worker", worker_health_bind=bind, log_format="json", **settings) as worker:
        await worker.address()
        async with httpx.AsyncClient(base_url=f"http://{bind}", timeout=10) as client:
            await eventually(lambda: _ready(client))
        async with program("-m", "edgescale", "worker", worker_health_bind=bind, **settings) as second:
            assert await second.status() == 2
            assert "worker_health_bind" in second.errors
        worker.terminate()
        assert await worker.status() == 0
        assert f'"address": "{bind}", "event": "health.served"' in worker.errors
