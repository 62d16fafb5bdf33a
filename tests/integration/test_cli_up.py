"""`edgescale up`: everything on one machine, parts that die are started again, all of it is gone when it goes."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from edgescale.chance import SystemChance
from edgescale.client import Client
from edgescale.config import Settings
from edgescale.errors import ConfigError
from edgescale.local.child import free_port
from edgescale.local.http import Http
from edgescale.local.stack import Stack
from edgescale.v1 import task_pb2
from tests.processes import Running, alive, command, descendants, program
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
# Models for texts take seconds to load; where texts do not matter, workers leave them out.
NO_TEXTS: dict[str, Any] = {"worker_lanes": {"heartbeat": 4, "file": 2}}
AGAIN_WITHIN_S = 30.0


class Up:
    """A stack that is up."""

    def __init__(self, running: Running, data_dir: Path, grpc: str, http: str) -> None:
        self.running = running
        self.data_dir = data_dir
        self.grpc = grpc
        self.http = http

    def child(self, name: str) -> psutil.Process:
        """The present process of a service."""
        [found] = [child for child in descendants(self.running.pid) if name in child.cmdline()]
        return found

    async def beat(self, sequence: int) -> bool:
        """Whether a heartbeat goes through the gateway and all behind it."""
        beat = {"agent_id": "pier-1", "sequence": sequence}
        return (await Http(self.http, timeout_s=5).post("/v1/heartbeats", beat)).status == 202


@asynccontextmanager
async def starting(data_dir: Path, grpc: str = "", http: str = "", **settings: Any) -> AsyncIterator[Up]:
    """A stack that may not be up yet, on ports of its own."""
    grpc, http = grpc or f"127.0.0.1:{free_port()}", http or f"127.0.0.1:{free_port()}"
    where = ["--data-dir", str(data_dir), "--grpc-bind", grpc, "--http-bind", http, "--workers", "1"]
    async with program("-m", "edgescale", "up", *where, **settings) as running:
        yield Up(running, data_dir, grpc, http)


@asynccontextmanager
async def stack(data_dir: Path, **settings: Any) -> AsyncIterator[Up]:
    async with starting(data_dir, **settings) as up:
        await up.running.line("Press Ctrl-C")
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """One stack for the tests that leave it as they found it."""
    async with stack(tmp_path_factory.mktemp("up")) as shared:
        yield shared


async def test_it_says_where_everything_is(up: Up) -> None:
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in up.running.lines if line.startswith("  ")}
    assert up.running.lines[0] == "EdgeScale is up."
    assert told["REST"] == f"http://{up.http}/v1"
    assert told["gRPC"] == up.grpc
    assert told["Redis"].startswith("redis://127.0.0.1:")
    assert told["Data"] == str(up.data_dir)
    assert f"-{up.child('worker').pid}-" in told["Workers"]


async def test_the_gateway_finds_ingestion_where_it_was_told_to_listen(up: Up) -> None:
    assert await up.beat(1)


async def test_requests_from_the_command_line_go_through_the_real_services(up: Up, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("The ferry was early.\n")
    status, output, _ = await command("send", "text", "The ferry was early.", "--target", up.grpc)
    assert status == 0
    assert json.loads(output)["result"]["text_analysis"]["words"] == "4"
    status, output, _ = await command("send", "file", str(path), "--target", up.grpc)
    assert status == 0
    assert json.loads(output)["result"]["file_report"]["text"] == {"lines": "1", "words": "4"}
    status, output, _ = await command("status", "--json", "--target", up.grpc)
    assert status == 0
    assert [agent["agent_id"] for agent in json.loads(output)["agents"]] == ["pier-1"]
    assert all(len(lane["consumers"]) == 1 for lane in json.loads(output)["lanes"])


@pytest.mark.parametrize("name", ["gateway", "ingestion", "worker"])
async def test_a_service_that_is_killed_is_started_again(up: Up, name: str) -> None:
    killed = up.child(name)
    killed.kill()
    async with asyncio.timeout(AGAIN_WITHIN_S):
        await eventually(lambda: up.child(name).pid != killed.pid, timeout_s=AGAIN_WITHIN_S)
        await eventually(lambda: up.beat(2), timeout_s=AGAIN_WITHIN_S)
        async with Client(up.grpc) as client:
            task = await client.upload_file(Path(__file__), request_id=f"after-{name}", timeout_s=AGAIN_WITHIN_S)
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED


async def test_a_killed_redis_is_started_again_with_its_data(up: Up) -> None:
    async with Client(up.grpc) as client:
        before = await client.upload_file(Path(__file__), request_id="before-crash", timeout_s=AGAIN_WITHIN_S)
        # The append-only file is synced every second, but a killed process loses nothing that it wrote.
        [redis] = [child for child in descendants(up.running.pid) if "edgescale" not in child.cmdline()]
        redis.kill()
        await eventually(client.serving, timeout_s=AGAIN_WITHIN_S)
        assert await eventually(lambda: client.task("before-crash"), timeout_s=AGAIN_WITHIN_S) == before


async def test_a_second_stack_cannot_have_the_same_data(up: Up) -> None:
    async with starting(up.data_dir, **NO_TEXTS) as second:
        assert await second.running.status() == 2
        last = second.running.errors.splitlines()[-1]
    assert last.startswith(f"edgescale: {up.data_dir}/valkey is in use by another server (process ")


async def test_a_second_stack_cannot_have_the_same_ports(up: Up, tmp_path: Path) -> None:
    async with starting(tmp_path, grpc=up.grpc, **NO_TEXTS) as second:
        assert await second.running.status() == 2
        told = second.running.errors
    assert f"edgescale: grpc_bind: cannot listen on {up.grpc}; is another process using the port?" in told
    assert "Traceback" not in told
    assert alive(descendants(second.running.pid)) == []


async def test_strict_is_refused_where_the_server_has_no_replicas(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, durability="strict")
    with pytest.raises(ConfigError, match=r"^durability: strict needs replicas, .*--redis-url"):
        Stack(settings, SystemChance(), embedded=True)


async def test_a_data_directory_that_cannot_be_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, errors = await command("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert status == 2
    assert errors.splitlines()[-1].startswith(f"edgescale: data_dir: cannot use {tmp_path / 'file' / 'data'}")
    assert "Traceback" not in errors


async def test_ctrl_c_drains_and_leaves_nobody_behind(up: Up) -> None:
    children = descendants(up.running.pid)
    # Broker, ingestion, worker, gateway; more when the pool was needed.
    assert len(children) >= 4
    up.running.signal(signal.SIGINT)
    assert await up.running.status() == 0
    assert any(line.startswith("Draining") for line in up.running.lines)
    assert alive(children) == []
    stopped = re.findall(r'"event": "service.stopped", "service": "(\w+)"', up.running.errors)
    assert stopped == ["gateway", "ingestion", "worker"]


async def test_data_survives_a_stop_and_nobody_survives_a_kill(tmp_path: Path) -> None:
    async with stack(tmp_path, worker_lanes={"file": 2}) as first, Client(first.grpc) as client:
        settled = await client.upload_file(Path(__file__), request_id="settled", timeout_s=AGAIN_WITHIN_S)
        await client.send_heartbeat("pier-1", sequence=1, request_id="queued")
        first.running.terminate()
        assert await first.running.status() == 0
    changes: dict[str, Any] = {"worker_lanes": {"heartbeat": 2}, "drain_grace_ms": 1_000}
    async with stack(tmp_path, **changes) as second, Client(second.grpc) as client:
        assert await client.task("settled") == settled
        assert (await client.task("queued", wait_s=AGAIN_WITHIN_S)).state == task_pb2.TASK_STATE_SUCCEEDED
        assert [agent.agent_id for agent in await client.agents()] == ["pier-1"]
        children = descendants(second.running.pid)
        assert len(children) == 4
        second.running.kill()
        await gone(children)


async def gone(children: list[psutil.Process]) -> None:
    """Wait until all have ended by themselves; end them otherwise."""
    try:
        await eventually(lambda: not alive(children), timeout_s=15)
    finally:
        for child in alive(children):
            child.kill()


async def test_a_stack_that_is_killed_while_it_starts_leaves_nobody_behind(tmp_path: Path) -> None:
    # Nobody is there: the services wait for Redis, and would wait for ever.
    async with starting(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}", **NO_TEXTS) as up:
        await eventually(lambda: len(descendants(up.running.pid)) == 2, timeout_s=15)
        await eventually(lambda: "broker.lost" in up.running.errors, timeout_s=15)
        children = descendants(up.running.pid)
        up.running.kill()
        await gone(children)


async def test_a_service_that_is_started_while_the_stack_stops_is_told_to_stop(tmp_path: Path) -> None:
    settings = Settings(redis_url=f"redis://127.0.0.1:{free_port()}", data_dir=tmp_path, worker_lanes={"file": 1})
    with (tmp_path / "log").open("wb") as log:
        stopping = Stack(settings, SystemChance(), embedded=False, log_to=log)
        await stopping.stop()
        [child, _] = stopping.workers
        try:
            await asyncio.wait_for(stopping._live(child), AGAIN_WITHIN_S)
        finally:
            if child.pid is not None:
                assert child.process is not None
                child.process.kill()
                await child.process.wait()


async def test_ctrl_c_is_heard_while_it_starts(tmp_path: Path) -> None:
    async with starting(tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}", **NO_TEXTS) as up:
        await eventually(lambda: "broker.lost" in up.running.errors, timeout_s=15)
        children = descendants(up.running.pid)
        up.running.signal(signal.SIGINT)
        assert await up.running.status(timeout_s=10) == 0
    assert alive(children) == []
