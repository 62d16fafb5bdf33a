"""The peer-bug museum: memory of Redis that grew because something stayed behind.

Whatever a test of this module does with tasks and agents, afterwards only known keys may be there: streams, emptied;
those who wait, none; the dead letters; the index of the agents. Everything else has an expiry, or is gone.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from edgescale.broker.keys import GROUP, Name
from edgescale.broker.model import GiveBack
from edgescale.config import Settings
from edgescale.errors import Conflict, LaneFull, NotFound
from edgescale.handlers.base import Context, Outcome, Rejected, Retry
from tests.ordered import ordered
from tests.parts import Deed, answer_with_attempt, ask, working
from tests.servers import Server
from tests.support import LANE, Rig, beat, eventually, open_rig, serving, settlement, submission

pytestmark = pytest.mark.one_partition

LIFE_MS = {"task": Settings().result_ttl_ms, "agent": Settings().agent_retention_ms}
KEPT = {"dead", "agents"}
SHORT: dict[str, Any] = {"lease_ms": 200, "sweep_ms": 40}


async def left_behind(rig: Rig) -> dict[str, str]:
    """Keys that nobody needs any more and that would stay, with what is wrong; so are channels that somebody kept."""
    keys = [key.decode(errors="replace") for key in await rig.connection.command("KEYS", "*")]
    channels = [name.decode() for name in await rig.connection.command("PUBSUB", "SHARDCHANNELS")]
    problems = {key: await problem(rig, key) for key in keys} | dict.fromkeys(channels, "somebody listens still")
    return {key: wrong for key, wrong in problems.items() if wrong}


async def problem(rig: Rig, key: str) -> str:
    """Why a key should not be there as it is; empty when it may."""
    name = Name.parse(key)
    if name is None or name.family not in {"stream", "waiting", *KEPT, *LIFE_MS}:
        return "unknown, or of use to an open task only"
    if name.family == "waiting":
        return "not emptied" if await rig.connection.command("XLEN", key) else ""
    if name.family == "stream":
        groups = await rig.connection.command("XINFO", "GROUPS", key)
        unsettled = await rig.connection.command("XLEN", key) + sum(int(group[5]) for group in groups)
        return "" if (unsettled, [group[1] for group in groups]) == (0, [GROUP.encode()]) else "not emptied"
    if name.family in KEPT:
        return ""
    return "" if 0 < await rig.connection.command("PTTL", key) <= LIFE_MS[name.family] else "does not expire"


@pytest.fixture(autouse=True)
async def nothing_is_left_behind(server: Server) -> AsyncIterator[None]:
    yield
    async with open_rig(server.url) as rig:
        assert await left_behind(rig) == {}


@pytest.fixture
async def own_rig(server: Server) -> AsyncIterator[Rig]:
    """Closed before the keys are looked at, as the fixture above is torn down last."""
    async with open_rig(server.url) as opened:
        yield opened


async def act_as_told(payload: bytes, context: Context) -> Outcome:
    """Rejects, fails at every attempt, waits for longer than a lease, or succeeds."""
    if payload == b"reject":
        return Rejected("TOO_OLD", "It is too old.")
    if payload == b"fail" or (payload == b"later" and context.attempt == 1):
        return Retry("NOT_YET", "Not yet.", delay_ms=250 if payload == b"later" else 0)
    return await answer_with_attempt(payload, context)


async def test_tasks_leave_a_record_that_expires_however_they_end(server: Server, own_rig: Rig) -> None:
    overdue = submission("overdue")
    overdue = replace(overdue, envelope=replace(overdue.envelope, expires_ms=1))
    due_ms = await own_rig.now_ms() + 250
    due = submission("due")
    due = replace(due, envelope=replace(due.envelope, not_before_ms=due_ms))
    given = [submission(name, name.encode()) for name in ("succeed", "reject", "fail", "later")] + [overdue, due]
    async with serving(own_rig.inbox()) as inbox, working(server.url, act_as_told, attempts_max=2, **SHORT):
        records = await asyncio.gather(*(ask(own_rig, inbox, task) for task in given))
    ends = ["succeeded", "failed", "dead_lettered", "succeeded", "expired", "succeeded"]
    assert [record.state for record in records] == ends


async def test_cancelled_tasks_leave_a_record_that_expires_wherever_they_were(server: Server, own_rig: Rig) -> None:
    deed = Deed(held=True)

    async def act(payload: bytes, context: Context) -> Outcome:
        if payload == b"later":
            return Retry("NOT_YET", "Not yet.", delay_ms=60_000)
        return await deed(payload, context)

    async with working(server.url, act, slots=1, **SHORT):
        await own_rig.broker.submit(submission("waiting", b"later"))
        await eventually(lambda: own_rig.connection.command("ZCARD", own_rig.keys.schedule(0, LANE)))
        await own_rig.submit("running")
        await eventually(lambda: deed.running == 1)
        await own_rig.submit("queued")
        for name in ("waiting", "running", "queued"):
            assert (await own_rig.canceller.cancel(name)).state == "cancelled"


async def test_tasks_that_changed_hands_leave_a_record_that_expires(own_rig: Rig) -> None:
    first, second, third, fourth = await own_rig.submit_and_take("r1", "r2", "r3", "r4", consumer="dead")
    # Put off for longer than a lease, and then done at once all the same.
    handed = GiveBack(third, "r3", delay_ms=60_000, deliveries=1, reason="NOT_YET", message="Not yet.")
    assert await own_rig.broker.give_back("dead", handed)
    assert await own_rig.broker.settle("dead", settlement(third)) == "settled"
    await own_rig.silence(first, owner="dead")
    _, [taken] = await own_rig.broker.reclaim(0, LANE, "alive", cursor="0-0", count=10)
    assert await own_rig.broker.settle("dead", settlement(first)) == "lost"
    assert await own_rig.broker.settle("alive", settlement(taken)) == "settled"
    assert await own_rig.broker.settle("dead", settlement(first)) == "superseded"
    # Somebody deletes the consumer, and later the entry of another task.
    await own_rig.connection.command("XGROUP", "DELCONSUMER", own_rig.keys.stream(0, LANE), GROUP, "dead")
    _, adopted = await own_rig.broker.reclaim(0, LANE, "alive", cursor="0-0", count=10)
    assert [entry.entry_id for entry in adopted] == [second.entry_id, fourth.entry_id]
    await own_rig.connection.command("XDEL", own_rig.keys.stream(0, LANE), fourth.entry_id)
    for entry in (second, fourth):
        assert await own_rig.broker.settle("alive", settlement(entry)) == "settled"


async def test_tasks_with_an_ordering_key_leave_a_record_that_expires_and_no_chain(
    server: Server, own_rig: Rig
) -> None:
    payloads = ("succeed", "reject", "fail", "later", "succeed")
    given = [ordered(f"a:{number}", payload.encode()) for number, payload in enumerate(payloads)]
    await own_rig.broker.submit(ordered("b:1"))
    for name in ("b:2", "b:3"):
        await own_rig.broker.submit(ordered(name))
    for name in ("b:2", "b:1"):
        assert (await own_rig.canceller.cancel(name)).state == "cancelled"
    async with serving(own_rig.inbox()) as inbox, working(server.url, act_as_told, attempts_max=2, **SHORT):
        records = await asyncio.gather(*(ask(own_rig, inbox, task) for task in [*given, ordered("b:3")]))
    ends = ["succeeded", "failed", "dead_lettered", "succeeded", "succeeded", "succeeded"]
    assert [record.state for record in records] == ends


async def test_what_is_refused_and_what_is_only_asked_for_leaves_nothing(server: Server) -> None:
    async with open_rig(server.url, lane_cap=1) as rig, serving(rig.inbox()) as inbox:
        assert await rig.broker.lookup("unknown", inbox=inbox.name) is None
        with pytest.raises(NotFound):
            await rig.canceller.cancel("unknown")
        [entry] = await rig.submit_and_take("r1")
        with pytest.raises(LaneFull):
            await rig.broker.submit(submission("r2"), inbox=inbox.name)
        with pytest.raises(Conflict):
            await rig.broker.submit(submission("r1", b"other"), inbox=inbox.name)
        await rig.broker.settle("worker-1", settlement(entry))
        # The group goes, too, and comes back with the next worker.
        await rig.connection.command("FLUSHALL")
        assert not await rig.broker.renew("worker-1", entry)
        assert await rig.broker.settle("worker-1", settlement(entry)) == "lost"
        assert await rig.connection.command("DBSIZE") == 0


async def test_entries_of_strangers_and_of_unknown_kinds_leave_a_record_that_expires(
    server: Server, own_rig: Rig
) -> None:
    await own_rig.connection.command("XADD", own_rig.keys.stream(0, LANE), "*", b"\xfe", b"\x00\xff")
    await own_rig.broker.submit(submission("r1", kind="novel"))

    async def are_dead() -> bool:
        return len(await own_rig.dead_letters()) == 2

    async with working(server.url, answer_with_attempt, attempts_max=1, **SHORT):
        await eventually(are_dead)


async def test_agents_leave_a_line_that_expires(own_rig: Rig) -> None:
    now_ms = await own_rig.now_ms()
    for sequence in (1, 2, 5):
        await own_rig.agents.record(beat(sequence), seen_ms=now_ms)
    assert await own_rig.connection.command("DBSIZE") == 2


async def test_the_look_at_the_keys_finds_what_is_left_behind(own_rig: Rig) -> None:
    [entry] = await own_rig.submit_and_take("r1")
    await own_rig.connection.command("ZADD", own_rig.keys.schedule(0, LANE), 1, entry.entry_id)
    await own_rig.connection.command("SET", "edgescale:{p0}:lock:text", "worker-1", "PX", 60_000)
    await own_rig.connection.command("HSET", own_rig.keys.agent("a1"), "status", "ok")
    async with serving(own_rig.inbox()) as inbox:
        assert await left_behind(own_rig) == {
            own_rig.keys.stream(0, LANE): "not emptied",
            own_rig.keys.task("r1"): "does not expire",
            own_rig.keys.schedule(0, LANE): "unknown, or of use to an open task only",
            "edgescale:{p0}:lock:text": "unknown, or of use to an open task only",
            own_rig.keys.agent("a1"): "does not expire",
            own_rig.keys.channel(0, inbox.name): "somebody listens still",
        }
    await own_rig.connection.command("FLUSHALL")
