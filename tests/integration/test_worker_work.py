"""A worker at work: what it takes, and what becomes of a task whatever its bytes are and its handler answers."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import pytest

from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Submission
from edgescale.envelope import Envelope
from edgescale.errors import InvalidInput, StoreUnavailable
from edgescale.handlers.base import Context, Outcome, Rejected, Retry
from edgescale.handlers.policy import Policy
from tests.parts import Act, Deed, answer_with_attempt, ask, said, working
from tests.servers import Server
from tests.support import LANE, Rig, eventually, submission

pytestmark = pytest.mark.everywhere

LONG_LEASE_MS = 60_000


async def test_two_workers_on_a_lane_do_every_task_once(server: Server, rig: Rig, inbox: Inbox) -> None:
    first, second = Deed(), Deed()
    names = [f"r{number}" for number in range(200)]
    async with working(server.url, first), working(server.url, second):
        records = await asyncio.gather(*(ask(rig, inbox, name) for name in names))
    assert Counter(first.ended + second.ended) == dict.fromkeys(names, 1)
    assert [said(record) for record in records] == [f"{name} by attempt 1" for name in names]
    assert await rig.backlog() == 0
    assert await rig.pending() == []


@pytest.mark.one_partition
async def test_a_worker_takes_no_more_than_it_has_free_slots_for(server: Server, rig: Rig) -> None:
    held, names = Deed(held=True), [f"r{number}" for number in range(12)]
    async with working(server.url, held, slots=3, lease_ms=LONG_LEASE_MS):
        await rig.submit(*names)
        await eventually(lambda: held.running == 3)
        for _ in range(20):
            assert len(await rig.pending()) == 3
        held.gate.set()
        await eventually(lambda: sorted(held.ended) == sorted(names))


async def test_what_one_worker_has_no_slot_for_is_done_by_another(server: Server, rig: Rig) -> None:
    held, free = Deed(held=True), Deed()
    async with working(server.url, held, slots=1, lease_ms=LONG_LEASE_MS):
        await rig.submit("r0")
        await eventually(lambda: held.running == 1)
        async with working(server.url, free, slots=1, lease_ms=LONG_LEASE_MS):
            await rig.submit("r1", "r2", "r3")
            await eventually(lambda: sorted(free.ended) == ["r1", "r2", "r3"])
        held.gate.set()
        await eventually(lambda: held.ended == ["r0"])


@pytest.mark.one_partition
async def test_tasks_that_waited_for_the_first_worker_are_done_oldest_first(server: Server, rig: Rig) -> None:
    deed, names = Deed(), [f"r{number}" for number in range(10)]
    for name in names:
        await rig.submit(name)
    async with working(server.url, deed, slots=1):
        await eventually(lambda: deed.ended == names)


async def failing(payload: bytes, context: Context) -> Outcome:
    del payload, context
    return Retry("NOT_YET", "It never works.", delay_ms=0)


async def raising(payload: bytes, context: Context) -> Outcome:
    del payload, context
    raise ZeroDivisionError("secret")


async def hanging(payload: bytes, context: Context) -> Outcome:
    return await Deed(held=True)(payload, context)


@pytest.mark.parametrize(
    ("act", "reason", "message"),
    [
        (failing, "NOT_YET", "It never works."),
        (raising, "HANDLER_ERROR", "the handler raised ZeroDivisionError"),
        (hanging, "TIMEOUT", "the handler took longer than 20 ms"),
    ],
)
async def test_a_task_that_fails_as_often_as_allowed_is_dead_lettered_and_its_waiter_told(
    server: Server, rig: Rig, inbox: Inbox, act: Act, reason: str, message: str
) -> None:
    async with working(server.url, act, attempts_max=3, handler_timeout_ms=20):
        record = await ask(rig, inbox, submission("r1", b"poison"))
    assert (record.state, record.reason, record.message, record.attempts) == ("dead_lettered", reason, message, 3)
    [letter] = await rig.dead_letters()
    assert letter[b"request_id"] == b"r1"
    assert (letter[b"reason"], letter[b"attempts"]) == (reason.encode(), b"3")
    assert letter[b"entry.envelope"] == submission("r1", b"poison").envelope.encode()
    assert await rig.backlog() == 0


async def test_poison_does_not_keep_the_others_waiting(server: Server, rig: Rig, inbox: Inbox) -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        if payload == b"poison":
            raise ZeroDivisionError
        return await answer_with_attempt(payload, context)

    names = [f"r{number}" for number in range(20)]
    async with working(server.url, act, attempts_max=3, slots=2):
        poison = asyncio.create_task(ask(rig, inbox, submission("bad", b"poison")))
        records = await asyncio.gather(*(ask(rig, inbox, name) for name in names))
        assert {record.state for record in records} == {"succeeded"}
        assert (await poison).state == "dead_lettered"


async def test_a_failed_attempt_is_followed_by_the_next_and_its_reason_is_on_record_meanwhile(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        if context.attempt == 1:
            return Retry("NOT_YET", "Not yet.", delay_ms=300)
        return await answer_with_attempt(payload, context)

    async with working(server.url, act):
        answer = asyncio.create_task(ask(rig, inbox, "r1"))
        await eventually(lambda: _reason(rig))
        record = await answer
    assert (record.state, record.attempts, said(record)) == ("succeeded", 2, "r1 by attempt 2")
    assert (record.reason, record.message) == ("", "")


async def _reason(rig: Rig) -> bool:
    return (await rig.fields("r1"))[b"reason"] == b"NOT_YET"


@pytest.mark.parametrize("delay_ms", [0, 250])
async def test_a_retry_comes_after_its_delay_and_soon_after(
    server: Server, rig: Rig, inbox: Inbox, delay_ms: int
) -> None:
    loop = asyncio.get_running_loop()
    begun: list[float] = []

    async def act(payload: bytes, context: Context) -> Outcome:
        begun.append(loop.time())
        if context.attempt == 1:
            return Retry("NOT_YET", "Not yet.", delay_ms=delay_ms)
        return await answer_with_attempt(payload, context)

    async with working(server.url, act, lease_ms=LONG_LEASE_MS):
        await ask(rig, inbox, "r1")
    assert delay_ms <= (begun[1] - begun[0]) * 1000 < delay_ms + 1_500


@pytest.mark.parametrize(
    ("trouble", "reason", "message"),
    [
        (Rejected("TOO_OLD", "It is too old."), "TOO_OLD", "It is too old."),
        (InvalidInput("text", "must not be empty"), "INVALID_INPUT", "text: must not be empty"),
    ],
)
async def test_a_rejected_task_fails_at_its_first_attempt_and_is_no_dead_letter(
    server: Server, rig: Rig, inbox: Inbox, trouble: Rejected | InvalidInput, reason: str, message: str
) -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        del payload, context
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    async with working(server.url, act):
        record = await ask(rig, inbox, "r1")
    assert (record.state, record.reason, record.message, record.attempts) == ("failed", reason, message, 1)
    assert await rig.dead_letters() == []


async def test_trouble_that_passes_is_tried_again(server: Server, rig: Rig, inbox: Inbox) -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        if context.attempt < 3:
            raise StoreUnavailable("The store is away.")
        return await answer_with_attempt(payload, context)

    async with working(server.url, act):
        assert said(await ask(rig, inbox, "r1")) == "r1 by attempt 3"


async def test_a_kind_that_one_worker_does_not_know_is_done_by_one_that_does(
    server: Server, rig: Rig, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    deed = Deed()
    changes: dict[str, Any] = {"attempts_max": 50, "lease_ms": 200}
    # Who does not know it may be given it many times in a row: the pauses must not grow to minutes.
    monkeypatch.setattr("edgescale.handlers.registry.Policy", partial(Policy, backoff_max_ms=400))
    async with working(server.url, deed, **changes), working(server.url, deed, kind="novel", **changes):
        asked = [ask(rig, inbox, submission(f"r{number}", kind="novel"), timeout_s=60) for number in range(5)]
        records = await asyncio.gather(*asked)
    assert {(record.state, record.kind) for record in records} == {("succeeded", "novel")}
    assert {context.kind for context in deed.begun} == {"novel"}


async def test_a_kind_that_nobody_knows_is_dead_lettered(server: Server, rig: Rig, inbox: Inbox) -> None:
    async with working(server.url, Deed(), attempts_max=2):
        record = await ask(rig, inbox, submission("r1", kind="novel"))
    assert (record.state, record.reason, record.kind) == ("dead_lettered", "UNKNOWN_KIND", "novel")


class Garbled(Envelope):
    """An envelope that was spoilt on its way."""

    def encode(self) -> bytes:
        return b"\xff\x00spoilt"


async def test_an_entry_that_does_not_decode_is_kept_with_its_bytes_and_its_waiter_told(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    async with working(server.url, answer_with_attempt):
        record = await ask(rig, inbox, Submission(Garbled("r1", "text", b""), LANE, "digest"))
        assert said(await ask(rig, inbox, "r2")) == "r2 by attempt 1"
    assert (record.state, record.reason) == ("dead_lettered", "UNDECODABLE")
    [letter] = await rig.dead_letters()
    assert letter[b"entry.envelope"] == b"\xff\x00spoilt"
    assert letter[b"reason"] == b"UNDECODABLE"


@pytest.mark.one_partition
async def test_an_entry_from_a_stranger_is_kept_with_its_bytes_and_the_rest_flows_on(
    server: Server, rig: Rig, inbox: Inbox
) -> None:
    added = await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", b"\xfe", b"\x00\xff", "other", "field")
    async with working(server.url, answer_with_attempt):
        await ask(rig, inbox, "r1")
        [letter] = await eventually(rig.dead_letters)
    assert (letter[b"entry.\xfe"], letter[b"entry.other"]) == (b"\x00\xff", b"field")
    assert (letter[b"reason"], letter[b"entry"]) == (b"UNDECODABLE", added)
    record = await rig.broker.lookup(f"entry-{added.decode()}")
    assert record is not None
    assert record.state == "dead_lettered"
    assert await rig.backlog() == 0
