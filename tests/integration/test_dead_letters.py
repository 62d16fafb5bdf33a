"""Dead letters: the bytes, the reason, the history; and nobody is buried alive."""

import json

import pytest

from tests.support import LANE, Rig, settlement, submission

pytestmark = pytest.mark.everywhere


async def test_a_dead_letter_keeps_the_bytes_the_reason_and_the_history(rig: Rig) -> None:
    given = submission("r1", bytes(range(256)))
    await rig.broker.submit(given)
    [entry] = await rig.take()
    await rig.silence(entry)
    _, [entry] = await rig.broker.reclaim(0, LANE, "worker-2", cursor="0-0", count=10)
    done = settlement(entry, state="dead_lettered", reason="HANDLER_ERROR", message="it broke")
    assert await rig.broker.settle("worker-2", done) == "settled"
    [letter] = await rig.dead_letters()
    history = json.loads(letter.pop(b"history"))
    assert abs(history.pop("at_ms") - await rig.now_ms()) < 60_000
    assert history == {"replays": 0, "attempt": 2, "worker": "worker-2", "reason": "HANDLER_ERROR"}
    assert [letter] == [
        {
            b"request_id": b"r1",
            b"kind": b"text",
            b"lane": b"text",
            b"reason": b"HANDLER_ERROR",
            b"message": b"it broke",
            b"attempts": b"2",
            b"entry": entry.entry_id.encode(),
            b"consumer": b"worker-2",
            b"digest": given.digest.encode(),
            b"accepted_ms": entry.entry_id.partition("-")[0].encode(),
            b"entry.request_id": b"r1",
            b"entry.envelope": given.envelope.encode(),
        }
    ]


async def test_only_the_dead_are_buried(rig: Rig) -> None:
    entries = await rig.submit_and_take("r1", "r2", "r3")
    for entry, state in zip(entries, ("succeeded", "failed", "cancelled"), strict=True):
        await rig.broker.settle("worker-1", settlement(entry, state=state))  # type: ignore[arg-type]
    assert await rig.dead_letters() == []


async def test_an_entry_that_somebody_deleted_is_buried_without_its_bytes(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.connection.command("XDEL", rig.keys.stream(0, LANE), entry.entry_id)
    assert await rig.broker.settle("worker-1", settlement(entry, state="dead_lettered")) == "settled"
    [dead] = await rig.dead_letters()
    assert dead[b"request_id"] == b"r1"
    assert b"entry.envelope" not in dead
    assert await rig.pending() == []


@pytest.mark.one_partition
async def test_an_entry_that_is_no_envelope_ends_in_the_dead_letters_with_all_its_fields(rig: Rig) -> None:
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", "who", b"\xff\x00", "what", "else")
    [entry] = await rig.take()
    done = settlement(entry, f"entry-{entry.entry_id}", state="dead_lettered", reason="UNDECODABLE")
    assert await rig.broker.settle("worker-1", done) == "settled"
    [dead] = await rig.dead_letters()
    assert (dead[b"entry.who"], dead[b"entry.what"]) == (b"\xff\x00", b"else")
    assert await rig.backlog() == 0
    record = await rig.broker.lookup(f"entry-{entry.entry_id}")
    assert record is not None
    assert record.state == "dead_lettered"


@pytest.mark.one_partition
async def test_an_entry_with_thousands_of_fields_is_buried_too(rig: Rig) -> None:
    pairs = [part for number in range(5_000) for part in (f"field-{number}", "value")]
    await rig.connection.command("XADD", rig.keys.stream(0, LANE), "*", *pairs)
    [entry] = await rig.take()
    done = settlement(entry, "entry-1", state="dead_lettered", reason="UNDECODABLE")
    assert await rig.broker.settle("worker-1", done) == "settled"
    [dead] = await rig.dead_letters()
    assert dead[b"entry.field-0"] == b"value"
    assert await rig.backlog() == 0
