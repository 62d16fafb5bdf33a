"""An ingestion process dies between two replays of many: the next one goes on, and no task is done twice."""

import asyncio
from pathlib import Path

import pytest

from edgescale.client import Client
from edgescale.errors import Unavailable
from edgescale.local.child import LOOPBACK, free_port
from tests.parts import Deed, said, working
from tests.processes import service
from tests.servers import Server
from tests.support import Rig, eventually, open_rig, settlement

LETTERS = 24


async def buried(rig: Rig) -> list[str]:
    """Tasks that were given up."""
    request_ids = [f"r{number}" for number in range(LETTERS)]
    for entry in await rig.submit_and_take(*request_ids):
        await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="HANDLER_ERROR"))
    return request_ids


async def replayed(client: Client) -> list[str]:
    return [letter.request_id async for letter in client.dead_letters.replay_all(everything=True)]


async def at_least(rig: Rig, count: int) -> bool:
    return await rig.backlog() >= count


@pytest.mark.one_partition
@pytest.mark.parametrize("shared_server", ["valkey"], indirect=True)
async def test_replays_that_a_dead_process_left_are_done_by_the_next_and_none_twice(
    server: Server, tmp_path: Path
) -> None:
    bind = f"{LOOPBACK}:{free_port()}"
    settings = {"redis_url": server.url, "grpc_bind": bind, "data_dir": tmp_path, "replays_per_second": 8}
    async with open_rig(server.url) as rig:
        request_ids = await buried(rig)
        async with service("ingestion", **settings) as first, Client(bind) as client:
            asked = asyncio.create_task(replayed(client))
            # The pace leaves time to kill it in the midst.
            await eventually(lambda: at_least(rig, LETTERS // 4))
            first.kill()
            with pytest.raises(Unavailable):
                await asked
        half = await rig.backlog()
        assert 0 < half < LETTERS
        assert len(await rig.dead_letters()) == LETTERS - half
        async with service("ingestion", **settings), Client(bind) as client:
            again = await replayed(client)
        assert len(again) == LETTERS - half
        assert await rig.dead_letters() == []
        deed = Deed()
        async with working(server.url, deed):
            await eventually(lambda: len(deed.ended) == LETTERS, 30)
            records = [await rig.broker.lookup(request_id) for request_id in request_ids]
        assert sorted(context.request_id for context in deed.begun) == sorted(request_ids)
        assert [said(record).split()[0] for record in records if record is not None] == request_ids
