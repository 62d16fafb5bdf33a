"""Is the server fit to start on, and how full are the lanes."""

import asyncio

import pytest

from edgescale.broker.inspect import LaneInspector, check_server
from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import Server
from tests.support import Rig, open_rig, settlement


def inspector(rig: Rig) -> LaneInspector:
    return LaneInspector(rig.connection, rig.keys, rig.settings)


async def test_a_sound_server_is_accepted(rig: Rig) -> None:
    await check_server(rig.connection, rig.settings)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru", "allkeys-random"])
async def test_a_server_that_evicts_is_refused_with_the_remedy(private_server: EmbeddedValkey, policy: str) -> None:
    async with open_rig(private_server.url) as rig:
        await rig.connection.command("CONFIG", "SET", "maxmemory-policy", policy)
        with pytest.raises(ConfigError, match=rf"maxmemory-policy is {policy}.*EDGESCALE_ALLOW_EVICTION"):
            await check_server(rig.connection, rig.settings)
        await check_server(rig.connection, Settings(allow_eviction=True))


async def test_a_server_that_is_too_old_is_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = b"# Server\r\nredis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n"
        while await reader.read(4096):
            writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with open_rig(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as rig:
        with pytest.raises(ConfigError, match=r"Redis 6\.2\.14; 7\.0 or later"):
            await check_server(rig.connection, rig.settings)
    listener.close()


async def test_a_server_that_is_away_is_no_matter_of_settings(private_server: EmbeddedValkey) -> None:
    await private_server.stop()
    async with open_rig(private_server.url) as rig:
        with pytest.raises(BrokerUnavailable):
            await check_server(rig.connection, rig.settings)


async def test_a_lane_that_nobody_used_is_empty(rig: Rig) -> None:
    [lane] = await inspector(rig).lanes(["text"])
    assert (lane.name, lane.backlog, lane.running, lane.cap) == ("text", 0, 0, 10_000)
    assert lane.oldest_age_ms is None
    assert list(lane.consumers) == []


async def test_lanes_are_told_by_name(rig: Rig) -> None:
    assert [lane.name for lane in await inspector(rig).lanes(["text", "file", "heartbeat"])] == [
        "file",
        "heartbeat",
        "text",
    ]


@pytest.mark.one_partition
async def test_a_lane_counts_what_waits_and_what_runs(rig: Rig) -> None:
    await rig.submit(*[f"r{number}" for number in range(10)])
    entries = await rig.take(3, consumer="worker-1")
    await rig.take(2, consumer="worker-2")
    await rig.broker.settle("worker-1", settlement(entries[0]))
    [lane] = await inspector(rig).lanes(["text"])
    assert (lane.backlog, lane.running) == (9, 4)
    assert [(consumer.name, consumer.running) for consumer in lane.consumers] == [("worker-1", 2), ("worker-2", 2)]
    assert all(0 <= consumer.idle_ms < 5_000 for consumer in lane.consumers)
    assert lane.oldest_age_ms is not None
    assert 0 <= lane.oldest_age_ms < 5_000


async def test_the_age_of_a_lane_is_that_of_its_oldest_entry(rig: Rig) -> None:
    now_ms = await rig.now_ms()
    for age_s in (100, 50):
        entry_id = f"{now_ms - age_s * 1_000}-0"
        await rig.connection.command("XADD", rig.keys.stream(0, "text"), entry_id, "request_id", "r1")
    [lane] = await inspector(rig).lanes(["text"])
    assert lane.oldest_age_ms is not None
    assert 99_000 <= lane.oldest_age_ms <= 105_000


async def test_a_lane_is_the_sum_of_its_partitions(server: Server) -> None:
    async with open_rig(server.url, partitions=3, lane_caps={"text": 90}) as rig:
        names = [f"r{number}" for number in range(30)]
        await rig.submit(*names)
        taken = await rig.take(2, consumer="worker-1")
        assert len(taken) == 6
        [lane] = await inspector(rig).lanes(["text"])
        assert (lane.backlog, lane.running, lane.cap) == (30, 6, 90)
        assert [(consumer.name, consumer.running) for consumer in lane.consumers] == [("worker-1", 6)]
