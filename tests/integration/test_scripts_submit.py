"""submit.lua: accepted, known, conflict, full; the cap; nothing twice, nothing trimmed."""

import asyncio

import pytest

from edgescale.broker.model import Receipt
from edgescale.envelope import Envelope
from edgescale.errors import Conflict, LaneFull, Overloaded
from edgescale.local.valkey import EmbeddedValkey
from tests.servers import Server
from tests.support import LANE, Rig, all_of, open_rig, settlement, submission


async def request_ids(rig: Rig, lane: str = LANE) -> list[str]:
    """Of the lane's entries, oldest first."""
    ids = []
    for partition in range(rig.keys.partitions):
        rows = await rig.connection.command("XRANGE", rig.keys.stream(partition, lane), "-", "+")
        ids += [flat[1].decode() for _, flat in rows]
    return ids


async def inboxes(rig: Rig, request_id: str) -> list[str]:
    return (await rig.fields(request_id))[b"inboxes"].decode().split(",")


async def test_an_accepted_task_is_in_its_stream_and_on_record(rig: Rig) -> None:
    given = submission("r1", bytes(range(256)), file_id="f1")
    receipt = await rig.broker.submit(given, inbox="box")
    [entry] = await rig.take()
    assert Envelope.decode(entry.fields) == given.envelope
    stored = await rig.fields("r1")
    accepted_ms = int(stored.pop(b"accepted_ms"))
    assert stored == {
        b"state": b"queued",
        b"kind": b"text",
        b"lane": b"text",
        b"digest": given.digest.encode(),
        b"file_id": b"f1",
        b"entry": entry.entry_id.encode(),
        b"inboxes": b"box",
    }
    assert abs(accepted_ms - entry.accepted_ms) < 1_000
    assert receipt == Receipt(accepted=True, record=given.record(entry.entry_id))


async def test_a_task_that_is_open_does_not_expire(rig: Rig) -> None:
    await rig.submit_and_take("r1")
    assert await rig.connection.command("PTTL", rig.keys.task("r1")) == -1


async def test_a_batch_shares_one_round_trip_and_each_caller_gets_its_own_answer(server: Server) -> None:
    async with open_rig(server.url, lane_caps={"tiny": 1}) as rig:
        await rig.submit("old", "warm")
        await rig.connection.command("CONFIG", "RESETSTAT")
        outcomes = await all_of(
            [
                rig.broker.submit(submission("new")),
                rig.broker.submit(submission("old")),
                rig.broker.submit(submission("old", b"other content")),
                rig.broker.submit(submission("first", lane="tiny")),
                rig.broker.submit(submission("second", lane="tiny")),
                rig.broker.submit(submission("last")),
            ]
        )
        assert await rig.calls("evalsha") == 1
        assert [type(outcome) for outcome in outcomes] == [Receipt, Receipt, Conflict, Receipt, LaneFull, Receipt]
        assert [outcome.accepted for outcome in outcomes if isinstance(outcome, Receipt)] == [True, False, True, True]
        assert [outcome.record.request_id for outcome in outcomes if isinstance(outcome, Receipt)] == [
            "new",
            "old",
            "first",
            "last",
        ]
        assert await request_ids(rig) == ["old", "warm", "new", "last"]
        assert await request_ids(rig, "tiny") == ["first"]


async def test_a_known_open_task_is_attached_to_and_not_queued_again(rig: Rig) -> None:
    await rig.broker.submit(submission(), inbox="one")
    before = await rig.fields("r1")
    receipt = await rig.broker.submit(submission(), inbox="two")
    assert not receipt.accepted
    assert receipt.record.state == "queued"
    assert await rig.fields("r1") == {**before, b"inboxes": b"one,two"}
    assert await request_ids(rig) == ["r1"]


async def test_a_known_settled_task_is_answered_with_its_result(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry, result=b"the result"))
    before = await rig.fields("r1")
    receipt = await rig.broker.submit(submission(), inbox="late")
    assert (receipt.accepted, receipt.record.state, receipt.record.result) == (False, "succeeded", b"the result")
    assert await rig.fields("r1") == before, "nobody will be told any more, so nobody is noted"
    assert await rig.backlog() == 0


@pytest.mark.parametrize("settled", [False, True])
async def test_other_content_under_a_known_id_changes_nothing(rig: Rig, settled: bool) -> None:  # noqa: FBT001 - a case
    [entry] = await rig.submit_and_take("r1")
    if settled:
        await rig.broker.settle("worker-1", settlement(entry))
    before = await rig.fields("r1"), await rig.backlog()
    with pytest.raises(Conflict, match="'r1' is taken by a request with other content"):
        await rig.broker.submit(submission("r1", b"other"), inbox="box")
    assert (await rig.fields("r1"), await rig.backlog()) == before


async def test_the_same_id_twice_in_a_batch_is_one_entry(rig: Rig) -> None:
    receipts = await asyncio.gather(*(rig.broker.submit(submission()) for _ in range(5)))
    assert [receipt.accepted for receipt in receipts] == [True, False, False, False, False]
    assert await request_ids(rig) == ["r1"]


async def test_the_same_id_from_two_processes_at_once_is_one_entry(server: Server) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        for number in range(20):
            receipts = await asyncio.gather(
                one.broker.submit(submission(f"r{number}"), inbox="one"),
                other.broker.submit(submission(f"r{number}"), inbox="other"),
            )
            assert sorted(receipt.accepted for receipt in receipts) == [False, True]
            assert sorted(await inboxes(one, f"r{number}")) == ["one", "other"]
        assert await one.backlog() == 20


async def test_a_repeated_submission_is_one_entry_however_often(rig: Rig) -> None:
    for _ in range(10):
        await rig.broker.submit(submission(), inbox="box")
    assert await request_ids(rig) == ["r1"]
    assert await inboxes(rig, "r1") == ["box"], "an inbox is told once per notification"


async def test_an_inbox_whose_name_is_part_of_another_is_still_attached(rig: Rig) -> None:
    for name in ("abc", "b", "ab", "bc"):
        await rig.broker.submit(submission(), inbox=name)
    assert await inboxes(rig, "r1") == ["abc", "b", "ab", "bc"]


async def test_sixteen_inboxes_are_told_and_further_ones_depend_on_their_timer(rig: Rig) -> None:
    for number in range(20):
        await rig.broker.submit(submission(), inbox=f"box-{number}")
    assert await inboxes(rig, "r1") == [f"box-{number}" for number in range(16)]


async def test_a_submission_that_nobody_waits_for_names_no_inbox(rig: Rig) -> None:
    await rig.broker.submit(submission())
    assert (await rig.fields("r1"))[b"inboxes"] == b""
    await rig.broker.submit(submission(), inbox="late")
    assert await inboxes(rig, "r1") == ["late"]


async def test_a_record_that_a_settlement_made_anew_answers_any_submission(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("DEL", rig.keys.task("r1"))
    await rig.broker.settle("worker-1", settlement(entry, result=b"kept"))
    receipt = await rig.broker.submit(submission("r1", b"content that cannot be compared any more"))
    assert (receipt.accepted, receipt.record.result) == (False, b"kept")


async def test_a_full_lane_refuses_and_changes_nothing(server: Server) -> None:
    async with open_rig(server.url, lane_cap=2) as rig:
        await rig.submit("r1", "r2")
        with pytest.raises(LaneFull) as refusal:
            await rig.broker.submit(submission("r3"), inbox="box")
        assert (refusal.value.lane, refusal.value.cap) == ("text", 2)
        assert await rig.fields("r3") == {}
        assert await request_ids(rig) == ["r1", "r2"]


async def test_a_full_lane_still_answers_for_what_it_knows(server: Server) -> None:
    async with open_rig(server.url, lane_cap=1) as rig:
        await rig.submit("r1")
        assert not (await rig.broker.submit(submission("r1"), inbox="box")).accepted
        assert await inboxes(rig, "r1") == ["box"]
        with pytest.raises(Conflict):
            await rig.broker.submit(submission("r1", b"other"))


async def test_a_full_lane_does_not_fill_its_neighbour(server: Server) -> None:
    async with open_rig(server.url, lane_caps={"tiny": 1}) as rig:
        await rig.submit("r1", lane="tiny")
        await rig.submit("r2")
        assert await rig.backlog() == 1


async def test_what_runs_counts_and_what_is_settled_makes_room(server: Server) -> None:
    async with open_rig(server.url, lane_cap=2) as rig:
        entries = await rig.submit_and_take("r1", "r2")
        with pytest.raises(LaneFull):
            await rig.broker.submit(submission("r3"))
        await rig.broker.settle("worker-1", settlement(entries[0]))
        await rig.submit("r3")
        assert await request_ids(rig) == ["r2", "r3"]


async def test_each_partition_has_its_share_of_the_cap(server: Server) -> None:
    async with open_rig(server.url, lane_cap=40, partitions=4) as rig:
        await all_of([rig.broker.submit(submission(f"r{number}")) for number in range(200)])
        for partition in range(4):
            assert await rig.connection.command("XLEN", rig.keys.stream(partition, LANE)) == 10


@pytest.mark.parametrize("submitters", [37, 100])
async def test_a_hundred_racing_submitters_never_exceed_the_cap_nor_miss_room(server: Server, submitters: int) -> None:
    cap = 37
    async with open_rig(server.url) as observer:
        rigs = [Rig(server.url, lane_cap=cap) for _ in range(10)]
        lengths = []

        async def watch() -> None:
            while True:
                lengths.append(await observer.backlog())

        watcher = asyncio.create_task(watch())
        calls = [rigs[number % 10].broker.submit(submission(f"r{number}")) for number in range(submitters)]
        outcomes = await all_of(calls)
        watcher.cancel()
        lengths.append(await observer.backlog())
        accepted = [outcome.record.request_id for outcome in outcomes if isinstance(outcome, Receipt)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, LaneFull)]
        assert (len(accepted), len(refused)) == (cap, submitters - cap)
        assert max(lengths) <= cap
        assert sorted(await request_ids(observer)) == sorted(accepted)
        for rig in rigs:
            await rig.connection.close()


async def test_nothing_is_trimmed_while_a_full_lane_is_hammered(server: Server) -> None:
    async with open_rig(server.url, lane_cap=150) as rig:
        # More than one node of the stream (100 entries), as an approximate trim drops whole nodes only.
        await rig.submit(*[f"r{number}" for number in range(150)])
        for attempt in range(5):
            outcomes = await all_of([rig.broker.submit(submission(f"x{attempt}-{number}")) for number in range(50)])
            assert {type(outcome) for outcome in outcomes} == {LaneFull}
        assert await request_ids(rig) == [f"r{number}" for number in range(150)]


async def test_racing_submitters_and_workers_keep_every_accepted_task(server: Server) -> None:
    cap = 8
    async with open_rig(server.url, lane_cap=cap) as rig, open_rig(server.url, lane_cap=cap) as worker:
        accepted: list[str] = []
        settled: list[str] = []

        async def submit(request_id: str) -> None:
            while True:
                try:
                    await rig.broker.submit(submission(request_id))
                except LaneFull:
                    await asyncio.sleep(0.001)
                else:
                    accepted.append(request_id)
                    return

        async def work() -> None:
            while len(settled) < 100:
                assert await worker.backlog() <= cap
                for entry in await worker.take(5):
                    await worker.broker.settle("worker-1", settlement(entry))
                    settled.append(entry.fields[b"request_id"].decode())

        await asyncio.wait_for(asyncio.gather(work(), *(submit(f"r{number}") for number in range(100))), 20)
        assert sorted(settled) == sorted(accepted)
        assert await rig.backlog() == 0


async def test_a_large_number_of_submissions_goes_out_in_few_calls(rig: Rig) -> None:
    await rig.submit("warm")
    await rig.connection.command("CONFIG", "RESETSTAT")
    await rig.submit(*[f"r{number}" for number in range(600)])
    assert await rig.calls("evalsha") == 3
    assert await rig.backlog() == 601


async def test_large_payloads_do_not_go_out_in_one_call(rig: Rig) -> None:
    await rig.submit("warm")
    await rig.connection.command("CONFIG", "RESETSTAT")
    payload = bytes(3_000_000)
    await asyncio.gather(*(rig.broker.submit(submission(f"r{number}", payload)) for number in range(3)))
    assert await rig.calls("evalsha") == 3
    assert [len(Envelope.decode(entry.fields).payload) for entry in await rig.take()][1:] == [3_000_000] * 3


async def test_room_is_refused_only_when_every_partition_is_full(server: Server) -> None:
    async with open_rig(server.url, lane_cap=4, partitions=2) as rig:
        await rig.broker.room(LANE)
        names = [f"r{number}" for number in range(20)]
        full = [name for name in names if rig.keys.partition_of(name) == 0][:2]
        await rig.submit(*full)
        await rig.broker.room(LANE)
        await rig.submit(*[name for name in names if rig.keys.partition_of(name) == 1][:2])
        with pytest.raises(LaneFull):
            await rig.broker.room(LANE)


async def test_a_server_without_memory_refuses_a_batch_as_a_whole_and_still_settles(
    private_server: EmbeddedValkey,
) -> None:
    async with open_rig(private_server.url, redis_patience_ms=1) as rig:
        first, second, third = await rig.submit_and_take("r1", "r2", "r3")
        await rig.connection.command("CONFIG", "SET", "maxmemory", "1")
        outcomes = await all_of([rig.broker.submit(submission(f"new-{number}")) for number in range(3)])
        assert [type(outcome) for outcome in outcomes] == [Overloaded] * 3
        assert [await rig.fields(f"new-{number}") for number in range(3)] == [{}, {}, {}]
        assert await rig.backlog() == 3, "what settles frees memory and must go on"
        assert await rig.broker.renew("worker-1", first)
        assert await rig.broker.lookup("r1", inbox="box") is not None
        assert await rig.broker.settle("worker-1", settlement(first)) == "settled"
        assert await rig.broker.settle("worker-1", settlement(second, state="dead_lettered")) == "settled"
        await rig.silence(third)
        assert (await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10))[1][0].entry_id == third.entry_id
        assert await rig.broker.settle("worker-2", settlement(third)) == "settled"
        assert await rig.backlog() == 0
        await rig.connection.command("CONFIG", "SET", "maxmemory", "0")
        await rig.submit("new-1")
