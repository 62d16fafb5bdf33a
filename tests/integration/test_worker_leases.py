"""Leases: kept while a worker lives, taken over when it falls silent, and worth nothing once lost."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgescale.broker.broker import Broker
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Entry, GiveBack
from edgescale.handlers.base import Context, Outcome, Retry
from tests.parts import SWEEP_MS, Deed, answer_with_attempt, ask, said, working
from tests.servers import Server
from tests.support import Rig, eventually, open_rig

# The scripts have tests of their own on every kind of server; here one is enough.
pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")
SHORT_LEASE_MS = 300
LONG_LEASE_MS = 60_000


async def test_a_handler_that_takes_many_leases_keeps_its_task(server: Server, rig: Rig, inbox: Inbox) -> None:
    slow, idle = Deed(held=True), Deed()
    async with working(server.url, slow, lease_ms=SHORT_LEASE_MS):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: slow.running == 1)
        async with working(server.url, idle, lease_ms=SHORT_LEASE_MS):
            await asyncio.sleep(5 * SHORT_LEASE_MS / 1000)
            slow.gate.set()
            record = await answer
    assert (said(record), record.attempts) == ("r1 by attempt 1", 1)
    assert idle.begun == []


async def test_many_tasks_at_once_all_keep_their_leases(server: Server, rig: Rig) -> None:
    slow, idle = Deed(held=True), Deed()
    names = [f"r{number}" for number in range(300)]
    # To begin them all takes a busy machine longer than the shortest leases.
    lease_ms = 1_000
    async with working(server.url, slow, slots=300, lease_ms=lease_ms):
        await rig.submit(*names)
        await eventually(lambda: slow.running == 300)
        async with working(server.url, idle, slots=300, lease_ms=lease_ms):
            await asyncio.sleep(2 * lease_ms / 1000)
            slow.gate.set()
            await eventually(lambda: sorted(slow.ended) == sorted(names))
    assert idle.begun == []


class OneIsSilent(Broker):
    """Renewals of partition 0 are not answered before `answers` is set; those of partition 1 are counted."""

    answers: asyncio.Event
    renewed = 0

    async def renew(self, consumer: str, entry: Entry) -> bool:
        if entry.partition == 0:
            await self.answers.wait()
        kept = await super().renew(consumer, entry)
        type(self).renewed += entry.partition
        return kept


@pytest.mark.one_partition
async def test_leases_of_other_partitions_are_kept_while_one_partition_is_silent(server: Server) -> None:
    # Each test has its own: the worker makes the broker.
    class Meddling(OneIsSilent):
        answers = asyncio.Event()

    deed = Deed(held=True)
    changes: dict[str, Any] = {"lease_ms": LONG_LEASE_MS, "partitions": 2, "redis_timeout_ms": 500}
    hands = working(server.url, deed, slots=8, broker=Meddling, **changes)
    async with open_rig(server.url, **changes) as rig, hands as worker:
        await rig.submit(*(f"r{number}" for number in range(8)))
        await eventually(lambda: {delivery.entry.partition for delivery in worker.deliveries} == {0, 1})
        try:
            await eventually(lambda: list(worker.readiness.stalled) == ["renewer:0"])
            renewed = Meddling.renewed
            await eventually(lambda: Meddling.renewed > renewed)
        finally:
            Meddling.answers.set()
            deed.gate.set()
        await eventually(lambda: len(deed.ended) == 8)


@pytest.mark.one_partition
async def test_the_only_slot_of_an_idle_lane_is_given_to_a_dead_workers_task_in_time(server: Server) -> None:
    loop, deed = asyncio.get_running_loop(), Deed()
    # As long a wait at the server as there is by default: it must not keep the reclaimer from the slot for longer.
    changes: dict[str, Any] = {"lease_ms": SHORT_LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": 1_000}
    async with open_rig(server.url, **changes) as rig:
        [entry] = await rig.submit_and_take("r1", consumer="dead")
        async with working(server.url, deed, slots=1, **changes):
            await asyncio.sleep(0.1)
            assert await rig.broker.renew("dead", entry)
            silent_since = loop.time()
            await eventually(lambda: deed.ended == ["r1"])
            waited_s = loop.time() - silent_since
    assert SHORT_LEASE_MS / 1000 <= waited_s < (SHORT_LEASE_MS + SWEEP_MS) / 1000 + 1 + 0.5
    assert deed.begun[0].attempt == 2


@pytest.mark.one_partition
async def test_a_reader_that_waits_keeps_no_more_than_one_slot(server: Server) -> None:
    loop, deed = asyncio.get_running_loop(), Deed()
    changes: dict[str, Any] = {"lease_ms": SHORT_LEASE_MS, "sweep_ms": SWEEP_MS, "redis_block_ms": 2_500}
    async with open_rig(server.url, **changes) as rig:
        await rig.submit_and_take("r1", consumer="dead")
        async with working(server.url, deed, slots=2, **changes):
            began = loop.time()
            await eventually(lambda: deed.ended == ["r1"])
            waited_s = loop.time() - began
    assert waited_s < (SHORT_LEASE_MS + SWEEP_MS) / 1000 + 1


async def test_a_long_list_of_a_dead_workers_tasks_is_taken_over_to_its_end(server: Server, rig: Rig) -> None:
    names = [f"r{number}" for number in range(100)]
    first, second = Deed(), Deed()
    await rig.submit_and_take(*names, consumer="dead")
    changes: dict[str, Any] = {"slots": 2, "lease_ms": SHORT_LEASE_MS}
    async with working(server.url, first, **changes), working(server.url, second, **changes):
        await eventually(lambda: sorted(first.ended + second.ended) == sorted(names))
    assert await rig.backlog() == 0


async def test_a_dead_workers_task_is_found_behind_many_that_are_being_worked_on(server: Server, rig: Rig) -> None:
    deed = Deed()
    await rig.submit_and_take(*(f"r{number}" for number in range(300)), consumer="alive")
    [last] = await rig.submit_and_take("last", consumer="dead")
    await rig.silence(last, owner="dead")
    # With one slot, a scan looks at ten entries at a time.
    async with working(server.url, deed, slots=1, lease_ms=LONG_LEASE_MS):
        await eventually(lambda: deed.ended == ["last"])


async def test_new_tasks_and_a_dead_workers_tasks_share_the_slots(server: Server, rig: Rig) -> None:
    old, new = [f"old{number}" for number in range(20)], [f"new{number}" for number in range(150)]
    deed = Deed()

    async def act(payload: bytes, context: Context) -> Outcome:
        await asyncio.sleep(0.01)
        return await deed(payload, context)

    await rig.submit_and_take(*old, consumer="dead")
    await asyncio.sleep(SHORT_LEASE_MS / 1000)
    await rig.submit(*new)
    async with working(server.url, act, slots=2, lease_ms=SHORT_LEASE_MS):
        await eventually(lambda: sorted(deed.ended) == sorted(old + new), timeout_s=20)
    # Neither waits for the other's end.
    assert deed.ended.index("old0") < 75
    assert {name[:3] for name in deed.ended[:30]} == {"old", "new"}


class Forgetful(Broker):
    """Renews and reclaims nothing, as if its process stood still; its outcomes wait for the gate."""

    gate: asyncio.Event
    answers: list[str]

    async def renew(self, consumer: str, entry: Entry) -> bool:
        del consumer, entry
        return True

    async def reclaim(self, partition: int, lane: str, consumer: str, **cursor: Any) -> tuple[str, list[Entry]]:
        del partition, lane, consumer, cursor
        return "0-0", []

    async def settle(self, consumer: str, settlement: Any) -> Any:
        await self.gate.wait()
        answer = await super().settle(consumer, settlement)
        self.answers.append(answer)
        return answer


async def test_who_lost_a_lease_cannot_settle_while_the_new_owner_works(server: Server, rig: Rig, inbox: Inbox) -> None:
    Forgetful.gate, Forgetful.answers = asyncio.Event(), []
    second = Deed(held=True)
    async with working(server.url, answer_with_attempt, broker=Forgetful, lease_ms=SHORT_LEASE_MS) as first:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: [delivery.settling for delivery in first.deliveries] == [True])
        async with working(server.url, second, lease_ms=SHORT_LEASE_MS):
            await eventually(lambda: second.running == 1)
            Forgetful.gate.set()
            await eventually(lambda: Forgetful.answers == ["lost"])
            assert not answer.done()
            second.gate.set()
            assert said(await answer) == "r1 by attempt 2"


async def test_a_worker_that_hears_of_a_lost_lease_stops_the_handler_and_says_so(server: Server, rig: Rig) -> None:
    deed = Deed(held=True)
    with capture_logs() as lines:
        async with working(server.url, deed, lease_ms=SHORT_LEASE_MS) as worker:
            await rig.submit("r1")
            await eventually(lambda: deed.running == 1)
            [(entry_id, _, _)] = await rig.pending()
            await rig.connection.command("XCLAIM", rig.keys.stream(0, "text"), "workers", "thief", 0, entry_id)
            await eventually(lambda: len(worker.deliveries) == 0)
    assert deed.ended == []
    assert ("task.lost", entry_id) in [(line["event"], line.get("entry")) for line in lines]


class LateRenewals(Broker):
    """Renewals that are asked for are sent only when the gate opens."""

    gate: asyncio.Event
    asked: int

    async def renew(self, consumer: str, entry: Entry) -> bool:
        LateRenewals.asked += 1
        await self.gate.wait()
        return await super().renew(consumer, entry)


async def test_a_renewal_under_way_does_not_undo_a_hand_back(server: Server, rig: Rig, inbox: Inbox) -> None:
    LateRenewals.gate, LateRenewals.asked = asyncio.Event(), 0
    # Four times within the lease; so the first renewal comes soon, and a renewed entry could not be had for long.
    changes: dict[str, Any] = {"lease_ms": 4_000, "drain_grace_ms": 50}
    async with working(server.url, Deed(held=True), broker=LateRenewals, **changes) as leaving:
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: LateRenewals.asked == 1)
        leaving.stop()
        # The renewal is still to be sent when the grace has passed and the task goes back.
        asyncio.get_running_loop().call_later(0.3, LateRenewals.gate.set)
    async with working(server.url, answer_with_attempt, **changes):
        handed_over = asyncio.get_running_loop().time()
        assert said(await answer) == "r1 by attempt 1"
        assert asyncio.get_running_loop().time() - handed_over < 2


class LateReplies(Broker):
    """What is handed back is on its way, but the worker hears of it only when the gate opens."""

    gate: asyncio.Event

    async def give_back(self, consumer: str, handed: GiveBack) -> bool:
        kept = await super().give_back(consumer, handed)
        await self.gate.wait()
        return kept


async def test_a_task_that_is_handed_back_can_come_again_before_the_worker_hears_of_it(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    LateReplies.gate = asyncio.Event()

    async def act(payload: bytes, context: Context) -> Outcome:
        if context.attempt == 1:
            return Retry("NOT_YET", "", delay_ms=0)
        return await answer_with_attempt(payload, context)

    async with working(server.url, act, broker=LateReplies, lease_ms=LONG_LEASE_MS):
        assert said(await ask(rig, inbox, "r1", timeout_s=5)) == "r1 by attempt 2"
        LateReplies.gate.set()
