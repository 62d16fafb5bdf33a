import asyncio

import httpx
import pytest
from fastapi import FastAPI

from edgescale.errors import EdgeScaleError, InvalidInput, NotFound, TaskFailed, TooLarge, TooManyRequests, WaitExpired
from edgescale.gateway.models import TaskDocument
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextResponse, GetTaskResponse
from edgescale.v1.task_pb2 import Task, TaskError, TaskResult
from edgescale.v1.text_pb2 import Term, TextAnalysis
from tests.unit.gateway.gateway_fixtures import PATIENCE_S, Exchange, ScriptedIngestion, problem_of, task

ANALYSIS = TextAnalysis(characters=5, words=1, top_terms=[Term(term="hello", count=1)], reading_time_seconds=0.25)


def done(request_id: str = "id-1") -> Task:
    finished = task(request_id, "SUCCEEDED", attempts=1, result=TaskResult(text_analysis=ANALYSIS))
    finished.accept_time.FromMilliseconds(1_000)
    finished.settle_time.FromMilliseconds(2_500)
    return finished


async def test_a_text_is_answered_with_its_analysis(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    response = await client.post("/v1/text-analyses", json={"text": "hello", "top_terms": 3})

    assert response.status_code == 200
    assert response.json() == {
        "request_id": "id-1",
        "kind": "text",
        "lane": "text",
        "state": "succeeded",
        "attempts": 1,
        "accepted_at": "1970-01-01T00:00:01Z",
        "settled_at": "1970-01-01T00:00:02.500Z",
        "result": {
            "characters": 5,
            "words": 1,
            "sentences": 0,
            "lines": 0,
            "unique_words": 0,
            "top_terms": [{"term": "hello", "count": 1}],
            "reading_time_seconds": 0.25,
        },
    }
    TaskDocument.model_validate(response.json())
    (request,) = ingestion.seen
    assert (request.input.text, request.input.top_terms, request.respond_async) == ("hello", 3, False)


async def test_a_text_may_be_for_later_and_only_for_a_while(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))
    times = {"not_before": "2030-01-01T06:00:00Z", "expire_time": "2030-01-01T07:00:00.250+01:00"}

    await client.post("/v1/text-analyses", json={"text": "hello", **times})

    (request,) = ingestion.seen
    assert request.schedule.not_before.ToJsonString() == "2030-01-01T06:00:00Z"
    assert request.schedule.expire_time.ToJsonString() == "2030-01-01T06:00:00.250Z"


async def test_a_text_may_have_an_ordering_key_and_the_id_that_is_made_begins_with_it(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    await client.post("/v1/text-analyses", json={"text": "hello", "ordering_key": "k"})

    assert (ingestion.seen[0].ordering_key, ingestion.seen[0].request_id) == ("k", "k:id-1")


@pytest.mark.parametrize("wrong", ["tomorrow", "2030-01-01T06:00:00", 5])
async def test_a_time_without_an_offset_or_of_no_form_at_all_is_refused_by_its_name(
    client: httpx.AsyncClient, wrong: object
) -> None:
    response = await client.post("/v1/text-analyses", json={"text": "hello", "not_before": wrong})

    [fault] = problem_of(response, 422, "INVALID_INPUT")["errors"]
    assert fault["field"] == "not_before"
    assert "such as 2030-01-01T06:00:00Z" in fault["problem"]


async def test_a_request_that_waits_carries_an_id_and_the_default_wait(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    await client.post("/v1/text-analyses", json={"text": "hello"})

    (timeout,) = ingestion.timeouts
    assert ingestion.seen[0].request_id == "id-1"
    assert timeout == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize(("prefer", "timeout_s"), [("wait=3", 3), ("wait=9999999999999999999", 9), ("wait=x", 5)])
async def test_the_preferred_wait_is_the_deadline_within_the_limit(
    prefer: str, timeout_s: int, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": prefer})

    (timeout,) = ingestion.timeouts
    assert timeout == pytest.approx(timeout_s, abs=0.5)


async def test_respond_async_is_accepted_at_once(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=task("k:1", "QUEUED")))
    headers = {"Prefer": "respond-async", "Idempotency-Key": "k:1"}

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers=headers)

    assert (response.status_code, response.json()["state"]) == (202, "queued")
    assert response.headers["Location"] == "/v1/tasks/k:1"
    assert response.headers["Preference-Applied"] == "respond-async"
    assert ingestion.seen[0].respond_async


async def test_respond_async_of_a_settled_task_has_the_result(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "respond-async"})

    assert response.status_code == 200


async def test_an_expired_wait_is_504_with_the_place_to_ask_later(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", WaitExpired("id-1"))

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "wait=1"})

    assert problem_of(response, 504, "WAIT_EXPIRED")["request_id"] == "id-1"
    assert response.headers["Location"] == "/v1/tasks/id-1"


async def test_where_ingestion_never_answered_nobody_is_told_that_the_task_goes_on(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.hang("AnalyzeText")

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "wait=1"})

    assert problem_of(response, 503, "UNAVAILABLE")["request_id"] == "id-1"
    assert "Retry-After" in response.headers


async def test_a_wait_of_nothing_is_504_once_the_task_is_accepted(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=task("id-1", "QUEUED")))

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "wait=0"})

    problem_of(response, 504, "WAIT_EXPIRED")
    assert ingestion.seen[0].respond_async


async def test_an_expired_wait_is_202_where_that_is_preferred(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", WaitExpired("id-1"))
    ingestion.answer("GetTask", GetTaskResponse(task=task("id-1", "RUNNING", attempts=1)))

    response = await client.post(
        "/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "respond-async, wait=1"}
    )

    assert (response.status_code, response.json()["state"]) == (202, "running")
    assert response.headers["Location"] == "/v1/tasks/id-1"


@pytest.mark.parametrize("unknown", [NotFound("no task is known under this id"), TooManyRequests("no place left")])
async def test_a_task_that_may_not_have_been_accepted_is_called_neither_accepted_nor_refused(
    unknown: EdgeScaleError, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.hang("AnalyzeText")
    ingestion.answer("GetTask", unknown)

    response = await client.post(
        "/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "respond-async, wait=1"}
    )

    problem_of(response, 503, "UNAVAILABLE")


async def test_a_task_without_a_result_is_422_with_its_state_and_reason(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    failed = TaskFailed("id-1", state="dead_lettered", task_reason="HANDLER_FAILED", message="tried 5 times")
    ingestion.answer("AnalyzeText", failed)

    document = problem_of(await client.post("/v1/text-analyses", json={"text": "hello"}), 422, "TASK_FAILED")

    assert (document["state"], document["task_reason"]) == ("dead_lettered", "HANDLER_FAILED")
    assert document["detail"] == "task id-1 dead-lettered: tried 5 times"


async def test_a_repeated_request_hears_that_its_task_failed_even_when_it_does_not_wait(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    failed = task("id-1", "EXPIRED", error=TaskError(reason="TOO_LATE", message="not started in time"))
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=failed))

    response = await client.post("/v1/text-analyses", json={"text": "hello"}, headers={"Prefer": "respond-async"})

    document = problem_of(response, 504, "TASK_EXPIRED")
    assert (document["state"], document["task_reason"]) == ("expired", "TOO_LATE")


async def test_a_text_at_the_limit_passes_and_one_over_it_is_413(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", AnalyzeTextResponse(task=done()))

    fits = await client.post("/v1/text-analyses", json={"text": "ä" * 500})
    over = await client.post("/v1/text-analyses", json={"text": "ä" * 500 + "x"})

    assert fits.status_code == 200
    assert problem_of(over, 413, "TOO_LARGE")["errors"][0]["field"] == "text"


async def test_a_body_that_no_text_within_the_limit_needs_is_413(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/text-analyses", content=b" " * (6 * 1000 + 4097), headers={"Content-Type": "application/json"}
    )

    assert problem_of(response, 413, "TOO_LARGE")["errors"][0]["field"] == "body"


@pytest.mark.parametrize("top_terms", [0, 101, 1.5, "3"])
async def test_top_terms_out_of_range_is_named(top_terms: object, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/text-analyses", json={"text": "hello", "top_terms": top_terms})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "top_terms"


@pytest.mark.parametrize(
    ("error", "status"), [(InvalidInput("input.text", "white space"), 422), (TooLarge("input.text", "too long"), 413)]
)
async def test_what_ingestion_says_of_the_text_names_the_text(
    error: InvalidInput, status: int, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("AnalyzeText", error)

    response = await client.post("/v1/text-analyses", json={"text": " "})

    assert problem_of(response, status, error.reason)["errors"][0]["field"] == "text"


async def test_a_caller_who_goes_away_cancels_the_wait(ingestion: ScriptedIngestion, app: FastAPI) -> None:
    ingestion.hang("AnalyzeText")
    exchange = Exchange(app, "/v1/text-analyses", {"Content-Type": "application/json"})
    exchange.give(b'{"text": "hello"}', more=False)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.entered.wait()
        assert not ingestion.cancelled.is_set()

        exchange.cut()

        await ingestion.cancelled.wait()
    assert await exchange.end() == 499


async def test_a_server_at_the_end_of_its_grace_tells_those_who_wait(
    ingestion: ScriptedIngestion, app: FastAPI
) -> None:
    ingestion.hang("AnalyzeText")
    exchange = Exchange(app, "/v1/text-analyses", {"Content-Type": "application/json"})
    exchange.give(b'{"text": "hello"}', more=False)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.entered.wait()

    assert exchange.task is not None
    exchange.task.cancel()

    assert await exchange.end() == 503
    assert b'"request_id":"id-1"' in exchange.sent[1]["body"]
