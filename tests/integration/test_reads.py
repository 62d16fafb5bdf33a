"""Reading entries: blocked or not, from groups that come and go; nothing is skipped."""

import asyncio

import pytest

from edgescale.broker.keys import GROUP
from edgescale.broker.model import Entry
from edgescale.errors import (
    BrokerUnavailable,
)
from edgescale.harness.chaos.fault_proxy import proxied
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, settlement

pytestmark = pytest.mark.one_partition


@pytest.mark.slots_stay("a read that waits begins anew where the slot has gone")
async def test_a_blocked_read_may_wait_longer_than_a_reply(server: Server) -> None:
    async with open_rig(server.url, redis_timeout_ms=300) as rig:
        await rig.broker.ensure_group(0, LANE)
        reader = rig.connection.for_blocking(600)
        begun_s = asyncio.get_running_loop().time()
        assert await rig.broker.read(reader, 0, LANE, "worker-1", count=1, block_ms=600) == []
        assert asyncio.get_running_loop().time() - begun_s >= 0.55
        await reader.close()


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_blocked_read_whose_server_fell_silent_ends(server: Server) -> None:
    async with proxied(server.url) as proxy, open_rig(proxy.url, redis_timeout_ms=300) as rig:
        await rig.broker.ensure_group(0, LANE)
        reader = rig.connection.for_blocking(200)
        await reader.command("PING")
        proxy.darken()
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await rig.broker.read(reader, 0, LANE, "worker-1", count=1, block_ms=200)
        assert 0.4 < asyncio.get_running_loop().time() - begun_s < 2
        await reader.close()


async def test_a_blocked_read_is_woken_by_a_submission(rig: Rig) -> None:
    await rig.broker.ensure_group(0, LANE)
    reading = await blocked_read(rig)
    await rig.submit("r1")
    [entry] = await asyncio.wait_for(reading, 2)
    assert entry.fields[b"request_id"] == b"r1"


async def blocked_read(rig: Rig) -> "asyncio.Task[list[Entry]]":
    """A read that waits at the server by now."""

    async def read() -> list[Entry]:
        reader = rig.connection.for_blocking(5_000)
        try:
            return await rig.broker.read(reader, 0, LANE, "worker-1", count=10, block_ms=5_000)
        finally:
            await reader.close()

    async def is_blocked() -> bool:
        return b"blocked_clients:1" in await rig.connection.command("INFO", "clients")

    reading = asyncio.create_task(read())
    await eventually(is_blocked)
    return reading


@pytest.mark.parametrize("loss", [["FLUSHALL"], ["DEL", "edgescale:{p0}:stream:text"]])
async def test_a_group_that_vanished_under_a_blocked_read_is_made_anew_and_skips_nothing(
    rig: Rig, loss: list[str]
) -> None:
    await rig.broker.ensure_group(0, LANE)
    reading = await blocked_read(rig)
    await rig.connection.command(*loss)
    await rig.submit("r1", "r2")
    assert await asyncio.wait_for(reading, 2) == [], "not an error, and not a wait to the end"
    entries = await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10)
    assert [entry.fields[b"request_id"] for entry in entries] == [b"r1", b"r2"]


async def test_a_group_that_was_never_there_is_made_and_skips_nothing(rig: Rig) -> None:
    await rig.submit("r1", "r2")
    assert await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10) == []
    assert len(await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10)) == 2


async def test_a_group_that_somebody_destroyed_delivers_everything_again(rig: Rig) -> None:
    [first, second] = await rig.submit_and_take("r1", "r2")
    await rig.broker.settle("worker-1", settlement(first))
    await rig.connection.command("XGROUP", "DESTROY", rig.keys.stream(0, LANE), GROUP)
    assert not await rig.broker.renew("worker-1", second)
    await rig.broker.read(rig.connection, 0, LANE, "worker-2", count=10)
    [again] = await rig.broker.read(rig.connection, 0, LANE, "worker-2", count=10)
    assert again.entry_id == second.entry_id, "what was settled is deleted and does not come again"


async def test_two_workers_that_make_the_same_group_do_not_disturb_each_other(server: Server) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        await one.submit("r1")
        await asyncio.gather(*(rig.broker.ensure_group(0, LANE) for rig in (one, other) for _ in range(5)))
        shares = await asyncio.gather(one.take(consumer="worker-1"), other.take(consumer="worker-2"))
        assert sum(len(share) for share in shares) == 1


async def test_a_read_takes_no_more_than_there_are_slots(rig: Rig) -> None:
    await rig.submit(*[f"r{number}" for number in range(10)])
    await rig.broker.ensure_group(0, LANE)
    sizes = [len(await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=4)) for _ in range(4)]
    assert sizes == [4, 4, 2, 0]
    assert [deliveries for _, _, deliveries in await rig.pending()] == [1] * 10
