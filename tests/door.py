"""Ingestion put together inside a test's own loop, and what a caller sees of its refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edgescale.broker.inspect import LaneInspector
from edgescale.calls import SentStatus
from edgescale.client import Client
from edgescale.ingestion.intake import Intake
from edgescale.ingestion.server import IngestionServer
from edgescale.ingestion.service import IngestionService
from edgescale.status import DETAILS_KEY, DOMAIN
from edgescale.uploads.store import BlobStore
from edgescale.v1.ingestion_service_pb2_grpc import IngestionServiceStub
from tests.support import Rig

if TYPE_CHECKING:
    from edgescale.config import Settings

LANES = ("heartbeat", "text", "file")


@dataclass
class Refusal:
    """A status as it came over the wire."""

    code: str
    message: str
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    retry_ms: int | None = None


async def refusal_of(call: Awaitable[object]) -> Refusal:
    """How a call was refused; fails when it was not."""
    sent = SentStatus(call) if isinstance(call, aio.Call) else None
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return read_refusal(await sent.of(caught.value) if sent else caught.value)


def read_refusal(error: aio.AioRpcError) -> Refusal:
    refusal = Refusal(error.code().name, error.details() or "")
    trailers = dict(error.trailing_metadata() or ())
    encoded = trailers.get(DETAILS_KEY, b"")
    assert isinstance(encoded, bytes)
    for detail in status_pb2.Status.FromString(encoded).details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            assert info.domain == DOMAIN
            refusal.reason, refusal.facts = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            refusal.fields = [violation.field for violation in bad.field_violations]
            assert all(violation.description for violation in bad.field_violations)
        elif detail.Unpack(retry):
            refusal.retry_ms = retry.retry_delay.ToMilliseconds()
    return refusal


class Door:
    """An ingestion server that runs in this loop.

    Attributes:
        settings: of the server.
        address: once it serves.
        stop: ends it.
        running: its run.
        blobs: where its files are.
    """

    def __init__(self, url: str, folder: Path, store: BlobStore | None = None, **changes: Any) -> None:
        self.blobs = folder / "blobs"
        short = {"grpc_bind": "127.0.0.1:0", "drain_grace_ms": 5_000, "inbox_recheck_ms": 500}
        self.rig = Rig(url, **(short | changes))
        self.settings: Settings = self.rig.settings
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.address = ""
        self.inbox = self.rig.inbox()
        self.store = store or BlobStore.open(self.blobs.as_uri())
        intake = Intake(self.rig.broker, self.inbox, self.store, self.settings, self.rig.chance)
        inspector = LaneInspector(self.rig.connection, self.rig.keys, self.settings)
        self.service = IngestionService(
            intake, self.rig.agents, inspector, self.rig.canceller, self.rig.letters, self.settings
        )
        server = IngestionServer(self.service, self.inbox, self.rig.connection, self.settings, self.rig.chance)
        self.running = asyncio.create_task(server.run(self.stop, on_ready=self._on_ready))

    def _on_ready(self, address: str) -> None:
        self.address = address
        self.ready.set()

    async def close(self) -> None:
        self.stop.set()
        try:
            await asyncio.wait_for(self.running, 10)
        finally:
            await self.store.aclose()
            await self.rig.connection.close()

    def files(self) -> list[Path]:
        """Everything in the blob store, parts of files included."""
        return [path for path in self.blobs.rglob("*") if path.is_file()]


class Caller:
    """Raw stubs of one channel, and the client on top of another."""

    def __init__(self, address: str) -> None:
        self.channel = aio.insecure_channel(address)
        self.stub = IngestionServiceStub(self.channel)
        # The stubs of the health service leave its methods out.
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)
        self.client = Client(address)

    async def serving(self) -> bool:
        """What the health service says of the whole process."""
        answer = await self.health.Check(health_pb2.HealthCheckRequest(), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        await self.channel.close()
        await self.client.close()


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[Caller]:
    """A caller of a server at an address."""
    caller = Caller(address)
    try:
        yield caller
    finally:
        await caller.close()


@asynccontextmanager
async def ingesting(
    url: str, folder: Path, store: BlobStore | None = None, **changes: Any
) -> AsyncIterator[tuple[Door, Caller]]:
    """A server that serves, and a caller.

    Args:
        url: of Redis.
        folder: where files are kept.
        store: in place of the one in the folder.
        changes: of the settings.
    """
    door = Door(url, folder, store, **changes)
    try:
        await asyncio.wait_for(door.ready.wait(), 10)
        async with calling(door.address) as caller:
            yield door, caller
    finally:
        await door.close()


async def backlogs(rig: Rig) -> dict[str, int]:
    """Entries of each built-in lane that has any."""
    counts = {lane: await rig.backlog(lane) for lane in LANES}
    return {lane: count for lane, count in counts.items() if count}
