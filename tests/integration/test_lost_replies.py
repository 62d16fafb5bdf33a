"""Calls whose reply is lost or whose server is away: repeated, and done once."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.script import Script
from edgescale.errors import BrokerUnavailable, LaneFull
from edgescale.harness.chaos.fault_proxy import FaultProxy, proxied
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import Server
from tests.support import open_rig, settlement, submission


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    async with proxied(server.url) as running:
        yield running


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_submission_whose_reply_is_lost_is_one_entry(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"$2\r\nr1\r\n")
        receipt = await rig.broker.submit(submission("r1"), inbox="box")
        assert proxy.replies_lost == 1
        assert receipt.record.state == "queued"
        assert not receipt.accepted, "the second time it was known"
        assert await rig.backlog() == 2
        assert (await rig.fields("r1"))[b"inboxes"] == b"box"


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_batch_whose_reply_is_lost_again_and_again_is_one_entry_each(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"EVALSHA", times=4)
        await rig.submit(*[f"r{number}" for number in range(50)])
        assert proxy.replies_lost == 4
        assert await rig.backlog() == 51


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_without_patience_a_lost_reply_is_told_and_the_submission_may_be_repeated(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"$2\r\nr1\r\n")
        with pytest.raises(BrokerUnavailable):
            await rig.broker.submit(submission("r1"), patience_ms=0)
        assert not (await rig.broker.submit(submission("r1"))).accepted
        assert await rig.backlog() == 2


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_full_lane_after_an_unclear_attempt_is_no_refusal(proxy: FaultProxy) -> None:
    # What was sent first may still be on its way, and find room.
    async with open_rig(proxy.url, lane_cap=1, redis_patience_ms=300) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"$2\r\nr1\r\n")
        with pytest.raises(BrokerUnavailable):
            await rig.broker.submit(submission("r1"))
        assert proxy.replies_lost == 1
        with pytest.raises(LaneFull):
            await rig.broker.submit(submission("r1"))


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_full_lane_after_an_unclear_replay_is_no_refusal(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url, lane_cap=1, redis_patience_ms=300) as rig:
        [entry] = await rig.submit_and_take("r1")
        await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="WHY"))
        await rig.submit("warm")
        letters = DeadLetters(rig.connection, rig.keys, rig.settings, rig.chance)
        assert [replay.outcome for replay in await letters.replay(["r1"])] == ["full"]
        proxy.lose_reply(b"replayed:")
        with pytest.raises(BrokerUnavailable):
            await letters.replay(["r1"])
        assert proxy.replies_lost == 1


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_settlement_whose_reply_is_lost_is_settled(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        [entry] = await rig.submit_and_take("r1")
        # Known beforehand, or the lost reply would be the one that asks for its body.
        await rig.connection.command("SCRIPT", "LOAD", Script.load("settle").body)
        proxy.lose_reply(b"dead_lettered")
        done = settlement(entry, state="dead_lettered", reason="WHY")
        assert await rig.broker.settle("worker-1", done) == "settled"
        assert proxy.replies_lost == 1
        assert len(await rig.dead_letters()) == 1
        assert await rig.backlog() == 0


async def test_a_settlement_outlasts_any_outage(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, redis_patience_ms=1) as rig:
        await rig.connection.command("CONFIG", "SET", "appendfsync", "always")
        [entry] = await rig.submit_and_take("r1")
        await private_server.kill()
        settling = asyncio.create_task(rig.broker.settle("worker-1", settlement(entry)))
        with pytest.raises(BrokerUnavailable):
            await rig.broker.submit(submission("r2"))
        assert not settling.done()
        await private_server.start()
        assert await asyncio.wait_for(settling, 5) == "settled"


async def test_a_submission_waits_for_a_server_that_restarts(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, redis_patience_ms=10_000) as rig:
        await rig.submit("warm")
        await private_server.kill()
        submitting = asyncio.create_task(rig.broker.submit(submission("r1")))
        await private_server.start()
        assert (await asyncio.wait_for(submitting, 5)).accepted


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_cancellation_whose_reply_is_lost_has_cancelled(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("r1")
        # Known beforehand, or the lost reply would be the one that asks for its body.
        await rig.connection.command("SCRIPT", "LOAD", Script.load("cancel").body)
        proxy.lose_reply(b"a caller asked for it")
        record = await rig.canceller.cancel("r1")
        assert proxy.replies_lost == 1
        assert record.state == "cancelled"
        assert await rig.backlog() == 0
