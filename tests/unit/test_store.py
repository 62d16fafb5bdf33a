import asyncio
import hashlib
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from obstore.store import LocalStore

from edgescale.errors import ConfigError, InvalidInput, StoreUnavailable
from edgescale.uploads import store as store_module
from edgescale.uploads.store import BlobStore
from edgescale.uploads.writer import PART_BYTES, BlobWriter

FILE_ID = "0123456789abcdef0123456789abcdef"
CHUNK = os.urandom(65536)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore.open(tmp_path.as_uri())


def on_disk(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


async def fetch(store: BlobStore, file_id: str = FILE_ID) -> bytes:
    return b"".join([piece async for piece in store.read(file_id)])


async def put(store: BlobStore, data: bytes, *, step: int = 65536) -> None:
    async with store.writer(FILE_ID) as blob:
        for start in range(0, len(data), step):
            await blob.write(data[start : start + step])


def gate(blob: BlobWriter, method: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Make a call to the store stop before it begins; the first event says it was reached, the second lets it go on."""
    reached, released = asyncio.Event(), asyncio.Event()
    sink = blob._sink
    real: Callable[..., Awaitable[object]] = getattr(sink, method)

    async def gated(*args: object) -> object:
        reached.set()
        await released.wait()
        return await real(*args)

    class Gated:
        def __getattr__(self, name: str) -> object:
            return gated if name == method else getattr(sink, name)

        async def __aexit__(self, *args: object) -> None:
            await sink.__aexit__(*args)

    blob._sink = cast("Any", Gated())
    return reached, released


@pytest.mark.parametrize("size", [0, 1, 65536, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 12_345])
@pytest.mark.parametrize("step", [65536, 60_001])
async def test_a_file_comes_back_as_it_was_written(store: BlobStore, size: int, step: int) -> None:
    data = os.urandom(size)

    await put(store, data, step=step)

    assert hashlib.sha256(await fetch(store)).digest() == hashlib.sha256(data).digest()
    assert await store.size(FILE_ID) == size


async def test_a_file_is_read_in_pieces_of_a_bounded_size(store: BlobStore) -> None:
    await put(store, os.urandom(3_000_001))

    sizes = [len(piece) async for piece in store.read(FILE_ID)]

    assert len(sizes) > 2
    assert max(sizes) <= 1024**2


async def test_a_file_is_invisible_until_its_block_has_ended(store: BlobStore) -> None:
    async with store.writer(FILE_ID) as blob:
        for _ in range(200):
            await blob.write(CHUNK)
        assert await store.size(FILE_ID) is None
        with pytest.raises(FileNotFoundError):
            await fetch(store)
    assert await store.size(FILE_ID) == 200 * len(CHUNK)


@pytest.mark.parametrize("chunks", [0, 1, 79, 80, 81, 200])
async def test_an_upload_that_raises_leaves_nothing(store: BlobStore, tmp_path: Path, chunks: int) -> None:
    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(chunks):
                await blob.write(CHUNK)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await upload()

    assert on_disk(tmp_path) == []


async def test_an_upload_that_is_cancelled_between_writes_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    written = asyncio.Event()

    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(200):
                await blob.write(CHUNK)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(upload())
    await written.wait()
    assert on_disk(tmp_path) == [f"{FILE_ID}#1"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert on_disk(tmp_path) == []


@pytest.mark.parametrize("chunks", [1, 80, 200])
@pytest.mark.parametrize("call", ["write", "close"])
@pytest.mark.parametrize("cancellations", [1, 2])
async def test_an_upload_that_is_cancelled_inside_a_call_leaves_nothing(
    store: BlobStore, tmp_path: Path, chunks: int, call: str, cancellations: int
) -> None:
    gates: asyncio.Queue[tuple[asyncio.Event, asyncio.Event]] = asyncio.Queue()

    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(chunks - 1):
                await blob.write(CHUNK)
            gates.put_nowait(gate(blob, call))
            await blob.write(CHUNK)

    task = asyncio.create_task(upload())
    reached, released = await gates.get()
    await reached.wait()
    for _ in range(cancellations):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.aclose()

    assert on_disk(tmp_path) == []
    assert await store.size(FILE_ID) is None


async def test_an_upload_whose_process_dies_leaves_nothing_visible(store: BlobStore, tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from edgescale.uploads.store import BlobStore

async def main():
    async with BlobStore.open({tmp_path.as_uri()!r}).writer({FILE_ID!r}) as blob:
        for _ in range(200):
            await blob.write(bytes(65536))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    assert await child.wait() == -9

    assert on_disk(tmp_path) == [f"{FILE_ID}#1"]
    assert await store.size(FILE_ID) is None
    with pytest.raises(FileNotFoundError):
        await fetch(store)
    await put(store, b"again")
    assert await fetch(store) == b"again"


async def test_a_write_that_fails_is_store_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    store = BlobStore.open(tmp_path.as_uri())
    (tmp_path / "files").write_bytes(b"in the way of a directory")

    for chunks in (1, 200):
        with pytest.raises(StoreUnavailable):
            await put(store, CHUNK * chunks)

    assert on_disk(tmp_path) == ["files"]


async def test_a_commit_that_fails_leaves_nothing(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError("disk error")

    monkeypatch.setattr("edgescale.uploads.writer.os.fsync", fail)

    with pytest.raises(StoreUnavailable):
        await put(store, CHUNK * 100)

    assert on_disk(tmp_path) == []


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
async def test_a_file_is_on_the_disk_before_its_block_ends(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    flushed: set[int] = set()
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.add(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr("edgescale.uploads.writer.os.fsync", fsync)
    await put(store, bytes(size))

    blob = tmp_path / "files" / FILE_ID
    assert {blob.stat().st_ino, blob.parent.stat().st_ino} <= flushed


async def test_small_writes_take_no_more_memory_than_their_bytes(store: BlobStore) -> None:
    data = os.urandom(1024**2)
    tracemalloc.start()
    try:
        await put(store, data, step=8)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * len(data)


async def test_the_memory_of_an_upload_does_not_grow_with_the_file(store: BlobStore) -> None:
    tracemalloc.start()
    try:
        async with store.writer(FILE_ID) as blob:
            for _ in range(1024):
                await blob.write(bytes(65536))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 20 * 1024**2


@pytest.mark.parametrize("file_id", ["", "../etc/passwd", FILE_ID.upper(), FILE_ID[:-1], FILE_ID + "0", FILE_ID + "\n"])
async def test_only_file_ids_are_keys(store: BlobStore, tmp_path: Path, file_id: str) -> None:
    async def write() -> None:
        async with store.writer(file_id) as blob:
            await blob.write(b"x")

    for attempt in (fetch(store, file_id), store.size(file_id), store.delete(file_id), write()):
        with pytest.raises(InvalidInput):
            await attempt
    assert on_disk(tmp_path) == []


async def test_a_missing_file_has_no_size_and_may_be_deleted(store: BlobStore) -> None:
    assert await store.size(FILE_ID) is None
    await store.delete(FILE_ID)
    with pytest.raises(FileNotFoundError):
        await fetch(store)


async def test_a_deleted_file_is_gone(store: BlobStore, tmp_path: Path) -> None:
    await put(store, b"bytes")
    await store.delete(FILE_ID)
    assert await store.size(FILE_ID) is None
    assert on_disk(tmp_path) == []


async def test_a_read_that_stands_still_is_store_unavailable(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "STALL_S", 0.2)
    await put(store, bytes(3_000_000))
    pieces = store.read(FILE_ID)
    await anext(pieces)

    os.truncate(tmp_path / "files" / FILE_ID, 300_000)

    with pytest.raises(StoreUnavailable):
        async for _ in pieces:
            pass


def test_the_store_works_on_uvloop(tmp_path: Path) -> None:
    async def round_trip() -> bytes:
        store = BlobStore.open(tmp_path.as_uri())
        await put(store, CHUNK * 100)
        return await fetch(store)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(round_trip()) == CHUNK * 100


@pytest.mark.parametrize("url", ["s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix"])
def test_every_kind_of_remote_store_can_be_opened(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    BlobStore.open(url)


def test_a_directory_is_made_when_it_is_missing(tmp_path: Path) -> None:
    BlobStore.open((tmp_path / "with space" / "blobs").as_uri())
    assert (tmp_path / "with space" / "blobs").is_dir()


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "/var/lib/blobs", "ftp://host/dir", "file://relative/dir", "s3://", "memory:///", "http://[x/y"],
)
def test_a_url_that_cannot_work_is_refused_with_what_would_be_right(url: str) -> None:
    with pytest.raises(ConfigError, match="must be file:///directory, s3://bucket/prefix"):
        BlobStore.open(url)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"")
    with pytest.raises(ConfigError, match="blob_url"):
        BlobStore.open((tmp_path / "blobs").as_uri())


def test_an_unencrypted_endpoint_must_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    with pytest.raises(ConfigError, match="AWS_ALLOW_HTTP"):
        BlobStore.open("s3://bucket")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    BlobStore.open("s3://bucket")


def test_the_environment_has_the_last_word_on_the_http_client() -> None:
    options = store_module._client_options(
        "AWS_", {"AWS_ALLOW_HTTP": "true", "AWS_TIMEOUT": "5s", "GOOGLE_TIMEOUT": "7s"}
    )
    assert options == {"timeout": "5s", "read_timeout": "60s", "allow_http": "true"}


async def test_broken_uploads_do_not_disturb_others(tmp_path: Path) -> None:
    store = BlobStore(LocalStore(prefix=tmp_path))
    ids = [f"{number:032x}" for number in range(8)]

    async def chunks(*, cut: bool) -> AsyncIterator[bytes]:
        for _ in range(100):
            yield CHUNK
        if cut:
            raise ConnectionResetError

    async def upload(number: int) -> None:
        async with store.writer(ids[number]) as blob:
            async for chunk in chunks(cut=number % 2 == 1):
                await blob.write(chunk)

    await asyncio.gather(*(upload(number) for number in range(8)), return_exceptions=True)

    assert on_disk(tmp_path) == ids[::2]
