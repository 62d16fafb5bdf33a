"""The peer-bug museum: limits that surfaced as a defect, and payloads that filled the broker."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from edgescale.gateway.app import make_app
from edgescale.gateway.upstream import Ingestion
from tests.door import Door, backlogs, ingesting
from tests.servers import Server
from tests.support import Rig, settlement

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
CAP = 3
BURST = 20
ASYNC = {"Prefer": "respond-async"}


@asynccontextmanager
async def gateway(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway in front of the door; a defect shows as its answer, not as an exception."""
    settings = door.settings.model_copy(update={"ingestion_target": door.address})
    async with Ingestion.connect(settings) as ingestion:
        transport = httpx.ASGITransport(make_app(settings, ingestion, door.rig.chance), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client


async def send(client: httpx.AsyncClient, lane: str, number: int) -> httpx.Response:
    if lane == "heartbeat":
        return await client.post("/v1/heartbeats", json={"agent_id": f"pier-{number}", "sequence": 1, "status": "ok"})
    if lane == "text":
        return await client.post("/v1/text-analyses", json={"text": f"Ferry {number}."}, headers=ASYNC)
    return await client.post("/v1/files", content=f"Ferry {number}.".encode(), headers=ASYNC)


@pytest.mark.one_partition
@pytest.mark.parametrize("lane", ["heartbeat", "text", "file"])
async def test_a_burst_at_a_full_lane_is_429_all_the_way_and_never_500(
    server: Server, rig: Rig, tmp_path: Path, lane: str
) -> None:
    async with ingesting(server.url, tmp_path, lane_cap=CAP) as (door, _), gateway(door) as client:
        answers = await asyncio.gather(*(send(client, lane, number) for number in range(BURST)))
        assert Counter(answer.status_code for answer in answers) == {202: CAP, 429: BURST - CAP}
        for refusal in (answer for answer in answers if answer.status_code == 429):
            assert refusal.headers["content-type"] == "application/problem+json"
            assert int(refusal.headers["retry-after"]) > 0
            assert refusal.json()["reason"] == "LANE_FULL"
        assert await backlogs(rig) == {lane: CAP}

        [line] = [line for line in (await client.get("/v1/lanes")).json()["lanes"] if line["name"] == lane]
        assert (line["backlog"], line["cap"]) == (CAP, CAP), "whoever sends can see it coming"

        [entry, *_] = await rig.take(1, lane=lane)
        await rig.broker.settle("worker-1", settlement(entry))
        assert (await send(client, lane, BURST)).status_code == 202
        assert len(door.files()) == (CAP + 1 if lane == "file" else 0), "and nothing is kept of what was refused"


async def test_the_bytes_of_a_file_never_enter_redis(server: Server, rig: Rig, tmp_path: Path) -> None:
    content = hashlib.shake_128(b"seed").digest(2_000_000)
    async with ingesting(server.url, tmp_path) as (door, _), gateway(door) as client:
        answer = await client.post("/v1/files", content=content, headers=ASYNC)
        assert answer.status_code == 202
        [blob] = door.files()
        assert blob.stat().st_size == len(content)
    keys = await rig.connection.command("KEYS", "*")
    assert len(keys) == 2, "its entry and its record"
    assert sum([await rig.connection.command("MEMORY", "USAGE", key) for key in keys]) < 10_000
