"""What is told of all partitions, gathered from the nodes of a cluster; and what may be started on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from edgescale.broker.address import Address
from edgescale.broker.connection import Connection, Subscription
from edgescale.broker.inspect import LaneInspector, check_server
from edgescale.broker.keys import GROUP, Name
from edgescale.chance import SystemChance
from edgescale.errors import ConfigError, LaneFull
from edgescale.worker.janitor import Janitor, Retention
from tests.load import name_in
from tests.parts import answer_with_attempt, ask, said, working
from tests.servers import Server
from tests.support import CLUSTER_PARTITIONS, LANE, Rig, beat, eventually, open_rig, serving, submission

ON_A_CLUSTER = pytest.mark.parametrize("shared_server", ["cluster"], indirect=True, scope="session")
ON_A_SERVER = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
PARTITIONS = range(CLUSTER_PARTITIONS)


async def spread(rig: Rig, each: int = 2) -> list[str]:
    """Submit some tasks to each partition."""
    names = [name_in(rig.keys, partition, f"{count}-") for partition in PARTITIONS for count in range(each)]
    await rig.submit(*names)
    return names


async def node_url(rig: Rig) -> str:
    """The URL of one node alone, the primary that has the highest slots."""
    home = await rig.connection.home(rig.keys.dead(0))
    address = Address.parse(rig.connection.url)
    return next(url for node in address.nodes if f"//{home}/" in (url := address.url_of(node)))


@ON_A_CLUSTER
@pytest.mark.slots_stay("keys of a slot that migrates are told by neither node, or by both")
async def test_each_partition_is_on_one_primary_with_all_its_keys(rig: Rig, server: Server) -> None:
    async with serving(rig.inbox()) as inbox, working(server.url, answer_with_attempt):
        await asyncio.gather(*(ask(rig, inbox, f"r{number}") for number in range(30)))
    found: list[set[int]] = []
    for keys in await rig.connection.everywhere("KEYS", "*"):
        names = [Name.parse(key.decode()) for key in keys]
        found.append({name.partition for name in names if name is not None})
        assert None not in names
    assert sorted(partition for partitions in found for partition in partitions) == [*PARTITIONS]


@ON_A_CLUSTER
async def test_a_lane_is_told_over_all_partitions(rig: Rig) -> None:
    names = await spread(rig)
    await rig.take(1, consumer="worker-1")
    [told] = await LaneInspector(rig.connection, rig.keys, rig.settings).lanes([LANE])
    assert (told.backlog, told.running) == (len(names), 3)
    assert [(consumer.name, consumer.running) for consumer in told.consumers] == [("worker-1", 3)]
    assert told.oldest_age_ms is not None
    assert told.oldest_age_ms < 60_000


@ON_A_CLUSTER
async def test_there_is_room_until_the_partition_is_full(server: Server) -> None:
    async with open_rig(server.url, lane_cap=CLUSTER_PARTITIONS) as rig:
        for name in [name_in(rig.keys, partition) for partition in PARTITIONS]:
            await rig.broker.room(LANE, name)
            await rig.submit(name)
            with pytest.raises(LaneFull):
                await rig.broker.room(LANE, name)


@ON_A_CLUSTER
async def test_agents_of_all_partitions_are_on_one_list_latest_first(rig: Rig) -> None:
    names = [name_in(rig.keys, partition, f"agent-{count}-") for partition in PARTITIONS for count in range(2)]
    seen_ms = await rig.now_ms() - 1_000
    for late_ms, name in enumerate(names):
        await rig.agents.record(beat(1, agent_id=name), seen_ms=seen_ms + late_ms)
    page = await rig.agents.page(size=4, token="")
    rest = await rig.agents.page(size=4, token=page.next_page_token)
    assert [agent.agent_id for agent in (*page.agents, *rest.agents)] == names[::-1]


@ON_A_CLUSTER
async def test_dead_letters_of_all_partitions_are_listed_replayed_and_purged(rig: Rig) -> None:
    names = [name_in(rig.keys, partition, f"{count}-") for partition in PARTITIONS for count in range(2)]
    await rig.bury(*names)
    page = await rig.letters.page(size=4)
    rest = await rig.letters.page(size=4, token=page.next_page_token)
    assert Counter(letter.request_id for letter in (*page.letters, *rest.letters)) == Counter(names)
    progress = await rig.letters.replay_all(most=4)
    assert [replay.outcome for replay in progress.replays] == ["replayed"] * 4
    assert await rig.backlog() == 4
    assert (await rig.letters.purge_all()).purged == 2
    assert (await rig.letters.page()).letters == []


@ON_A_CLUSTER
async def test_dead_workers_are_forgotten_in_all_partitions(rig: Rig) -> None:
    await spread(rig, each=1)
    for entry in await rig.take(consumer="dead-worker"):
        await rig.broker.renew("dead-worker", entry)
        await rig.connection.command("XACK", rig.keys.stream(entry.partition, LANE), GROUP, entry.entry_id)
    retention = Retention(consumers_ms=0, agents_ms=1_000, letters_ms=0)
    stop = asyncio.Event()
    janitor = Janitor(rig.connection, rig.keys, SystemChance(), lanes=[LANE], retention=retention, stop=stop)
    await janitor.tidy()
    for partition in PARTITIONS:
        assert await rig.connection.command("XINFO", "CONSUMERS", rig.keys.stream(partition, LANE), GROUP) == []


@ON_A_CLUSTER
async def test_entries_that_name_no_task_are_buried_and_replayed_in_their_own_partition(
    rig: Rig, server: Server
) -> None:
    streams = [rig.keys.stream(partition, LANE) for partition in PARTITIONS for _ in range(4)]
    async with working(server.url, answer_with_attempt):
        for stream in streams:
            await rig.connection.command("XADD", stream, "*", "what", "is this")
        await eventually(lambda: all_buried(rig, len(streams)))
        progress = await rig.letters.replay_all(most=len(streams))
        assert [replay.outcome for replay in progress.replays] == ["replayed"] * len(streams)
        await eventually(lambda: all_buried(rig, len(streams)))
    assert await rig.backlog() == 0


async def all_buried(rig: Rig, count: int) -> bool:
    return sum([len(await rig.dead_letters(partition)) for partition in PARTITIONS]) == count


@ON_A_CLUSTER
async def test_a_task_is_cancelled_wherever_it_is(rig: Rig) -> None:
    for name in await spread(rig, each=1):
        assert (await rig.canceller.cancel(name)).state == "cancelled"
    assert await rig.backlog() == 0


@ON_A_CLUSTER
async def test_a_worker_knows_the_clock_of_every_partition_before_it_takes_anything(server: Server) -> None:
    async with working(server.url, answer_with_attempt) as worker:
        assert all(clock.now_ms() is not None for clock in worker._broker.clocks)


@ON_A_CLUSTER
async def test_an_inbox_is_ready_while_all_its_partitions_are_subscribed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed, may_subscribe = Connection.subscribed, asyncio.Event()
    inbox = rig.inbox()

    @asynccontextmanager
    async def late(connection: Connection, channel: str) -> AsyncIterator[Subscription]:
        if channel == rig.keys.channel(1, inbox.name):
            await may_subscribe.wait()
        async with subscribed(connection, channel) as subscription:
            yield subscription

    monkeypatch.setattr(Connection, "subscribed", late)
    running = asyncio.create_task(inbox.run())
    await eventually(lambda: inbox._subscribed == {0, 2})
    assert not inbox.ready.is_set()
    may_subscribe.set()
    await asyncio.wait_for(inbox.ready.wait(), 5)
    may_subscribe.clear()
    await rig.connection.command("CLIENT", "KILL", "TYPE", "pubsub")
    await asyncio.wait_for(inbox.lost.wait(), 5)
    await eventually(lambda: inbox._subscribed == {0, 2})
    assert not inbox.ready.is_set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@ON_A_CLUSTER
async def test_every_primary_is_checked_at_the_start(rig: Rig) -> None:
    await check_server(rig.connection, rig.settings)
    # The last of them: it is not enough to ask the first.
    node = Connection(await node_url(rig), timeout_ms=1_000)
    await node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(ConfigError, match="allkeys-lru, which drops tasks"):
            await check_server(rig.connection, rig.settings)
    finally:
        await node.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await node.close()


@ON_A_CLUSTER
async def test_a_node_of_a_cluster_is_not_taken_for_one_server(rig: Rig) -> None:
    async with open_rig(await node_url(rig)) as alone:
        with pytest.raises(ConfigError, match=r"a node of a cluster.* redis\+cluster://.* EDGESCALE_PARTITIONS"):
            await check_server(alone.connection, alone.settings)


@ON_A_SERVER
@pytest.mark.one_server("it is about one server")
async def test_one_server_is_not_taken_for_a_cluster(server: Server) -> None:
    async with open_rig(server.url.replace("redis://", "redis+cluster://")) as rig:
        with pytest.raises(ConfigError, match="is not a node of a cluster; the URL of one server is redis://"):
            await check_server(rig.connection, rig.settings)


@ON_A_CLUSTER
async def test_primaries_without_a_partition_are_told_of_and_no_more(server: Server) -> None:
    async with open_rig(server.url, partitions=1) as rig:
        with capture_logs() as lines:
            await check_server(rig.connection, rig.settings)
        assert [(line["event"], line["primaries"], line["used"]) for line in lines] == [("primaries.idle", 3, 1)]
        await rig.broker.submit(submission("r1"))
        async with serving(rig.inbox()) as inbox, working(server.url, answer_with_attempt, partitions=1):
            assert said(await ask(rig, inbox, "r2")) == "r2 by attempt 1"
