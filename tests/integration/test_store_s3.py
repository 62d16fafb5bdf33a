import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import httpx
import pytest

from edgescale.errors import StoreUnavailable
from edgescale.uploads.store import BlobStore
from edgescale.uploads.writer import PART_BYTES, BlobWriter

FILE_ID = "0123456789abcdef0123456789abcdef"
CHUNK = os.urandom(65536)
# An S3 in a process of its own, so that it can be killed, and its threads and warnings stay out of this one.
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Bucket:
    """A bucket of a real S3 server, seen past the store."""

    def __init__(self, endpoint: str, server: asyncio.subprocess.Process) -> None:
        self._http = httpx.AsyncClient(base_url=endpoint, timeout=10)
        self._server = server

    async def create(self) -> None:
        (await self._http.put("/bucket")).raise_for_status()

    async def keys(self) -> list[str]:
        listing = (await self._http.get("/bucket")).text
        return re.findall("<Key>(.*?)</Key>", listing)

    async def unfinished_uploads(self) -> list[str]:
        listing = (await self._http.get("/bucket", params={"uploads": ""})).text
        return re.findall("<Key>(.*?)</Key>", listing)

    async def drop(self) -> None:
        for key in await self.keys():
            (await self._http.delete(f"/bucket/{key}")).raise_for_status()
        (await self._http.delete("/bucket")).raise_for_status()

    async def kill(self) -> None:
        if self._server.returncode is None:
            self._server.kill()
            await self._server.wait()

    def freeze(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    async def close(self) -> None:
        await self._http.aclose()
        await self.kill()


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bucket]:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    async with asyncio.timeout(60):
        port = int(await server.stdout.readline())
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(endpoint, server)
    try:
        await bucket.create()
        yield bucket
    finally:
        await bucket.close()


@pytest.fixture
def store(bucket: Bucket) -> BlobStore:
    del bucket
    return BlobStore.open("s3://bucket/some/prefix")


async def put(store: BlobStore, data: bytes) -> None:
    async with store.writer(FILE_ID) as blob:
        for start in range(0, len(data), 65536):
            await blob.write(data[start : start + 65536])


def gate(blob: BlobWriter, method: str) -> tuple[asyncio.Event, asyncio.Event]:
    """The first event says that a call to the store has been made, the second lets its answer through."""
    made, released = asyncio.Event(), asyncio.Event()
    sink = blob._sink
    real: Callable[..., Awaitable[object]] = getattr(sink, method)

    async def gated(*args: object) -> object:
        call = asyncio.ensure_future(real(*args))
        made.set()
        await released.wait()
        return await call

    class Gated:
        def __getattr__(self, name: str) -> object:
            return gated if name == method else getattr(sink, name)

        async def __aexit__(self, *args: object) -> None:
            await sink.__aexit__(*args)

    blob._sink = cast("Any", Gated())
    return made, released


async def test_files_come_back_as_they_were_written(store: BlobStore, bucket: Bucket) -> None:
    for size in (0, 10, PART_BYTES, 2 * PART_BYTES + 1):
        data = os.urandom(size)
        await put(store, data)
        pieces = [piece async for piece in store.read(FILE_ID)]
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= 1024**2
        assert await store.size(FILE_ID) == size
    assert await bucket.keys() == [f"some/prefix/files/{FILE_ID}"]


async def test_a_file_is_invisible_until_its_block_has_ended(store: BlobStore, bucket: Bucket) -> None:
    async with store.writer(FILE_ID) as blob:
        for _ in range(200):
            await blob.write(CHUNK)
        assert await store.size(FILE_ID) is None
        assert await bucket.unfinished_uploads() == [f"some/prefix/files/{FILE_ID}"]
    assert await store.size(FILE_ID) == 200 * len(CHUNK)
    assert await bucket.unfinished_uploads() == []


@pytest.mark.parametrize("chunks", [1, 80, 200])
async def test_an_upload_that_raises_leaves_nothing(store: BlobStore, bucket: Bucket, chunks: int) -> None:
    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(chunks):
                await blob.write(CHUNK)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await upload()

    assert await bucket.keys() == []
    assert await bucket.unfinished_uploads() == []


@pytest.mark.parametrize(("chunks", "call"), [(80, "write"), (200, "write"), (10, "close"), (200, "close")])
async def test_an_upload_that_is_cancelled_inside_a_call_leaves_nothing(
    store: BlobStore, bucket: Bucket, chunks: int, call: str
) -> None:
    gates: asyncio.Queue[tuple[asyncio.Event, asyncio.Event]] = asyncio.Queue()

    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(chunks - 1):
                await blob.write(CHUNK)
            gates.put_nowait(gate(blob, call))
            await blob.write(CHUNK)

    task = asyncio.create_task(upload())
    made, released = await gates.get()
    await made.wait()
    task.cancel()
    await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await bucket.keys() == []
    assert await bucket.unfinished_uploads() == []


async def test_a_deleted_file_is_gone_and_may_be_deleted_again(store: BlobStore, bucket: Bucket) -> None:
    await put(store, b"bytes")
    await store.delete(FILE_ID)
    await store.delete(FILE_ID)
    assert await bucket.keys() == []
    with pytest.raises(FileNotFoundError):
        await anext(store.read(FILE_ID))


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
async def test_writing_into_a_bucket_that_is_gone_is_store_unavailable(
    store: BlobStore, bucket: Bucket, size: int
) -> None:
    await bucket.drop()
    with pytest.raises(StoreUnavailable):
        await put(store, bytes(size))


async def test_a_store_that_is_away_is_reported_within_seconds(store: BlobStore, bucket: Bucket) -> None:
    await put(store, b"bytes")
    await bucket.kill()

    async with asyncio.timeout(40):
        for attempt in (store.size(FILE_ID), store.delete(FILE_ID), anext(store.read(FILE_ID)), put(store, CHUNK)):
            with pytest.raises(StoreUnavailable):
                await attempt


async def test_a_store_that_hangs_is_reported_after_its_timeout(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_READ_TIMEOUT", "500ms")
    store = BlobStore.open("s3://bucket")
    await put(store, b"bytes")
    bucket.freeze()

    async with asyncio.timeout(40):
        for attempt in (store.size(FILE_ID), put(store, CHUNK)):
            with pytest.raises(StoreUnavailable):
                await attempt


async def test_a_store_that_goes_away_in_the_middle_of_an_upload_is_reported(store: BlobStore, bucket: Bucket) -> None:
    async def upload() -> None:
        async with store.writer(FILE_ID) as blob:
            for _ in range(100):
                await blob.write(CHUNK)
            await bucket.kill()
            for _ in range(400):
                await blob.write(CHUNK)

    async with asyncio.timeout(60):
        with pytest.raises(StoreUnavailable):
            await upload()
