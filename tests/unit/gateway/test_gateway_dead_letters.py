import base64
from typing import Any

import httpx
import pytest

from edgescale.errors import BrokerUnavailable, InvalidInput, NotFound
from edgescale.gateway.dead_letter_models import (
    DeadLetterPage,
    Purged,
    ReplayAnswer,
    ReplayedDocument,
    WholeDeadLetterDocument,
)
from edgescale.v1 import dead_letter_pb2 as letters
from edgescale.v1.task_pb2 import TaskError
from tests.unit.gateway.gateway_fixtures import ScriptedIngestion, problem_of


def letter(**fields: Any) -> letters.DeadLetter:
    usual: dict[str, Any] = {"request_id": "r-1", "kind": "text", "lane": "text", "attempts": 3, "worker": "w-1"}
    made = letters.DeadLetter(id="0-1-0", error=TaskError(reason="TIMEOUT", message="too slow"), **(usual | fields))
    made.bury_time.FromMilliseconds(1)
    return made


def replayed(outcome: str, **fields: Any) -> letters.ReplayDeadLettersResponse:
    made = letters.ReplayedLetter(
        id="0-1-0",
        request_id="r-1",
        lane="text",
        outcome=letters.ReplayOutcome.Value(f"REPLAY_OUTCOME_{outcome}"),
        message="a sentence",
        **fields,
    )
    return letters.ReplayDeadLettersResponse(letters=[made])


async def test_letters_are_listed_page_by_page(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    page = letters.ListDeadLettersResponse(dead_letters=[letter(size_bytes=9, replays=1)])
    page.next_page_token = "t"  # noqa: S105 - no password
    ingestion.answer("ListDeadLetters", page, letters.ListDeadLettersResponse())

    wanted = {"lane": "text", "kind": "k", "reason": "TIMEOUT", "request_id": "r-1"}
    first = (await client.get("/v1/dead-letters", params={**wanted, "limit": 1})).json()
    last = (await client.get("/v1/dead-letters", params={"page_token": "t"})).json()

    DeadLetterPage.model_validate(first)
    assert first == {
        "dead_letters": [
            {
                "id": "0-1-0",
                "request_id": "r-1",
                "kind": "text",
                "lane": "text",
                "error": {"reason": "TIMEOUT", "message": "too slow"},
                "attempts": 3,
                "buried_at": "1970-01-01T00:00:00.001Z",
                "worker": "w-1",
                "replays": 1,
                "file_id": "",
                "size_bytes": 9,
            }
        ],
        "next_page_token": "t",
    }
    assert last == {"dead_letters": [], "next_page_token": None}
    assert [(seen.page_size, seen.page_token, seen.filter) for seen in ingestion.seen] == [
        (1, "", letters.DeadLetterFilter(**wanted)),
        (100, "t", letters.DeadLetterFilter()),
    ]


async def test_a_letter_is_shown_with_its_attempts_and_bytes(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    known = letters.Attempt(number=2, worker="w-1", reason="TIMEOUT")
    known.end_time.FromMilliseconds(2)
    whole = letter(history=[letters.Attempt(number=1), known], fields={"envelope": b"\xff\x00", "request_id": b"r-1"})
    ingestion.answer("GetDeadLetter", letters.GetDeadLetterResponse(dead_letter=whole))

    shown = (await client.get("/v1/dead-letters/0-1-0")).json()

    WholeDeadLetterDocument.model_validate(shown)
    assert shown["history"] == [
        {"number": 1, "replays": 0, "worker": None, "reason": ""},
        {"number": 2, "replays": 0, "worker": "w-1", "ended_at": "1970-01-01T00:00:00.002Z", "reason": "TIMEOUT"},
    ]
    assert {name: base64.b64decode(value) for name, value in shown["fields"].items()} == {
        "envelope": b"\xff\x00",
        "request_id": b"r-1",
    }
    assert shown["fields_cut"] is False
    assert ingestion.seen == [letters.GetDeadLetterRequest(id="0-1-0")]


async def test_a_letter_that_is_not_there_is_404(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("GetDeadLetter", NotFound("no dead letter 'x'"))

    assert problem_of(await client.get("/v1/dead-letters/x"), 404, "TASK_NOT_FOUND")["detail"] == "no dead letter 'x'"


async def test_one_letter_is_replayed(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("ReplayDeadLetters", replayed("REPLAYED"))

    response = await client.post("/v1/dead-letters/r:1~x/replay")

    assert response.status_code == 200
    ReplayedDocument.model_validate(response.json())
    assert response.json() == {
        "id": "0-1-0",
        "request_id": "r-1",
        "lane": "text",
        "outcome": "replayed",
        "message": "a sentence",
    }
    assert ingestion.seen == [letters.ReplayDeadLettersRequest(ids=["r:1~x"])]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        ("MISSING", 404, "TASK_NOT_FOUND"),
        ("CONFLICT", 409, "REQUEST_ID_CONFLICT"),
        ("FULL", 429, "LANE_FULL"),
        ("EMPTY", 422, "INVALID_INPUT"),
    ],
)
async def test_one_letter_that_cannot_be_replayed_is_a_problem(
    outcome: str, status: int, reason: str, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("ReplayDeadLetters", replayed(outcome, cap=7))

    document = problem_of(await client.post("/v1/dead-letters/0-1-0/replay"), status, reason)

    if reason == "LANE_FULL":
        assert (document["lane"], document["cap"], document["retry_after_ms"]) == ("text", "7", 1000)
    else:
        assert "a sentence" in document["detail"]


async def test_many_letters_are_replayed_and_each_is_told_of(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    answer = replayed("FULL", cap=7)
    answer.next_page_token = "t"  # noqa: S105 - no password
    ingestion.answer("ReplayDeadLetters", answer, replayed("REPLAYED"))

    wanted = {"lane": "text", "reason": "TIMEOUT", "limit": 5, "per_second": 2, "page_token": "s"}
    first = (await client.post("/v1/dead-letters/replay", json=wanted)).json()
    second = (await client.post("/v1/dead-letters/replay", json={"ids": ["a", "b"]})).json()

    ReplayAnswer.model_validate(first)
    assert (first["letters"][0]["outcome"], first["letters"][0]["cap"], first["next_page_token"]) == ("full", 7, "t")
    assert (second["letters"][0]["outcome"], second["next_page_token"]) == ("replayed", None)
    filtered = letters.DeadLetterFilter(lane="text", reason="TIMEOUT")
    assert ingestion.seen == [
        letters.ReplayDeadLettersRequest(filter=filtered, limit=5, per_second=2, page_token="s"),  # noqa: S106 - no password
        letters.ReplayDeadLettersRequest(ids=["a", "b"], filter=letters.DeadLetterFilter(), limit=100),
    ]


async def test_replaying_many_is_given_time(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("ReplayDeadLetters", replayed("REPLAYED"))

    await client.post("/v1/dead-letters/replay", json={"all": True})
    await client.post("/v1/dead-letters/0-1-0/replay")

    many_s, one_s = (timeout or 0 for timeout in ingestion.timeouts)
    assert many_s > 5 > one_s


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"lanes": "text"}, "lanes"),
        ({"all": "yes"}, "all"),
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"ids": "r-1"}, "ids"),
        ({"ids": [""]}, "ids.0"),
        ({"per_second": -1}, "per_second"),
        ({"per_second": 2**32}, "per_second"),
    ],
)
async def test_a_replay_of_something_else_is_refused(
    body: dict[str, Any], field: str, client: httpx.AsyncClient, ingestion: ScriptedIngestion
) -> None:
    response = await client.post("/v1/dead-letters/replay", json=body)

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == field
    assert ingestion.seen == []


async def test_letters_are_purged_by_filter_and_all_of_them_only_in_so_many_words(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    answer = letters.PurgeDeadLettersResponse(purged=3)
    answer.next_page_token = "t"  # noqa: S105 - no password
    refusal = InvalidInput("ids", "say which letters are meant")
    ingestion.answer("PurgeDeadLetters", answer, letters.PurgeDeadLettersResponse(purged=1), refusal)

    first = await client.delete("/v1/dead-letters", params={"lane": "text"})
    second = await client.delete("/v1/dead-letters", params={"all": "true"})
    third = await client.delete("/v1/dead-letters")

    Purged.model_validate(first.json())
    assert first.json() == {"purged": 3, "next_page_token": "t"}
    assert second.json() == {"purged": 1, "next_page_token": None}
    problem_of(third, 422, "INVALID_INPUT")
    assert [(seen.filter.lane, seen.all) for seen in ingestion.seen] == [("text", False), ("", True), ("", False)]


@pytest.mark.parametrize("params", [{"lanes": "text"}, {"lane": "text", "reson": "X"}, {"all": "perhaps"}])
async def test_a_misspelt_filter_purges_nothing(
    params: dict[str, str], client: httpx.AsyncClient, ingestion: ScriptedIngestion
) -> None:
    document = problem_of(await client.delete("/v1/dead-letters", params=params), 422, "INVALID_INPUT")

    assert document["errors"][0]["field"] == list(params)[-1]
    assert ingestion.seen == []


async def test_one_letter_is_purged_once(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("PurgeDeadLetters", letters.PurgeDeadLettersResponse(purged=1), letters.PurgeDeadLettersResponse())

    first = await client.delete("/v1/dead-letters/0-1-0")
    second = await client.delete("/v1/dead-letters/0-1-0")

    assert first.json() == {"purged": 1, "next_page_token": None}
    assert "0-1-0" in problem_of(second, 404, "TASK_NOT_FOUND")["detail"]
    assert ingestion.seen == [letters.PurgeDeadLettersRequest(ids=["0-1-0"])] * 2


async def test_a_filter_is_named_as_the_http_caller_knows_it(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("ListDeadLetters", InvalidInput("filter.lane", "is no lane"))
    named = problem_of(await client.get("/v1/dead-letters"), 422, "INVALID_INPUT")["errors"][0]["field"]
    ingestion.answer("ListDeadLetters", BrokerUnavailable("Redis is away"))

    problem_of(await client.get("/v1/dead-letters"), 503, "BROKER_UNAVAILABLE")
    assert named == "lane"
