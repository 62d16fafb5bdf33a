"""A slot that holds a partition migrates while tasks flow: readers and open waits go on where it is now."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from edgescale.broker.model import Entry
from edgescale.errors import BrokerUnavailable
from tests.clusters import Cluster, Migration, clustered, migrate_at_once
from tests.load import Load, name_in, under_load
from tests.parts import Deed, answer_with_attempt, said, working
from tests.servers import own_names
from tests.support import LANE, Rig, eventually, open_rig, serving, submission
from tests.waiting import NEVER_MS

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMPATIENT: dict[str, Any] = {"redis_timeout_ms": 1_000, "redis_patience_ms": 500, "lease_ms": 2_000}
# No slow timer: only a subscription where the slot is now can tell of a result.
UNTIMED = IMPATIENT | {"inbox_recheck_ms": NEVER_MS}
KEY_BY_KEY, AT_ONCE = "key by key", "at once"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=own_names())
async def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster for all these tests; after each of them, all partitions are somewhere, with all nodes up."""
    async with clustered(tmp_path_factory.mktemp("migration"), request.param) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(whole: Cluster) -> Cluster:
    """Without data."""
    async with open_rig(whole.url) as rig:
        await rig.connection.command("FLUSHALL")
    return whole


@pytest.fixture(params=[KEY_BY_KEY, AT_ONCE])
def way(request: pytest.FixtureRequest, whole: Cluster) -> str:
    """How a slot migrates; in one step it does in Valkey 9 only."""
    if request.param == AT_ONCE and not whole.migrates_at_once:
        pytest.skip("this server migrates slots key by key only")
    return str(request.param)


async def migrate(cluster: Cluster, way: str) -> None:
    """Move the second partition to the next primary."""
    if way == AT_ONCE:
        assert await migrate_at_once(cluster, 1, await cluster.next_to(1))
        return
    migration = await Migration.of(cluster, 1)
    await migration.begin()
    moved = 1
    while moved:
        # Tasks come and go meanwhile.
        moved = await migration.move_keys(most=3)
        await asyncio.sleep(0.01)
    await migration.end()


async def test_a_slot_migrates_under_load_and_every_task_is_answered_once(cluster: Cluster, way: str) -> None:
    async with (
        open_rig(cluster.url, **IMPATIENT) as rig,
        serving(rig.inbox()) as inbox,
        working(cluster.url, answer_with_attempt, **IMPATIENT),
        working(cluster.url, answer_with_attempt, **IMPATIENT),
        under_load(rig, inbox) as load,
    ):
        for _ in range(2):
            before = await cluster.owner(1)
            await migrate(cluster, way)
            assert await cluster.owner(1) is not before
            await load.goes_on()
        stored = {request_id: await rig.broker.lookup(request_id) for request_id in [*load.answers]}
        assert stored == {request_id: load.answers[request_id][0] for request_id in stored}
    assert load.all_were_answered_once()


async def test_an_open_wait_hears_of_its_result_at_the_new_node(cluster: Cluster, way: str) -> None:
    deed = Deed(held=True)
    async with (
        open_rig(cluster.url, **UNTIMED) as rig,
        serving(rig.inbox()) as inbox,
        working(cluster.url, deed, **UNTIMED),
    ):
        request_id = name_in(rig.keys, 1)
        answer = asyncio.create_task(Load(rig, inbox).ask(request_id))
        await eventually(lambda: deed.running == 1)
        await migrate(cluster, way)
        await eventually(lambda: subscribed_at_owner(cluster, rig, inbox.name))
        deed.gate.set()
        assert said(await asyncio.wait_for(answer, 10)) == f"{request_id} by attempt 1"


async def subscribed_at_owner(cluster: Cluster, rig: Rig, inbox: str) -> bool:
    channels = await (await cluster.owner(1)).command("PUBSUB", "SHARDCHANNELS")
    return rig.keys.channel(1, inbox).encode() in channels


async def test_a_blocked_read_goes_on_at_the_new_node(cluster: Cluster, way: str) -> None:
    async with open_rig(cluster.url, **IMPATIENT) as rig:
        await rig.broker.ensure_group(1, LANE)
        reader = rig.connection.for_blocking(60_000)

        async def read() -> list[Entry]:
            while not (entries := await rig.broker.read(reader, 1, LANE, "worker-1", count=1, block_ms=60_000)):
                pass
            return entries

        reading = asyncio.create_task(read())
        await eventually(lambda: blocked(cluster))
        await migrate(cluster, way)
        await rig.submit(name_in(rig.keys, 1))
        # Far sooner than the block ends that began at the old node.
        [entry] = await asyncio.wait_for(reading, 10)
        assert entry.fields[b"request_id"].decode() == name_in(rig.keys, 1)
        await reader.close()


async def test_a_read_that_waits_as_its_slot_goes_does_not_wait_anew(cluster: Cluster, way: str) -> None:
    async with open_rig(cluster.url, **IMPATIENT) as rig:
        await rig.broker.ensure_group(1, LANE)
        reader = rig.connection.for_blocking(60_000)
        reading = asyncio.create_task(rig.broker.read(reader, 1, LANE, "worker-1", count=1, block_ms=60_000))
        await eventually(lambda: blocked(cluster))
        await migrate(cluster, way)
        # Else its caller would give up while it still waits.
        assert await asyncio.wait_for(reading, 10) == []
        await reader.close()


async def blocked(cluster: Cluster) -> bool:
    return b"blocked_clients:1" in await (await cluster.owner(1)).command("INFO", "clients")


async def test_while_keys_move_one_by_one_their_partition_waits_and_the_others_go_on(cluster: Cluster) -> None:
    async with open_rig(cluster.url, **IMPATIENT) as rig, serving(rig.inbox()) as inbox:
        moving = [f"moving{number}" for number in range(300) if rig.keys.partition_of(f"moving{number}") == 1]
        await rig.submit(*moving)
        # More slots than tasks are moving: what is done of those cannot be stored, and keeps its slot until it can.
        async with working(cluster.url, answer_with_attempt, slots=len(moving) + 4, **IMPATIENT):
            migration = await Migration.of(cluster, 1)
            await migration.begin()
            await migration.move_keys(most=len(moving) // 2)
            # A task that is not there yet may be neither here nor there.
            with pytest.raises(BrokerUnavailable):
                await rig.broker.submit(submission(name_in(rig.keys, 1, "new")))
            for partition in (0, 2):
                await Load(rig, inbox).ask(name_in(rig.keys, partition))
            await migration.end()
            for request_id in (*moving, name_in(rig.keys, 1, "new")):
                assert said(await Load(rig, inbox).ask(request_id)).startswith(request_id)
