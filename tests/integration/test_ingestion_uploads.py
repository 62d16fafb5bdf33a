"""Uploads over real gRPC: what is kept and what is not, and how far a sender gets ahead of a slow store."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from edgescale.compose import consumer_name
from edgescale.errors import StoreUnavailable
from edgescale.handlers.file import FileHandler
from edgescale.handlers.registry import Registry
from edgescale.ingestion import service as service_module
from edgescale.uploads.store import BlobStore
from edgescale.v1 import task_pb2
from edgescale.v1.file_pb2 import FileMetadata
from edgescale.v1.ingestion_service_pb2 import UploadFileRequest, UploadFileResponse, UploadFileStart
from edgescale.worker.share import Share
from edgescale.worker.worker import Worker
from tests.door import Caller, Door, backlogs, ingesting, refusal_of
from tests.parts import LEASE_MS, SWEEP_MS
from tests.servers import Server, own_server
from tests.support import Rig, eventually, open_rig

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
CHUNK_BYTES = 65_536
UploadCall = aio.StreamUnaryCall[UploadFileRequest, UploadFileResponse]


class GatedSink:
    """Takes bytes in while the gate is open."""

    def __init__(self, sink: Any, store: "GatedStore") -> None:
        self._sink = sink
        self._store = store

    async def write(self, data: bytes) -> None:
        self._store.offered_bytes += len(data)
        await self._store.gate.wait()
        await self._sink.write(data)


class GatedStore(BlobStore):
    """A store that can be held up, and that can refuse to delete."""

    gate: asyncio.Event
    offered_bytes: int
    keeps_all: bool

    @classmethod
    def closed(cls, folder: Path) -> "GatedStore":
        store = cls.open((folder / "blobs").as_uri())
        assert isinstance(store, cls)
        store.gate, store.offered_bytes, store.keeps_all = asyncio.Event(), 0, False
        return store

    @asynccontextmanager
    async def writer(self, file_id: str) -> AsyncIterator[Any]:
        async with super().writer(file_id) as sink:
            yield GatedSink(sink, self)

    async def delete(self, file_id: str) -> None:
        if self.keeps_all:
            raise StoreUnavailable("the blob store did not answer, or refused")
        await super().delete(file_id)


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    async with ingesting(server.url, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def reporting(door: Door) -> AsyncIterator[None]:
    """A worker on the file lane that reads the door's blobs."""
    changes: dict[str, Any] = {"lease_ms": LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": 50}
    async with open_rig(door.settings.redis_url, **changes) as rig:
        worker = Worker(
            rig.connection,
            rig.keys,
            rig.broker,
            Registry([FileHandler(door.store)]),
            rig.settings,
            rig.chance,
            consumer=consumer_name(rig.chance),
            lanes={"file": 4},
            share=Share(4, {"file": 1}),
        )
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop()
            await asyncio.wait_for(running, 10)


def start(request_id: str = "", *, respond_async: bool = True, **metadata: Any) -> UploadFileRequest:
    opening = UploadFileStart(metadata=FileMetadata(**metadata), request_id=request_id, respond_async=respond_async)
    return UploadFileRequest(start=opening)


async def file_of(opening: UploadFileRequest, content: bytes) -> AsyncIterator[UploadFileRequest]:
    """The messages of an upload."""
    yield opening
    for at in range(0, len(content), CHUNK_BYTES):
        yield UploadFileRequest(chunk=content[at : at + CHUNK_BYTES])


def upload(caller: Caller, request_id: str, content: bytes, **opening: Any) -> UploadCall:
    """The call, which has begun."""
    call: UploadCall = caller.stub.UploadFile(file_of(start(request_id, **opening), content))
    return call


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 6_000_000])
async def test_a_file_is_stored_as_it_was_sent_and_reported(at_the_door: tuple[Door, Caller], size_bytes: int) -> None:
    door, caller = at_the_door
    content = hashlib.shake_128(b"seed").digest(size_bytes)
    sha256 = hashlib.sha256(content).hexdigest()
    async with reporting(door):
        declared = {"name": "harbour.bin", "size_bytes": size_bytes, "sha256": sha256.upper()}
        task = (await upload(caller, "r1", content, respond_async=False, **declared)).task
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED
    report = task.result.file_report
    assert (report.sha256, report.size_bytes, report.display_name) == (sha256, size_bytes, "harbour.bin")
    assert report.file_id == task.file_id
    [blob] = door.files()
    assert (blob.name, blob.read_bytes()) == (task.file_id, content)


async def test_a_file_that_is_sent_again_under_its_request_id_is_kept_once(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    first = await upload(caller, "r1", b"content", name="a.txt")
    [kept] = door.files()
    again = await upload(caller, "r1", b"content", name="a.txt")
    assert again.task.file_id == first.task.file_id == kept.name
    assert door.files() == [kept]
    async with reporting(door):
        reported = await upload(caller, "r1", b"content", name="a.txt", respond_async=False)
        assert reported.task.state == task_pb2.TASK_STATE_SUCCEEDED
        assert await upload(caller, "r1", b"content", name="a.txt", respond_async=False) == reported
    assert door.files() == [kept]


async def test_senders_of_one_file_at_once_get_the_same_answer_and_one_copy_is_kept(
    at_the_door: tuple[Door, Caller],
) -> None:
    door, caller = at_the_door
    async with reporting(door):
        calls = [upload(caller, "r1", b"content" * 50_000, respond_async=False) for _ in range(5)]
        answers = await asyncio.gather(*calls)
    assert all(answer == answers[0] for answer in answers)
    assert [path.name for path in door.files()] == [answers[0].task.file_id]


async def test_a_lost_task_that_is_submitted_again_refers_to_the_copy_that_was_kept(
    server: Server, tmp_path: Path
) -> None:
    async with ingesting(server.url, tmp_path, inbox_recheck_ms=100) as (door, caller):
        kept = await upload(caller, "r1", b"content")
        await door.rig.connection.command("CONFIG", "RESETSTAT")
        # Its own copy is not kept; and it alone still waits when Redis loses the task.
        again = upload(caller, "r1", b"content", respond_async=False)
        await eventually(lambda: door.rig.calls("evalsha"))
        await eventually(lambda: len(door.files()) == 1)
        await door.rig.connection.command("FLUSHALL")
        await eventually(lambda: door.rig.backlog("file"))
        async with reporting(door):
            answer = await again
        assert answer.task.state == task_pb2.TASK_STATE_SUCCEEDED
        assert [path.name for path in door.files()] == [answer.task.file_id] == [kept.task.file_id]


@pytest.mark.one_partition
async def test_a_file_for_which_the_lane_has_no_room_in_the_end_is_not_kept(server: Server, tmp_path: Path) -> None:
    store = GatedStore.closed(tmp_path)
    async with ingesting(server.url, tmp_path, store, lane_cap=1) as (door, caller):
        late = upload(caller, "late", b"late")
        await eventually(lambda: store.offered_bytes)
        await door.rig.submit("other", lane="file")
        store.gate.set()
        refusal = await refusal_of(late)
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LANE_FULL")
        assert door.files() == []


async def test_a_refusal_reaches_the_sender_even_if_its_bytes_cannot_be_removed(server: Server, tmp_path: Path) -> None:
    store = GatedStore.closed(tmp_path)
    store.gate.set()
    async with ingesting(server.url, tmp_path, store) as (_, caller):
        first = await upload(caller, "r1", b"one")
        store.keeps_all = True
        refusal = await refusal_of(upload(caller, "r1", b"two"))
        assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_CONFLICT")
        assert (await upload(caller, "r1", b"one")).task == first.task


async def test_an_upload_that_its_sender_gives_up_leaves_nothing(at_the_door: tuple[Door, Caller], rig: Rig) -> None:
    door, caller = at_the_door
    silence = asyncio.Event()

    async def unfinished() -> AsyncIterator[UploadFileRequest]:
        async for message in file_of(start("r1"), b"x" * 6_000_000):
            yield message
        await silence.wait()

    call = caller.stub.UploadFile(unfinished())
    await eventually(lambda: door.files() or door.service.uploads.under_way)
    await eventually(door.files)
    call.cancel()
    await eventually(lambda: door.service.uploads.under_way == 0)
    await eventually(lambda: not door.files())
    assert await backlogs(rig) == {}


async def test_a_sender_who_falls_silent_loses_its_place(
    at_the_door: tuple[Door, Caller], rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, caller = at_the_door
    monkeypatch.setattr(service_module, "UPLOAD_IDLE_S", 0.2)

    async def silent() -> AsyncIterator[UploadFileRequest]:
        yield start("r1")
        yield UploadFileRequest(chunk=b"x")
        await asyncio.Event().wait()

    refusal = await refusal_of(caller.stub.UploadFile(silent()))
    assert (refusal.code, refusal.reason) == ("ABORTED", "UPLOAD_STALLED")
    assert door.service.uploads.under_way == 0
    assert door.files() == []
    assert await backlogs(rig) == {}


async def test_a_store_that_is_slow_slows_its_sender_down(server: Server, tmp_path: Path) -> None:
    store, sent_bytes = GatedStore.closed(tmp_path), 0

    async def long_file() -> AsyncIterator[UploadFileRequest]:
        nonlocal sent_bytes
        async for message in file_of(start("r1"), b"x" * 20_000_000):
            yield message
            sent_bytes += len(message.chunk)

    async with ingesting(server.url, tmp_path, store) as (door, caller):
        call = asyncio.ensure_future(caller.stub.UploadFile(long_file()))
        await eventually(lambda: store.offered_bytes)
        stalled_at = await stable(lambda: sent_bytes)
        # The windows of HTTP/2, once at either end; the file has 20 MB.
        assert stalled_at < 500_000
        store.gate.set()
        await call
        assert [path.stat().st_size for path in door.files()] == [20_000_000]


async def stable(figure: Any, quiet_s: float = 0.3) -> int:
    """The figure once it has not changed for a while."""
    loop = asyncio.get_running_loop()
    last, since = figure(), loop.time()
    while loop.time() - since < quiet_s:
        await asyncio.sleep(0.02)
        if figure() != last:
            last, since = figure(), loop.time()
    return int(last)


async def test_a_file_whose_acceptance_is_unknown_is_kept_and_may_be_sent_again(
    shared_server: Server, tmp_path: Path
) -> None:
    del shared_server
    valkey, store = own_server("valkey", tmp_path / "server"), GatedStore.closed(tmp_path)
    await valkey.start()
    try:
        changes = {"redis_timeout_ms": 300, "redis_patience_ms": 300}
        async with ingesting(valkey.url, tmp_path, store, **changes) as (door, caller):
            call = upload(caller, "r1", b"content")
            await eventually(lambda: store.offered_bytes)
            await valkey.kill()
            store.gate.set()
            refusal = await refusal_of(call)
            assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "BROKER_UNAVAILABLE")
            assert len(door.files()) == 1
            await valkey.start()
            again = await eventually(lambda: upload(caller, "r1", b"content"))
            assert again.task.file_id in [path.name for path in door.files()]
    finally:
        await valkey.stop()
