"""Replay: a dead letter goes back into its lane, once, and never over another life of its task."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.letters import Letter, LetterFilter, Replay
from edgescale.broker.model import GiveBack
from edgescale.broker.script import Script
from edgescale.errors import BrokerUnavailable, Overloaded
from edgescale.harness.chaos.fault_proxy import FaultProxy, proxied
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import Server
from tests.support import LANE, Rig, eventually, listening, open_rig, serving, settlement, submission

pytestmark = pytest.mark.everywhere


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    async with proxied(server.url) as running:
        yield running


async def replay(rig: Rig, name: str) -> Replay:
    """What becomes of one letter."""
    [replayed] = await rig.letters.replay([name])
    return replayed


async def only(rig: Rig) -> Letter:
    """The one letter there is."""
    [letter] = (await rig.letters.page()).letters
    return letter


async def test_a_replayed_task_is_queued_again_with_the_entry_that_was_sent(rig: Rig) -> None:
    await rig.bury("r1")
    before = await rig.fields("r1")

    replayed = await replay(rig, str((await only(rig)).id))

    assert (replayed.outcome, replayed.request_id, replayed.lane) == ("replayed", "r1", LANE)
    assert await rig.dead_letters() == []
    [entry] = await rig.take()
    assert entry.fields == {b"request_id": b"r1", b"envelope": submission("r1").envelope.encode()}
    assert entry.deliveries == 1
    after = await rig.fields("r1")
    assert after[b"state"] == b"queued"
    assert after[b"entry"] == entry.entry_id.encode()
    assert {name: after[name] for name in (b"digest", b"kind", b"lane", b"accepted_ms")} == {
        name: before[name] for name in (b"digest", b"kind", b"lane", b"accepted_ms")
    }


async def test_a_replayed_task_tells_how_it_had_ended_until_it_is_settled_again(rig: Rig) -> None:
    await rig.bury("r1", reason="FIRST")
    letter = await only(rig)
    await replay(rig, "r1")

    record = await rig.broker.lookup("r1")

    assert record is not None
    assert (record.state, record.replays, record.attempts, record.reason) == ("queued", 1, 0, "")
    assert record.buried is not None
    assert (record.buried.reason, record.buried.message, record.buried.attempts) == ("FIRST", "FIRST it was", 1)
    assert record.buried.buried_ms == letter.buried_ms
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry))
    record = await rig.broker.lookup("r1")
    assert record is not None
    assert (record.state, record.replays, record.buried) == ("succeeded", 1, None)


async def test_a_replayed_record_does_not_expire_while_it_is_open(rig: Rig) -> None:
    await rig.bury("r1")
    assert await rig.connection.command("PTTL", rig.keys.task("r1")) > 0

    await replay(rig, "r1")

    assert await rig.connection.command("PTTL", rig.keys.task("r1")) == -1
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry))
    assert await rig.connection.command("PTTL", rig.keys.task("r1")) > 0


async def test_who_asks_later_is_given_the_new_result(rig: Rig) -> None:
    async with serving(rig.inbox()) as inbox:
        await rig.bury("r1")
        assert (await inbox.wait_for("r1", 5)).state == "dead_lettered"
        await replay(rig, "r1")
        late = asyncio.create_task(inbox.wait_for("r1", 5))
        await eventually(lambda: inbox.open_requests == 1)
        await eventually(lambda: _attached(rig, inbox.name))
        [entry] = await rig.take()
        await rig.broker.settle("worker-1", settlement(entry, result=b"at last"))
        record = await late

    assert (record.state, record.result) == ("succeeded", b"at last")


async def _attached(rig: Rig, inbox: str) -> bool:
    return inbox in await rig.inboxes("r1")


@pytest.mark.slots_stay("a subscription ends as its slot goes")
async def test_sending_a_replayed_request_again_attaches_to_it(rig: Rig) -> None:
    await rig.bury("r1")
    await replay(rig, "r1")

    receipt = await rig.broker.submit(submission("r1"), inbox="box")

    assert not receipt.accepted
    assert await rig.backlog() == 1
    async with listening(rig, "box") as heard:
        [entry] = await rig.take()
        await rig.broker.settle("worker-1", settlement(entry))
        assert await heard() == [b"r1"]


@pytest.mark.one_partition
async def test_a_full_lane_takes_no_letter_back_and_nothing_is_changed(server: Server) -> None:
    async with open_rig(server.url, lane_caps="text=2") as rig:
        await rig.bury("r1")
        await rig.submit("r2", "r3")
        before, letters = await rig.fields("r1"), await rig.dead_letters()

        replayed = await replay(rig, "r1")

        assert (replayed.outcome, replayed.sentence) == ("full", "lane 'text' is full")
        assert await rig.fields("r1") == before
        assert await rig.dead_letters() == letters
        assert await rig.request_ids() == ["r2", "r3"]
        [entry, _] = await rig.take()
        await rig.broker.settle("worker-1", settlement(entry))
        assert (await replay(rig, "r1")).outcome == "replayed"


async def test_the_cap_is_shared_by_the_partitions(server: Server) -> None:
    async with open_rig(server.url, lane_caps="text=2", partitions=2) as rig:
        [one, two] = [f"r{number}" for number in range(9) if rig.keys.partition_of(f"r{number}") == 1][:2]
        await rig.bury(one)
        await rig.submit(two)

        assert (await replay(rig, one)).outcome == "full"


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_letter_whose_task_was_sent_anew_is_left_alone(state: str, rig: Rig) -> None:
    await rig.bury("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    await rig.submit("r1")
    if state == "running":
        await rig.take()

    replayed = await replay(rig, "r1")

    assert (replayed.outcome, replayed.state) == ("conflict", "queued")
    assert len(await rig.dead_letters()) == 1
    assert await rig.backlog() == 1


@pytest.mark.parametrize("state", ["succeeded", "failed", "dead_lettered"])
async def test_a_letter_whose_task_ended_in_another_life_is_left_alone(state: str, rig: Rig) -> None:
    await rig.bury("r1", reason="FIRST")
    letter = await only(rig)
    await rig.connection.command("DEL", rig.keys.task("r1"))
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry, state=state, reason="SECOND"))  # type: ignore[arg-type]
    before = await rig.fields("r1")

    replayed = await replay(rig, str(letter.id))

    assert (replayed.outcome, replayed.state) == ("conflict", state)
    assert replayed.sentence == f"task r1 has had another life since this letter: it is {state}"
    assert await rig.fields("r1") == before
    assert await rig.backlog() == 0


async def test_an_expired_record_is_made_anew_from_the_letter(rig: Rig) -> None:
    await rig.broker.submit(submission("r1", file_id="f1"))
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="R", message="m"))
    known = await rig.fields("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))

    assert (await replay(rig, "r1")).outcome == "replayed"

    made = await rig.fields("r1")
    for name in (b"digest", b"kind", b"lane", b"file_id", b"accepted_ms"):
        assert made[name] == known[name], name
    assert (made[b"state"], made[b"replays"], made[b"buried_reason"]) == (b"queued", b"1", b"R")
    assert not (await rig.broker.submit(submission("r1", file_id="f1"))).accepted


async def test_a_task_whose_entry_was_taken_away_by_hand_may_be_replayed(rig: Rig) -> None:
    await rig.bury("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    await rig.submit("r1")
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)

    assert (await replay(rig, "r1")).outcome == "replayed"
    assert await rig.request_ids() == ["r1"]


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_replay_whose_reply_is_lost_is_one_entry(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.bury("r1")
        await rig.connection.command("SCRIPT", "LOAD", Script.load("replay").body)
        proxy.lose_reply(b"replayed:", times=2)

        replayed = await replay(rig, "r1")

        assert proxy.replies_lost == 2
        assert replayed.outcome == "replayed"
        assert await rig.request_ids() == ["r1"]
        assert (await rig.fields("r1"))[b"replays"] == b"1"


@pytest.mark.one_server("the proxy of the test stands before one server")
async def test_a_caller_that_repeats_a_replay_is_told_that_it_was_done(proxy: FaultProxy) -> None:
    async with open_rig(proxy.url, redis_patience_ms=1) as rig:
        await rig.bury("r1")
        name = str((await only(rig)).id)
        await rig.connection.command("SCRIPT", "LOAD", Script.load("replay").body)
        proxy.lose_reply(b"replayed:")
        with pytest.raises(BrokerUnavailable):
            await replay(rig, name)

        assert (await replay(rig, name)).outcome == "replayed"
        assert await rig.request_ids() == ["r1"]


async def test_two_who_replay_the_same_letter_queue_it_once(rig: Rig) -> None:
    await rig.bury("r1")
    name = str((await only(rig)).id)
    other = DeadLetters(rig.connection, rig.keys, rig.settings, rig.chance)

    outcomes = await asyncio.gather(rig.letters.replay([name]), other.replay([name]))

    assert [replayed.outcome for [replayed] in outcomes] == ["replayed", "replayed"]
    assert await rig.request_ids() == ["r1"]


async def test_a_settlement_that_is_repeated_after_the_replay_changes_nothing(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    done = settlement(entry, state="dead_lettered", reason="R")
    await rig.broker.settle("worker-1", done)
    await replay(rig, "r1")

    assert await rig.broker.settle("worker-1", done) == "lost"
    assert (await rig.fields("r1"))[b"state"] == b"queued"
    assert await rig.dead_letters() == []


async def test_a_letter_that_is_not_there_cannot_be_replayed(rig: Rig) -> None:
    for name in ("0-1-1", "nobody", "7-1-1", "999999-99999999999999999999-0"):
        replayed = await replay(rig, name)
        assert replayed.outcome == "missing"
        assert name in replayed.sentence


async def test_a_letter_without_its_bytes_cannot_be_replayed(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("XDEL", rig.keys.stream(0, LANE), entry.entry_id)
    await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered"))

    assert (await replay(rig, "r1")).outcome == "empty"
    assert len(await rig.dead_letters()) == 1


@pytest.mark.one_partition
async def test_an_undecodable_letter_is_replayed_as_it_was_and_buried_again(rig: Rig) -> None:
    fields = ("request_id", "bad", "envelope", b"\xff\x00", "more", b"\x80")
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", *fields)
    for replays in (0, 1):
        [entry] = await rig.take()
        assert entry.fields == {b"request_id": b"bad", b"envelope": b"\xff\x00", b"more": b"\x80"}
        await rig.broker.settle("worker-1", settlement(entry, "bad", state="dead_lettered", reason="UNDECODABLE"))
        letter = await rig.letters.show("bad")
        assert (letter.replays, letter.fields) == (replays, entry.fields)
        assert (await replay(rig, "bad")).outcome == "replayed"


async def test_an_entry_that_names_no_task_leaves_no_open_task_behind(rig: Rig) -> None:
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", "who", "knows")
    [entry] = await rig.take()
    name = f"entry-{entry.entry_id}"
    await rig.broker.settle("worker-1", settlement(entry, name, state="dead_lettered", reason="UNDECODABLE"))

    assert (await replay(rig, name)).outcome == "replayed"

    assert await rig.broker.lookup(name) is None
    [again] = await rig.take()
    assert again.fields == {b"who": b"knows"}
    await rig.broker.settle(
        "worker-1", settlement(again, f"entry-{again.entry_id}", state="dead_lettered", reason="UNDECODABLE")
    )
    assert (await only(rig)).request_id == f"entry-{again.entry_id}"


async def test_an_entry_with_a_thousand_fields_and_more_is_replayed_as_far_as_it_was_kept(rig: Rig) -> None:
    pairs = [part for number in range(5_000) for part in (f"field-{number}", "value")]
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", *pairs)
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry, "r1", state="dead_lettered", reason="UNDECODABLE"))

    assert (await replay(rig, "r1")).outcome == "replayed"
    [again] = await rig.take()
    assert len(again.fields) == 1_000


async def test_a_server_that_is_out_of_memory_takes_nothing_back(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url) as rig:
        await rig.bury("r1")
        before, letters = await rig.fields("r1"), await rig.dead_letters()
        await rig.connection.command("CONFIG", "SET", "maxmemory", "1")

        with pytest.raises(Overloaded):
            await replay(rig, "r1")

        assert (await rig.fields("r1"), await rig.dead_letters()) == (before, letters)
        assert await rig.backlog() == 0
        await rig.connection.command("CONFIG", "SET", "maxmemory", "0")


# Several.


async def test_all_that_match_are_replayed_and_others_stay(rig: Rig) -> None:
    await rig.bury("r1", "r2", reason="ONE")
    await rig.bury("r3", reason="TWO")

    progress = await rig.letters.replay_all(LetterFilter(reason="ONE"), most=10)

    assert [each.request_id for each in progress.replays] == ["r2", "r1"]
    assert {each.outcome for each in progress.replays} == {"replayed"}
    assert progress.next_page_token == ""
    assert [letter.request_id for letter in (await rig.letters.page()).letters] == ["r3"]


@pytest.mark.one_partition
async def test_replaying_goes_on_where_it_stopped(rig: Rig) -> None:
    names = [f"r{number}" for number in range(5)]
    await rig.bury(*names)
    replayed, token = [], ""
    for _ in range(3):
        progress = await rig.letters.replay_all(most=2, token=token)
        replayed += [each.request_id for each in progress.replays]
        token = progress.next_page_token

    assert replayed == names[::-1]
    assert token == ""
    assert await rig.backlog() == 5


@pytest.mark.one_partition
async def test_who_has_no_time_left_does_one_and_says_where_to_go_on(rig: Rig) -> None:
    await rig.bury("r1", "r2", "r3")

    progress = await rig.letters.replay_all(most=9, until=asyncio.get_running_loop().time())

    assert [each.request_id for each in progress.replays] == ["r3"]
    assert len(await rig.dead_letters()) == 2
    rest = await rig.letters.replay_all(most=9, token=progress.next_page_token)
    assert [each.request_id for each in rest.replays] == ["r2", "r1"]


@pytest.mark.one_partition
async def test_all_who_replay_share_one_pace_and_each_may_be_slower(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(round(seconds, 1))

    async with open_rig(server.url, replays_per_second=10) as rig:
        await rig.bury("r1", "r2", "r3", "r4", "r5")
        # Not asyncio's own: others sleep, too.
        clock = SimpleNamespace(sleep=note, get_running_loop=asyncio.get_running_loop)
        monkeypatch.setattr("edgescale.broker.pace.asyncio", clock)
        await rig.letters.replay_all(most=3, per_second=1_000)
        quick, waits = waits, []
        await rig.letters.replay(["r1", "r2"], per_second=1)

    # By the loop's clock hardly any time passes here, so that each waits behind the one before. A call waits by its own
    # pace first, and then by that of all.
    assert quick == [0, 0, 0, 0.1, 0, 0.2]
    assert waits == [0, 0.3, 1, 0.4]


# What a letter tells.


async def test_a_letter_tells_of_every_attempt_and_of_those_of_which_nothing_is_known(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1", consumer="worker-1")
    handed = GiveBack(entry, "r1", 0, 1, reason="FIRST", message="at first")
    assert await rig.broker.give_back("worker-1", handed)
    assert await rig.broker.give_back("worker-1", handed)
    _, [entry] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=1)
    await rig.silence(entry, owner="worker-2")
    _, [entry] = await rig.broker.reclaim(0, LANE, "worker-3", cursor="0-0", count=1)
    await rig.broker.settle("worker-3", settlement(entry, state="dead_lettered", reason="LAST", message="in the end"))

    letter = await rig.letters.show("r1")

    told = [(attempt.number, attempt.worker, attempt.reason) for attempt in letter.history]
    assert told == [(1, "worker-1", "FIRST"), (2, "", ""), (3, "worker-3", "LAST")]
    assert all(bool(attempt.ended_ms) == bool(attempt.worker) for attempt in letter.history)
    assert (letter.reason, letter.message, letter.attempts) == ("LAST", "in the end", 3)
    assert b"history" not in await rig.fields("r1")


async def test_what_a_draining_worker_hands_back_is_no_attempt(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.give_back("worker-1", GiveBack(entry, "r1", 0, 0))

    assert b"history" not in await rig.fields("r1")


async def test_the_history_goes_on_after_a_replay(rig: Rig) -> None:
    await rig.bury("r1", reason="FIRST")
    await replay(rig, "r1")
    [entry] = await rig.take()
    await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="SECOND"))

    letter = await rig.letters.show("r1")

    assert letter.replays == 1
    assert [(attempt.replays, attempt.number, attempt.reason) for attempt in letter.history] == [
        (0, 1, "FIRST"),
        (1, 1, "SECOND"),
    ]


async def test_a_history_is_bounded_and_the_oldest_goes_first(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    for attempt in range(1, 60):
        handed = GiveBack(entry, "r1", 0, attempt, reason=f"R{attempt}" + "x" * 100)
        assert await rig.broker.give_back("worker-1", handed)
        _, [entry] = await rig.broker.reclaim(0, LANE, "worker-1", cursor="0-0", count=1)

    assert len((await rig.fields("r1"))[b"history"]) <= 4096
    await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered", reason="LAST"))
    history = (await rig.letters.show("r1")).history
    assert [attempt.number for attempt in history] == list(range(1, 61))
    assert [attempt.reason[:4] for attempt in history if attempt.reason][-3:] == ["R58x", "R59x", "LAST"]
    assert history[0].worker == ""


@pytest.mark.parametrize("reason", ['say "no"\\', "line\nbreak\ttab\x00\x7f", "Grüße, 日本", "x" * 1_000])
async def test_any_words_survive_in_a_history(reason: str, rig: Rig) -> None:
    await rig.bury("r1", reason=reason, consumer="worker-1")

    [attempt] = (await rig.letters.show("r1")).history

    assert (attempt.number, attempt.reason, attempt.worker) == (1, reason, "worker-1")
