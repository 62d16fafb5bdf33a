"""The Python client: what its callers get, and what they are told when something is wrong on either side."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgescale.client import Client
from edgescale.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OutOfRange,
    TooLarge,
    Unavailable,
)
from edgescale.local.child import free_port
from edgescale.v1 import task_pb2
from edgescale.v1.heartbeat_pb2 import Heartbeat
from tests.door import Caller, Door, backlogs, ingesting
from tests.parts import answer_with_attempt, working
from tests.servers import Server
from tests.support import Rig, eventually

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    async with ingesting(server.url, tmp_path) as opened:
        yield opened


async def test_what_is_sent_comes_back_as_tasks(
    at_the_door: tuple[Door, Caller], server: Server, tmp_path: Path
) -> None:
    client = at_the_door[1].client
    path = tmp_path / "a.txt"
    path.write_bytes(b"content")
    assert await client.serving()
    assert not (await client.send_heartbeat("pier-1", sequence=1, metrics={"load": 0.5}, request_id="beat")).repeated
    assert (await client.send_heartbeat("pier-1", sequence=1, metrics={"load": 0.5}, request_id="beat")).repeated
    uploaded = await client.upload_file(path, request_id="file", respond_async=True)
    assert (uploaded.state, uploaded.kind) == (task_pb2.TASK_STATE_QUEUED, "file")
    async with working(server.url, answer_with_attempt):
        analysed = await client.analyze_text("The ferry was early.", request_id="text")
    assert analysed == await client.task("text")
    with pytest.raises(NotFound):
        await client.task("unknown")


async def test_a_beat_that_is_sent_again_may_tell_another_time_but_nothing_else(
    at_the_door: tuple[Door, Caller], rig: Rig
) -> None:
    client = at_the_door[1].client
    await client.send_heartbeat("pier-1", sequence=1, sent_ms=1_000, request_id="beat")
    assert (await client.send_heartbeat("pier-1", sequence=1, sent_ms=2_000, request_id="beat")).repeated
    with pytest.raises(Conflict):
        await client.send_heartbeat("pier-1", sequence=1, sent_ms=1_000, status="late", request_id="beat")
    assert await backlogs(rig) == {"heartbeat": 1}


async def test_all_agents_are_listed_over_many_pages(at_the_door: tuple[Door, Caller], rig: Rig) -> None:
    _, caller = at_the_door
    names = [f"agent-{number:03}" for number in range(250)]
    await asyncio.gather(
        *(
            rig.agents.record(Heartbeat(agent_id=name, sequence=1), seen_ms=1 + index)
            for index, name in enumerate(names)
        )
    )
    assert [agent.agent_id for agent in await caller.client.agents()] == names[::-1]


async def test_a_file_that_cannot_be_read_is_told_as_such_and_nothing_of_it_stays(
    at_the_door: tuple[Door, Caller], rig: Rig, tmp_path: Path
) -> None:
    door, caller = at_the_door
    with pytest.raises(FileNotFoundError):
        await caller.client.upload_file(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        await caller.client.upload_file(tmp_path)
    await eventually(lambda: door.service.uploads.under_way == 0)
    assert door.files() == []
    assert await backlogs(rig) == {}


async def test_what_goes_wrong_in_the_source_of_a_file_reaches_the_caller(
    at_the_door: tuple[Door, Caller], rig: Rig
) -> None:
    door, caller = at_the_door

    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * 65_536
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await caller.client.upload_file(breaking())
    await eventually(lambda: door.service.uploads.under_way == 0)
    assert door.files() == []
    assert await backlogs(rig) == {}


@pytest.mark.parametrize("declared_bytes", [10, 5_000])
async def test_the_source_of_a_file_is_closed_when_the_upload_ends_early(
    at_the_door: tuple[Door, Caller], declared_bytes: int
) -> None:
    door, caller = at_the_door
    began, closed = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000
                began.set()
                # The sender has nothing more to say for now; the refusal finds it waiting.
                await asyncio.Event().wait()
        finally:
            closed.set()

    call = asyncio.ensure_future(caller.client.upload_file(endless(), size_bytes=declared_bytes))
    if declared_bytes == 10:
        with pytest.raises(OutOfRange):
            await call
    else:
        await began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert closed.is_set()
    await eventually(lambda: door.service.uploads.under_way == 0)


async def test_a_caller_that_is_cancelled_while_the_source_breaks_stays_cancelled(
    at_the_door: tuple[Door, Caller],
) -> None:
    async def stubborn() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    call = asyncio.ensure_future(at_the_door[1].client.upload_file(stubborn()))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_what_is_far_too_large_for_one_message_is_too_large_and_not_worth_repeating(
    at_the_door: tuple[Door, Caller],
) -> None:
    client = at_the_door[1].client
    with pytest.raises(TooLarge) as text:
        await client.analyze_text("x" * 5_000_000)

    async def one_chunk() -> AsyncIterator[bytes]:
        yield b"x" * 5_000_000

    with pytest.raises(TooLarge) as chunk:
        await client.upload_file(one_chunk())
    assert not text.value.retryable
    assert not chunk.value.retryable


async def test_what_no_message_can_hold_is_refused_before_it_is_sent(
    at_the_door: tuple[Door, Caller], rig: Rig
) -> None:
    client = at_the_door[1].client
    wrong = [
        client.analyze_text("\udcff"),
        client.analyze_text("x", top_terms=-1),
        client.send_heartbeat("\ud800", sequence=1),
        client.send_heartbeat("pier-1", sequence=2**64),
        client.send_heartbeat("pier-1", sequence=-1),
        client.send_heartbeat("pier-1", sequence=1, sent_ms=10**20),
        client.upload_file(Path("x"), name="\udcff"),
        client.task("\udcff"),
        client.task("r1", wait_s=1e20),
    ]
    for call in wrong:
        with pytest.raises(InvalidInput):
            await call
    assert await backlogs(rig) == {}


async def test_nobody_there_is_told_as_unavailable(shared_server: Server) -> None:
    del shared_server
    async with Client(f"127.0.0.1:{free_port()}") as client:
        assert not await client.serving()
        with pytest.raises(Unavailable):
            await client.lanes(timeout_s=5)


async def test_a_server_that_says_nothing_is_told_as_unavailable(shared_server: Server) -> None:
    del shared_server

    # It is connected to, and that is all.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        async with Client(f"127.0.0.1:{mute.getsockname()[1]}") as client:
            assert not await client.serving(timeout_s=0.2)
            with pytest.raises(Unavailable):
                await client.lanes(timeout_s=0.2)
            with pytest.raises(Unavailable):
                await client.analyze_text("x", timeout_s=0.2)
