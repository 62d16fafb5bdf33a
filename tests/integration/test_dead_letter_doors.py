"""Dead letters through ingestion: what each call answers and refuses, and the client on top of it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgescale.errors import InvalidInput, NotFound
from edgescale.gateway.app import make_app
from edgescale.gateway.models import TaskDocument
from edgescale.gateway.upstream import Ingestion
from edgescale.ingestion import dead_letters as calls
from edgescale.v1 import task_pb2
from edgescale.v1.dead_letter_pb2 import (
    REPLAY_OUTCOME_CONFLICT,
    REPLAY_OUTCOME_FULL,
    REPLAY_OUTCOME_MISSING,
    REPLAY_OUTCOME_REPLAYED,
    DeadLetterFilter,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    PurgeDeadLettersRequest,
    ReplayDeadLettersRequest,
)
from edgescale.v1.ingestion_service_pb2 import GetTaskRequest
from tests.door import Caller, Door, ingesting, refusal_of
from tests.parts import answer_with_attempt, working
from tests.servers import Server
from tests.support import eventually, settlement, submission
from tests.unit.gateway.gateway_fixtures import http_client


@pytest.fixture
async def at_the_door(server: Server, tmp_path: Path) -> AsyncIterator[tuple[Door, Caller]]:
    async with ingesting(server.url, tmp_path, lane_caps="text=4") as pair:
        yield pair


async def test_letters_are_listed_without_their_bytes(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1", "r2")

    first = await caller.stub.ListDeadLetters(ListDeadLettersRequest(page_size=1))
    rest = await caller.stub.ListDeadLetters(ListDeadLettersRequest(page_token=first.next_page_token))

    [newest], [oldest] = first.dead_letters, rest.dead_letters
    assert (newest.request_id, oldest.request_id, rest.next_page_token) == ("r2", "r1", "")
    assert (newest.lane, newest.kind, newest.attempts, newest.worker) == ("text", "text", 1, "worker-1")
    assert (newest.error.reason, newest.error.message) == ("R", "R it was")
    assert newest.bury_time.ToMilliseconds() >= newest.accept_time.ToMilliseconds() > 0
    assert newest.size_bytes > 0
    assert (list(newest.history), dict(newest.fields)) == ([], {})


async def test_a_letter_is_shown_with_its_attempts_and_its_bytes(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1")

    letter = (await caller.stub.GetDeadLetter(GetDeadLetterRequest(id="r1"))).dead_letter

    assert letter.fields == {"request_id": b"r1", "envelope": submission("r1").envelope.encode()}
    assert not letter.fields_cut
    [attempt] = letter.history
    assert (attempt.number, attempt.worker, attempt.reason) == (1, "worker-1", "R")
    assert attempt.end_time.ToMilliseconds() > 0


async def test_a_letter_that_no_message_can_carry_is_shown_in_part(
    at_the_door: tuple[Door, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1")
    monkeypatch.setattr(calls, "FIELDS_BYTES_MAX", 20)

    letter = (await caller.stub.GetDeadLetter(GetDeadLetterRequest(id="r1"))).dead_letter

    assert letter.fields == {"request_id": b"r1"}
    assert letter.fields_cut


async def test_a_replayed_task_is_worked_on_and_its_late_waiter_is_answered(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1")

    [replayed] = (await caller.stub.ReplayDeadLetters(ReplayDeadLettersRequest(ids=["r1"]))).letters
    waiting = asyncio.create_task(caller.client.task("r1", wait_s=10))
    await eventually(lambda: door.inbox.open_requests == 1)
    open_task = (await caller.stub.GetTask(GetTaskRequest(request_id="r1"))).task
    async with working(server.url, answer_with_attempt):
        task = await waiting

    assert (replayed.outcome, replayed.request_id) == (REPLAY_OUTCOME_REPLAYED, "r1")
    assert (open_task.state, open_task.replays) == (task_pb2.TASK_STATE_QUEUED, 1)
    assert (open_task.burial.error.reason, open_task.burial.attempts) == ("R", 1)
    assert open_task.burial.HasField("bury_time")
    assert (task.state, task.replays) == (task_pb2.TASK_STATE_SUCCEEDED, 1)
    assert not task.HasField("burial")
    assert await door.rig.dead_letters() == []


@pytest.mark.one_partition
async def test_what_becomes_of_each_letter_is_told_in_order(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    await door.rig.bury("again", "full", "r1")
    await door.rig.connection.command("DEL", door.rig.keys.task("again"))
    await door.rig.submit("again", "x1", "x2")

    request = ReplayDeadLettersRequest(ids=["r1", "again", "full", "nobody"])
    letters = (await caller.stub.ReplayDeadLetters(request)).letters

    assert [letter.outcome for letter in letters] == [
        REPLAY_OUTCOME_REPLAYED,
        REPLAY_OUTCOME_CONFLICT,
        REPLAY_OUTCOME_FULL,
        REPLAY_OUTCOME_MISSING,
    ]
    assert letters[1].message == "task again has had another life since this letter: it is queued"
    assert (letters[2].lane, letters[2].cap, letters[3].id) == ("text", 4, "nobody")


@pytest.mark.one_partition
async def test_letters_that_match_are_replayed_in_parts(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1", "r2", "r3", reason="ONE")
    await door.rig.bury("r4", reason="TWO")

    wanted = DeadLetterFilter(reason="ONE")
    first = await caller.stub.ReplayDeadLetters(ReplayDeadLettersRequest(filter=wanted, limit=2))
    rest = await caller.stub.ReplayDeadLetters(
        ReplayDeadLettersRequest(filter=wanted, limit=2, page_token=first.next_page_token)
    )

    assert [letter.request_id for letter in (*first.letters, *rest.letters)] == ["r3", "r2", "r1"]
    assert rest.next_page_token == ""


async def test_a_caller_in_a_hurry_is_answered_with_what_was_done_and_comes_back(
    at_the_door: tuple[Door, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, caller = at_the_door
    monkeypatch.setattr(calls, "WORK_SHARE", 0)
    await door.rig.bury("r1", "r2")
    request = ReplayDeadLettersRequest(all=True)

    first = await caller.stub.ReplayDeadLetters(request, timeout=30)
    request.page_token = first.next_page_token
    rest = await caller.stub.ReplayDeadLetters(request, timeout=30)

    assert [letter.request_id for letter in first.letters] == ["r2"]
    assert [letter.request_id for letter in rest.letters] == ["r1"]


async def test_purged_letters_are_gone(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1", "r2", reason="ONE")
    await door.rig.bury("r3", "r4", reason="TWO")

    assert (await caller.stub.PurgeDeadLetters(PurgeDeadLettersRequest(ids=["r1", "nobody"]))).purged == 1
    wanted = PurgeDeadLettersRequest(filter=DeadLetterFilter(reason="ONE"))
    assert (await caller.stub.PurgeDeadLetters(wanted)).purged == 1
    assert (await caller.stub.PurgeDeadLetters(PurgeDeadLettersRequest(all=True))).purged == 2
    assert await door.rig.dead_letters() == []


EITHER = "exactly one of ids, filter and all"


@pytest.mark.parametrize("kind", [ReplayDeadLettersRequest, PurgeDeadLettersRequest])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "ids"),
        ({"filter": DeadLetterFilter()}, "ids"),
        ({"ids": ["r1"], "all": True}, "all"),
        ({"ids": ["r1"], "filter": DeadLetterFilter(lane="text")}, "filter"),
        ({"filter": DeadLetterFilter(lane="text"), "all": True}, "all"),
        ({"ids": ["r1"] * 1_001}, "ids"),
        ({"ids": ["r1", ""]}, "ids[1]"),
        ({"ids": ["x" * 513]}, "ids[0]"),
        ({"all": True, "page_token": "next"}, "page_token"),
    ],
)
async def test_letters_must_be_meant_in_one_way(
    at_the_door: tuple[Door, Caller], kind: type, fields: dict[str, object], field: str
) -> None:
    door, caller = at_the_door
    await door.rig.bury("r1")
    method = caller.stub.ReplayDeadLetters if kind is ReplayDeadLettersRequest else caller.stub.PurgeDeadLetters

    refusal = await refusal_of(method(kind(**fields)))

    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_INPUT", [field])
    assert len(await door.rig.dead_letters()) == 1


async def test_impossible_sizes_and_names_are_refused(at_the_door: tuple[Door, Caller]) -> None:
    _, caller = at_the_door

    pages = await refusal_of(caller.stub.ListDeadLetters(ListDeadLettersRequest(page_size=1_001)))
    limit = await refusal_of(caller.stub.ReplayDeadLetters(ReplayDeadLettersRequest(all=True, limit=1_001)))
    nameless = await refusal_of(caller.stub.GetDeadLetter(GetDeadLetterRequest()))
    unknown = await refusal_of(caller.stub.GetDeadLetter(GetDeadLetterRequest(id="nobody")))

    assert [refusal.fields for refusal in (pages, limit, nameless)] == [["page_size"], ["limit"], ["id"]]
    assert (unknown.code, unknown.message) == (
        "NOT_FOUND",
        "no dead letter 'nobody': it was replayed or purged, or never was",
    )


@pytest.mark.one_partition
async def test_an_undecodable_letter_is_shown_replayed_and_buried_again(
    at_the_door: tuple[Door, Caller], server: Server
) -> None:
    door, caller = at_the_door
    async with working(server.url, answer_with_attempt):
        await door.rig.connection.command(
            "XADD", door.rig.keys.stream(0, "text"), "*", "request_id", "bad", "envelope", b"\xff\x00"
        )
        await eventually(door.rig.dead_letters)
        first = await caller.client.dead_letters.show("bad")
        [replayed] = await caller.client.dead_letters.replay("bad")
        await eventually(lambda: _buried_again(door))
    second = await caller.client.dead_letters.show("bad")

    assert (first.kind, first.error.reason, first.fields["envelope"]) == ("", "UNDECODABLE", b"\xff\x00")
    assert replayed.outcome == REPLAY_OUTCOME_REPLAYED
    assert (second.id != first.id, second.replays, len(second.history)) == (True, 1, 2)


async def _buried_again(door: Door) -> bool:
    return any(b"replays" in letter for letter in await door.rig.dead_letters())


@pytest.mark.one_partition
async def test_the_client_turns_all_pages(at_the_door: tuple[Door, Caller], monkeypatch: pytest.MonkeyPatch) -> None:
    door, caller = at_the_door
    monkeypatch.setattr(calls, "PAGE_SIZE", 2)
    await door.rig.bury("f1", "f2", "f3", lane="file")
    await door.rig.bury("r1", "r2", "r3")
    letters = caller.client.dead_letters

    assert [letter.request_id async for letter in letters.each()] == ["r3", "r2", "r1", "f3", "f2", "f1"]
    assert [letter.request_id async for letter in letters.each(lane="file")] == ["f3", "f2", "f1"]
    assert [letter.request_id async for letter in letters.replay_all(lane="text")] == ["r3", "r2", "r1"]
    assert await letters.purge_all(everything=True) == 3
    assert await letters.purge_all(everything=True) == 0
    assert await letters.purge(["f1"]) == 0
    with pytest.raises(NotFound):
        await letters.show("f1")
    with pytest.raises(InvalidInput, match=f"ids: say which letters are meant: {EITHER}"):
        await letters.purge_all()
    with pytest.raises(InvalidInput, match="filter: cannot be sent"):
        await letters.page(lane="\ud800")


@pytest.mark.one_partition
async def test_the_client_comes_back_for_names_that_the_time_did_not_suffice_for(
    at_the_door: tuple[Door, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, caller = at_the_door
    monkeypatch.setattr(calls, "WORK_SHARE", 0)
    await door.rig.bury("r1", "r2", "r3")

    replayed = await caller.client.dead_letters.replay("r1", "r2", "r3")

    assert [letter.request_id for letter in replayed] == ["r1", "r2", "r3"]
    assert await door.rig.backlog() == 3


@pytest.mark.one_partition
async def test_letters_are_seen_replayed_and_purged_over_rest(at_the_door: tuple[Door, Caller]) -> None:
    door, _ = at_the_door
    await door.rig.bury("r1", "r2", "r3")
    settings = door.settings.model_copy(update={"ingestion_target": door.address})
    async with (
        Ingestion.connect(settings) as ingestion,
        http_client(make_app(settings, ingestion, door.rig.chance)) as client,
    ):
        listed = (await client.get("/v1/dead-letters", params={"reason": "R"})).json()
        shown = (await client.get("/v1/dead-letters/r1")).json()
        replayed = (await client.post(f"/v1/dead-letters/{shown['id']}/replay")).json()
        task = (await client.get("/v1/tasks/r1")).json()
        many = (await client.post("/v1/dead-letters/replay", json={"ids": ["r2", "r1"]})).json()
        unclear = await client.delete("/v1/dead-letters")
        purged = (await client.delete("/v1/dead-letters", params={"all": "true"})).json()
        gone = await client.get("/v1/dead-letters/r3")

    assert [letter["request_id"] for letter in listed["dead_letters"]] == ["r3", "r2", "r1"]
    assert base64.b64decode(shown["fields"]["envelope"]) == submission("r1").envelope.encode()
    assert replayed["outcome"] == "replayed"
    assert (task["state"], task["replays"], task["burial"]["error"]["reason"]) == ("queued", 1, "R")
    TaskDocument.model_validate(task)
    assert [letter["outcome"] for letter in many["letters"]] == ["replayed", "missing"]
    assert (unclear.status_code, unclear.json()["errors"][0]["field"]) == (422, "ids")
    assert purged == {"purged": 1, "next_page_token": None}
    assert gone.status_code == 404


async def test_a_task_that_was_never_replayed_says_nothing_of_replays(at_the_door: tuple[Door, Caller]) -> None:
    door, caller = at_the_door
    [entry] = await door.rig.submit_and_take("r1")
    await door.rig.broker.settle("worker-1", settlement(entry, state="failed", reason="R"))

    task = (await caller.stub.GetTask(GetTaskRequest(request_id="r1"))).task

    assert not task.HasField("replays")
    assert not task.HasField("burial")
