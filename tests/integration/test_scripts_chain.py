"""Tasks of one ordering key: the first of them is in the stream, and the next one's turn comes when it has ended.

Whatever a test does with a chain, afterwards nothing of it may be left.
"""

from collections.abc import AsyncIterator
from typing import get_args

import pytest

from edgescale.broker.inspect import LaneInspector
from edgescale.broker.keys import GROUP
from edgescale.broker.model import Entry, GiveBack, Settlement, TerminalState
from edgescale.errors import Conflict, LaneFull
from tests.ordered import chain, ordered, queued, submit_in_order, waiting
from tests.servers import Server
from tests.support import LANE, Rig, all_of, open_rig, settlement, submission


@pytest.fixture(autouse=True)
async def nothing_is_left_of_a_chain(rig: Rig) -> AsyncIterator[None]:
    yield
    while entries := await rig.take():
        for entry in entries:
            assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"
    for key in await rig.connection.command("KEYS", "*:chain:*"):
        assert await rig.connection.command("ZRANGE", key, 0, -1) == []
    assert await waiting(rig) == []


async def settle_one(rig: Rig, **outcome: str) -> str:
    """Have a worker take whatever is first in the stream, and settle it; its request id."""
    [entry] = await rig.take(1)
    assert await rig.broker.settle("worker-1", settlement(entry, **outcome)) == "settled"  # type: ignore[arg-type]
    return entry.fields[b"request_id"].decode()


async def test_the_first_of_a_key_is_in_the_stream_and_the_others_wait(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "b:1", "a:3")
    assert await queued(rig) == ["a:1", "b:1"]
    assert await waiting(rig) == ["a:2", "a:3"]
    assert await chain(rig, "a") == ["a:1", "a:2", "a:3"]
    assert await chain(rig, "b") == ["b:1"]
    await rig.broker.ensure_group(0, LANE)


async def test_each_is_told_as_queued_and_when_it_was_accepted(rig: Rig) -> None:
    first = await rig.broker.submit(ordered("a:1"))
    second = await rig.broker.submit(ordered("a:2"))
    assert (first.accepted, second.accepted) == (True, True)
    assert (first.record.entry != "", second.record.entry) == (True, "")
    record = await rig.broker.lookup("a:2")
    assert record == second.record
    assert (record.state, record.ordering_key) == ("queued", "a")
    assert await rig.broker.deliveries(second.record) == 0
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry))
    [entry] = await rig.take()
    assert entry.accepted_ms == second.record.accepted_ms, "not when its turn came"
    assert await rig.broker.deliveries(second.record) == 1, "it is running now, though its record tells of no entry"
    await rig.broker.settle("worker-1", settlement(entry))


@pytest.mark.parametrize("state", get_args(TerminalState))
async def test_when_one_has_ended_however_the_next_ones_turn_comes(rig: Rig, state: TerminalState) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3")
    assert [await settle_one(rig, state=state) for _ in range(3)] == ["a:1", "a:2", "a:3"]
    assert await rig.backlog() == 0


async def test_keys_of_different_lanes_do_not_hold_each_other_up(rig: Rig) -> None:
    await rig.broker.submit(ordered("a:1"))
    await rig.broker.submit(ordered("a:2", lane="file"))
    assert (await queued(rig), await queued(rig, "file")) == (["a:1"], ["a:2"])
    [entry] = await rig.take(lane="file")
    await rig.broker.settle("worker-1", settlement(entry))


async def test_a_settlement_that_is_repeated_lets_nobody_else_go(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3")
    [entry] = await rig.take()
    for _ in range(2):
        assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"
    assert await queued(rig) == ["a:2"]


async def test_who_lost_the_entry_lets_nobody_go(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    [entry] = await rig.take()
    await rig.silence(entry)
    _, [taken] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
    assert await rig.broker.settle("worker-1", settlement(entry)) == "lost"
    assert await queued(rig) == ["a:1"]
    assert await rig.broker.settle("worker-2", settlement(taken)) == "settled"
    assert await rig.broker.settle("worker-1", settlement(entry)) == "superseded"
    assert await queued(rig) == ["a:2"]


@pytest.mark.parametrize("delay_ms", [0, 3_600_000])
async def test_one_that_waits_for_its_next_try_keeps_its_place(rig: Rig, delay_ms: int) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    [entry] = await rig.take()
    assert await rig.broker.give_back("worker-1", GiveBack(entry, "a:1", delay_ms, 1, "WHY", "because"))
    assert await rig.take() == [], "whoever is behind it waits"
    assert await chain(rig, "a") == ["a:1", "a:2"]
    await rig.canceller.cancel("a:1")


async def test_an_entry_that_does_not_decode_lets_the_next_one_go(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    [entry] = await rig.take()
    damaged = Entry(0, LANE, entry.entry_id, 1, {**entry.fields, b"envelope": b"\xff"})
    buried = Settlement(damaged, "a:1", "", "dead_lettered", reason="ENVELOPE")
    assert await rig.broker.settle("worker-1", buried) == "settled"
    assert await queued(rig) == ["a:2"]


async def test_one_that_waits_is_cancelled_where_it_stands(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3")
    record = await rig.canceller.cancel("a:2")
    assert (record.state, record.attempts) == ("cancelled", 0)
    assert await rig.canceller.cancel("a:2") == record
    assert b"place" not in await rig.fields("a:2")
    assert (await chain(rig, "a"), await waiting(rig)) == (["a:1", "a:3"], ["a:3"])


@pytest.mark.parametrize("takes", [0, 1])
@pytest.mark.parametrize("before", [[], ["a:0"]])
async def test_when_the_first_is_cancelled_the_next_ones_turn_comes(rig: Rig, takes: int, before: list[str]) -> None:
    await submit_in_order(rig, *before, "a:1", "a:2")
    for _ in before:
        await settle_one(rig)
    entries = await rig.take() if takes else []
    record = await rig.canceller.cancel("a:1")
    assert (record.state, record.attempts) == ("cancelled", takes)
    assert await queued(rig) == ["a:2"]
    for entry in entries:
        assert await rig.broker.settle("worker-1", settlement(entry)) == "superseded"
    assert await queued(rig) == ["a:2"], "nobody else was let go"


async def test_the_last_of_a_chain_takes_the_chain_along(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    await rig.canceller.cancel("a:2")
    await rig.canceller.cancel("a:1")
    assert await rig.connection.command("KEYS", "*:chain:*") == []
    await rig.broker.ensure_group(0, LANE)


@pytest.mark.one_partition
async def test_those_who_wait_count_against_the_cap(server: Server) -> None:
    async with open_rig(server.url, lane_cap=3) as small:
        await submit_in_order(small, "a:1", "a:2", "a:3")
        for refused in (ordered("a:4"), submission("r1")):
            with pytest.raises(LaneFull):
                await small.broker.submit(refused)
        with pytest.raises(LaneFull):
            await small.broker.room(LANE, "r1")
        [status] = await LaneInspector(small.connection, small.keys, small.settings).lanes([LANE])
        assert (status.backlog, status.running) == (3, 0)
        await settle_one(small)
        await small.broker.room(LANE, "r1")
        assert (await small.broker.submit(submission("r1"))).accepted


@pytest.mark.one_partition
async def test_within_one_batch_too(server: Server) -> None:
    async with open_rig(server.url, lane_cap=3) as small:
        answers = await all_of([small.broker.submit(ordered(f"a:{number}")) for number in range(6)])
        assert [isinstance(answer, LaneFull) for answer in answers] == [False] * 3 + [True] * 3


async def test_the_oldest_age_is_that_of_whoever_waits_longest(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    old = (await rig.broker.lookup("a:2")) or pytest.fail("it is there")
    await settle_one(rig)
    [status] = await LaneInspector(rig.connection, rig.keys, rig.settings).lanes([LANE])
    assert status.oldest_age_ms is not None
    assert status.oldest_age_ms >= await rig.now_ms() - old.accepted_ms - 1_000


async def test_who_is_sent_again_keeps_its_place(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3", "a:2", "a:1")
    assert await chain(rig, "a") == ["a:1", "a:2", "a:3"]
    with pytest.raises(Conflict):
        await rig.broker.submit(ordered("a:2", b"other content"))
    assert (await rig.fields("a:2"))[b"state"] == b"queued"


async def test_a_first_one_that_was_taken_away_is_noticed_by_the_next_submission(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)
    await rig.broker.submit(ordered("a:3"))
    assert (await queued(rig), await waiting(rig)) == (["a:2"], ["a:3"])
    assert (await rig.broker.submit(ordered("a:1"))).accepted
    assert await chain(rig, "a") == ["a:2", "a:3", "a:1"], "in the order of resubmission"


@pytest.mark.parametrize("asked", ["a:1", "a:2", "a:3"])
async def test_and_by_whoever_asks_for_one_of_them(rig: Rig, asked: str) -> None:
    await submit_in_order(rig, "a:0", "a:1", "a:2", "a:3")
    await settle_one(rig)
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)
    record = await rig.broker.lookup(asked, inbox="box")
    assert (record is None) == (asked == "a:1")
    assert await chain(rig, "a") == ["a:2", "a:3"]
    assert await queued(rig) == ["a:2"]


async def test_a_running_one_whose_entry_was_taken_away_is_still_the_first(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    [entry] = await rig.take()
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)
    await rig.broker.lookup("a:2")
    assert await queued(rig) == []
    assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"
    assert await queued(rig) == ["a:2"]


async def test_who_was_taken_out_of_those_who_wait_is_passed_over_and_may_come_again(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3")
    [(place, _)] = await rig.connection.command("XRANGE", rig.keys.waiting(0, LANE), "-", "+", "COUNT", 1)
    await rig.connection.command("XDEL", rig.keys.waiting(0, LANE), place)
    assert await rig.broker.lookup("a:2") is None
    assert await rig.broker.lookup("a:3") is not None
    await settle_one(rig)
    assert await queued(rig) == ["a:3"]
    assert (await rig.broker.submit(ordered("a:2"))).accepted
    assert await chain(rig, "a") == ["a:3", "a:2"]


async def test_where_a_chain_is_gone_those_of_it_may_come_again(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    await rig.connection.command("DEL", rig.keys.chain(0, LANE, "a"))
    assert await rig.broker.lookup("a:1") is not None
    assert await rig.broker.lookup("a:2") is None
    assert (await rig.broker.submit(ordered("a:2"))).accepted
    assert await rig.backlog() == 2
    assert await waiting(rig) == [], "its old place is given up"


async def test_after_a_flush_the_order_is_that_of_coming_again(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2", "a:3")
    [entry] = await rig.take()
    await rig.connection.command("FLUSHALL")
    await submit_in_order(rig, "a:3", "a:1")
    assert await rig.broker.settle("worker-1", settlement(entry)) == "lost"
    assert await chain(rig, "a") == ["a:3", "a:1"]
    assert await queued(rig) == ["a:3"]


async def test_a_group_that_is_made_anew_gives_out_the_first_alone(rig: Rig) -> None:
    await submit_in_order(rig, "a:1", "a:2")
    await rig.take()
    await rig.connection.command("XGROUP", "DESTROY", rig.keys.stream(0, LANE), GROUP)
    assert [entry.fields[b"request_id"] for entry in await rig.take(consumer="worker-2")] == [b"a:1"]
    await rig.canceller.cancel("a:1")


async def test_a_dead_letter_is_put_back_at_the_end_of_its_chain(rig: Rig) -> None:
    await submit_in_order(rig, "a:0", "a:1", "a:2", "a:3")
    await settle_one(rig)
    await settle_one(rig, state="dead_lettered", reason="WHY", message="because")
    [letter] = (await rig.letters.page()).letters
    assert letter.ordering_key == "a"
    for _ in range(2):
        [replay] = await rig.letters.replay([str(letter.id)])
        assert replay.outcome == "replayed"
    assert await chain(rig, "a") == ["a:2", "a:3", "a:1"]
    record = await rig.broker.lookup("a:1")
    assert record is not None
    assert (record.state, record.entry, record.ordering_key, record.replays) == ("queued", "", "a", 1)
    for _ in range(2):
        await settle_one(rig)
    [entry] = await rig.take()
    assert entry.accepted_ms >= letter.buried_ms, "as if it had been accepted when it was put back"
    await rig.broker.settle("worker-1", settlement(entry))


async def test_a_dead_letter_whose_chain_is_empty_is_put_back_into_the_stream(rig: Rig) -> None:
    await submit_in_order(rig, "a:0", "a:1")
    await settle_one(rig)
    await settle_one(rig, state="dead_lettered", reason="WHY", message="because")
    [letter] = (await rig.letters.page()).letters
    await rig.letters.replay([str(letter.id)])
    assert (await queued(rig), await chain(rig, "a")) == (["a:1"], ["a:1"])
    [entry] = await rig.take()
    assert b"accepted_ms" not in entry.fields, "it is accepted now, and has not waited since"
    await rig.broker.settle("worker-1", settlement(entry))


async def test_an_entry_without_a_name_lets_the_next_one_go_after_its_replay(rig: Rig) -> None:
    stream = rig.keys.stream(0, LANE)
    await rig.connection.command("XADD", stream, "*", "ordering_key", "a", "what", "is this")
    [stranger] = await rig.take()
    named = f"entry-{stranger.entry_id}"
    buried = Settlement(stranger, named, "", "dead_lettered", reason="ENVELOPE")
    assert await rig.broker.settle("worker-1", buried) == "settled"
    assert [replay.outcome for replay in await rig.letters.replay([named])] == ["replayed"]
    await submit_in_order(rig, "a:1")
    assert await waiting(rig) == ["a:1"]
    [again] = await rig.take()
    buried = Settlement(again, f"entry-{again.entry_id}", "", "dead_lettered", reason="ENVELOPE")
    assert await rig.broker.settle("worker-1", buried) == "settled"
    assert await queued(rig) == ["a:1"]


async def test_all_of_a_key_are_in_one_partition_and_in_their_order(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as wide:
        names = [f"{key}:{number}" for number in range(3) for key in "abcdef"]
        await submit_in_order(wide, *names)
        assert sorted(await queued(wide)) == [f"{key}:0" for key in "abcdef"]
        ended: list[str] = []
        while entries := await wide.take(20):
            for entry in entries:
                await wide.broker.settle("worker-1", settlement(entry))
                ended.append(entry.fields[b"request_id"].decode())
        assert {key: [name for name in ended if name.startswith(key)] for key in "abcdef"} == {
            key: [f"{key}:{number}" for number in range(3)] for key in "abcdef"
        }
        assert await wide.connection.command("KEYS", "*:chain:*") == []
