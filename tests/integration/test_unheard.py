"""What a read has brought whose reply was lost is found at once, not after its lease; nothing else is taken for it."""

import asyncio

import pytest

from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import GROUP
from edgescale.broker.model import GiveBack
from edgescale.broker.unheard import NOTHING_HEARD
from edgescale.harness.chaos.fault_proxy import proxied
from tests.parts import Deed, answer_with_attempt, ask, said, working
from tests.servers import Server
from tests.support import LANE, Rig, eventually

pytestmark = pytest.mark.one_partition
LEASE_MS = 600_000
ME, OTHER = "worker-1", "worker-2"


async def found(rig: Rig, *, after: str = NOTHING_HEARD, count: int = 10) -> list[tuple[str, int]]:
    """Request ids and deliveries of what worker-1 never heard of."""
    entries = await rig.broker.unheard.find(0, LANE, ME, after=after, count=count)
    return [(entry.fields[b"request_id"].decode(), entry.deliveries) for entry in entries]


async def test_what_was_read_and_not_heard_of_comes_as_the_read_would_have_brought_it(rig: Rig) -> None:
    first, *_ = await rig.submit_and_take("r1", "r2", "r3")
    assert await found(rig, after=first.entry_id) == [("r2", 1), ("r3", 1)]
    assert await found(rig, count=1) == [("r1", 1)]
    assert [deliveries for _, _, deliveries in await rig.pending()] == [1, 1, 1]


async def test_its_lease_starts_anew(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.silence(entry, idle_ms=100_000)
    assert await found(rig) == [("r1", 1)]
    assert await rig.idle_ms(entry) < 100_000


async def test_what_others_hold_and_what_was_claimed_from_them_is_left_alone(rig: Rig) -> None:
    [claimed, held] = await rig.submit_and_take("r1", "r2", consumer=OTHER)
    await rig.silence(claimed, owner=OTHER)
    _, [mine] = await rig.broker.reclaim(0, LANE, ME, cursor="0-0", count=1)
    assert mine.entry_id == claimed.entry_id
    assert await found(rig) == []
    assert held.entry_id in [entry for entry, owner, _ in await rig.pending() if owner == OTHER]


async def test_what_waits_for_its_time_is_left_alone(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    later = GiveBack(entry, "r1", delay_ms=rig.settings.lease_ms + 60_000, deliveries=1)
    assert await rig.broker.give_back(ME, later)
    assert await found(rig) == []


async def test_what_failed_once_and_waits_for_a_moment_is_left_alone(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    assert await rig.broker.give_back(ME, GiveBack(entry, "r1", delay_ms=50, deliveries=1, reason="NOT_YET"))
    assert await found(rig) == []
    claimed: list[int] = []

    async def claim() -> bool:
        _, entries = await rig.broker.reclaim(0, LANE, OTHER, cursor="0-0", count=1)
        claimed.extend(entry.deliveries for entry in entries)
        return bool(claimed)

    await eventually(claim)
    assert claimed == [2], "and is tried again when it is due"


async def test_there_is_nothing_unheard_of_without_a_group_and_in_what_was_taken_away(rig: Rig) -> None:
    assert await found(rig) == []
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("XDEL", rig.keys.stream(0, LANE), entry.entry_id)
    assert await found(rig) == []
    assert await rig.connection.command("XPENDING", rig.keys.stream(0, LANE), GROUP) is not None


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_task_that_went_into_a_dead_connection_does_not_wait_for_its_lease(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    async with (
        proxied(server.url) as proxy,
        working(proxy.url, answer_with_attempt, lease_ms=LEASE_MS, redis_timeout_ms=300, redis_block_ms=2_000),
    ):
        await ask(rig, inbox, "r1")
        proxy.darken()
        assert said(await ask(rig, inbox, "r2")) == "r2 by attempt 1"


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_read_whose_reply_was_lost_costs_neither_a_lease_nor_an_attempt(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    deed = Deed()
    async with (
        proxied(server.url) as proxy,
        working(proxy.url, deed, lease_ms=LEASE_MS, redis_block_ms=100),
    ):
        await ask(rig, inbox, "r0")
        proxy.lose_reply(b"XREADGROUP", times=1)
        answers = [asyncio.create_task(ask(rig, inbox, f"r{number}")) for number in range(1, 6)]
        assert [said(await answer) for answer in answers] == [f"r{number} by attempt 1" for number in range(1, 6)]
        await eventually(lambda: proxy.replies_lost == 1)
    assert sorted(context.request_id for context in deed.begun) == [f"r{number}" for number in range(6)]
