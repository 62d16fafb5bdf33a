"""Unmodified redis-py, and EdgeScale's own broker on top of it, work with the Redis model."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import exceptions as foreign
from redis.asyncio import Redis

from edgescale.broker.model import GiveBack
from edgescale.errors import BrokerUnavailable, Overloaded
from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9
from edgescale.v1 import heartbeat_pb2
from tests.redis_served import ServedModel, served_model
from tests.support import Rig, eventually, open_rig, serving, settlement, submission


@pytest.fixture(params=[VALKEY_9, REDIS_7_0], ids=lambda flavour: flavour.name)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[ServedModel]:
    async with served_model(request.param) as served:
        yield served


@pytest.fixture
async def rig(served: ServedModel) -> AsyncIterator[Rig]:
    async with open_rig(served.url) as rig:
        yield rig


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
async def redis(request: pytest.FixtureRequest, served: ServedModel) -> AsyncIterator[Redis]:
    client = Redis.from_url(served.url, protocol=request.param)
    yield client
    await client.aclose()


async def test_redis_py_reads_its_replies(redis: Redis) -> None:
    assert await redis.set("k", "v", px=100_000, nx=True)
    assert await redis.get("k") == b"v"
    assert 0 < await redis.pttl("k") <= 100_000
    assert await redis.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert await redis.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert await redis.zadd("z", {"m": 1.5}) == 1
    assert [(row[0], row[1]) for row in await redis.zrange("z", 0, -1, withscores=True)] == [(b"m", 1.5)]
    assert (await redis.info("server"))["redis_version"]
    assert (await redis.time())[0] > 1_700_000_000
    with pytest.raises(foreign.ResponseError, match="WRONGTYPE"):
        await redis.get("h")


async def test_redis_py_works_with_streams_and_groups(redis: Redis) -> None:
    await redis.xgroup_create("s", "g", id="0", mkstream=True)
    entry = await redis.xadd("s", {"f": "v"})
    read = await redis.xreadgroup("g", "c1", {"s": ">"}, count=5)
    assert str(entry) in str(read)
    assert (await redis.xpending("s", "g"))["pending"] == 1
    _, claimed, deleted = await redis.xautoclaim("s", "g", "c2", min_idle_time=0)
    assert (claimed[0][0], deleted) == (entry, [])
    assert (await redis.xinfo_consumers("s", "g"))[1]["pending"] == 1
    assert await redis.xack("s", "g", entry) == 1
    assert await redis.xdel("s", entry) == 1
    assert (await redis.xinfo_stream("s"))["entries-added"] == 1


async def test_a_blocked_read_is_served_as_soon_as_there_is_something(redis: Redis) -> None:
    read: asyncio.Future[Any] = asyncio.ensure_future(redis.xread({"s": "$"}, block=5_000))
    await eventually(lambda: blocked(redis))
    entry = await redis.xadd("s", {"f": "v"})
    assert str(entry) in str(await asyncio.wait_for(read, 2))


async def blocked(redis: Redis) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"])


async def test_a_blocked_read_ends_with_its_time(redis: Redis) -> None:
    assert not await redis.xread({"s": "$"}, block=20)


async def test_redis_py_runs_transactions_and_scripts(redis: Redis) -> None:
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.set("k", 1)
        pipeline.incr("k")
        pipeline.get("k")
        assert await pipeline.execute() == [True, 2, b"2"]
    script = redis.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
    assert await script(keys=["k"], args=["from Lua"]) == b"OK"
    assert await redis.get("k") == b"from Lua"
    await redis.script_flush()
    assert await script(keys=["k"], args=["again"]) == b"OK"


async def test_redis_py_hears_what_is_published(redis: Redis) -> None:
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe("plain")
        await pubsub.psubscribe("p*n")
        assert await redis.publish("plain", "hello") == 2
        messages = [await pubsub.get_message(timeout=1) for _ in range(4)]
        assert [message["type"] for message in messages if message] == [
            "subscribe",
            "psubscribe",
            "message",
            "pmessage",
        ]
        assert await redis.pubsub_channels() == [b"plain"]
        await pubsub.unsubscribe("plain")
        assert await redis.publish("plain", "hello") == 1


async def test_a_task_goes_through_the_broker(rig: Rig, served: ServedModel) -> None:
    async with serving(rig.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            assert (await rig.broker.submit(submission("r1"), inbox=inbox.name)).accepted
            assert not (await rig.broker.submit(submission("r1"), inbox=inbox.name)).accepted
            [entry] = await rig.take()
            assert await rig.broker.renew("worker-1", entry)
            assert await rig.broker.settle("worker-1", settlement(entry, result=b"done")) == "settled"
            record = await wait.result(2)
    assert record is not None
    assert record.result == b"done"
    assert await rig.backlog() == 0
    assert served.model.calls["spublish"] == 1


async def test_a_task_is_given_back_reclaimed_and_dead_lettered(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    assert await rig.broker.give_back("worker-1", GiveBack(entry, "r1", delay_ms=0, deliveries=1, reason="R"))
    _, [again] = await rig.broker.reclaim(0, "text", "worker-2", cursor="0-0", count=10)
    assert (again.entry_id, again.deliveries) == (entry.entry_id, 2)
    assert await rig.broker.settle("worker-1", settlement(entry)) == "lost"
    assert await rig.broker.settle("worker-2", settlement(again, state="dead_lettered", reason="R")) == "settled"
    [letter] = await rig.dead_letters()
    assert (letter[b"request_id"], letter[b"consumer"]) == (b"r1", b"worker-2")


async def test_heartbeats_are_counted(rig: Rig) -> None:
    beats = [
        heartbeat_pb2.Heartbeat(agent_id="a1", boot_id="b", sequence=sequence, metrics={"load": 1.5})
        for sequence in (1, 2, 5)
    ]
    receipts = [await rig.agents.record(beat, seen_ms=1_700_000_000_000 + beat.sequence) for beat in beats]
    assert [receipt.missed_beats for receipt in receipts] == [0, 0, 2]
    [agent] = (await rig.agents.page(size=10, token="")).agents
    assert (agent.agent_id, agent.beats, agent.metrics["load"]) == ("a1", 3, 1.5)


async def test_a_waiter_is_answered_although_the_server_was_killed_meanwhile(rig: Rig, served: ServedModel) -> None:
    async with serving(rig.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            await rig.broker.submit(submission("r1"), inbox=inbox.name)
            [entry] = await rig.take()
            served.model.restart(keep="aof")
            await eventually(lambda: rig.broker.renew("worker-1", entry))
            await rig.broker.settle("worker-1", settlement(entry, result=b"done"))
            record = await wait.result(5)
    assert record is not None
    assert record.result == b"done"


async def test_what_the_server_refuses_comes_out_as_our_errors(rig: Rig, served: ServedModel) -> None:
    await rig.submit("r1")
    served.model.faults.change(out_of_memory=True)
    with pytest.raises(Overloaded):
        await rig.broker.submit(submission("r2"))
    served.model.faults.change(out_of_memory=False, busy=True)
    with pytest.raises(BrokerUnavailable):
        await rig.broker.lookup("r1")
    served.model.faults.change(busy=False, read_only=True)
    with pytest.raises(BrokerUnavailable):
        await rig.broker.submit(submission("r2"), patience_ms=0)
    served.model.promote()
    await rig.submit("r2")
