import asyncio

import httpx
import pytest
from fastapi import FastAPI
from google.protobuf.struct_pb2 import Value

from edgescale.errors import NotFound
from edgescale.gateway.models import TaskDocument
from edgescale.v1.file_pb2 import FileReport, ImageDimensions
from edgescale.v1.heartbeat_pb2 import HeartbeatReceipt
from edgescale.v1.ingestion_service_pb2 import CancelTaskResponse, GetTaskResponse
from edgescale.v1.task_pb2 import TaskError, TaskResult
from tests.unit.gateway.gateway_fixtures import PATIENCE_S, Exchange, ScriptedIngestion, problem_of, task


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "dead_lettered", "expired", "cancelled"])
async def test_a_task_in_any_state_is_shown(
    state: str, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-1", state.upper())))

    response = await client.get("/v1/tasks/r-1")

    assert (response.status_code, response.json()["state"]) == (200, state)
    TaskDocument.model_validate(response.json())


async def test_a_failed_task_shows_its_error(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    error = TaskError(reason="BAD_TEXT", message="not a text")
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-1", "FAILED", error=error)))

    document = (await client.get("/v1/tasks/r-1")).json()

    assert document["error"] == {"reason": "BAD_TEXT", "message": "not a text"}
    assert "result" not in document


async def test_sizes_are_numbers_and_zeros_are_shown(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    report = FileReport(file_id="f", size_bytes=2**40, image=ImageDimensions(width=0, height=7))
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-1", result=TaskResult(file_report=report))))

    result = (await client.get("/v1/tasks/r-1")).json()["result"]

    assert result == {
        "file_id": "f",
        "display_name": "",
        "size_bytes": 2**40,
        "sha256": "",
        "detected_type": "",
        "image": {"width": 0, "height": 7},
    }


async def test_a_heartbeat_receipt_and_a_json_result_are_shown_as_they_are(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    receipt = HeartbeatReceipt(agent_id="a", sequence=2**53 - 1, missed_beats=0, repeated=True)
    value = Value()
    value.struct_value.update({"camelCase": [1, None, "x"]})
    ingestion.answer(
        "GetTask",
        GetTaskResponse(task=task("r-1", result=TaskResult(heartbeat_receipt=receipt))),
        GetTaskResponse(task=task("r-1", result=TaskResult(json=value))),
    )

    first = (await client.get("/v1/tasks/r-1")).json()["result"]
    second = (await client.get("/v1/tasks/r-1")).json()["result"]

    assert first == {"agent_id": "a", "sequence": 2**53 - 1, "missed_beats": 0, "repeated": True}
    assert second == {"camelCase": [1.0, None, "x"]}


@pytest.mark.parametrize(("query", "wait_ms"), [("", 0), ("?wait=1.5", 1500), ("?wait=1e30", 9000)])
async def test_the_wait_is_passed_on_within_the_limit_and_the_call_outlasts_it(
    query: str, wait_ms: int, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-1", "QUEUED")))

    response = await client.get(f"/v1/tasks/r-1{query}")

    assert response.status_code == 200
    assert ingestion.seen[0].wait.ToMilliseconds() == wait_ms
    (timeout,) = ingestion.timeouts
    assert timeout is not None
    assert timeout > wait_ms / 1000


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "soon"])
async def test_an_impossible_wait_is_refused(wait: str, client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/tasks/r-1", params={"wait": wait})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "wait"


async def test_an_unknown_task_is_404(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("GetTask", NotFound("no task is known under r-1"))

    assert problem_of(await client.get("/v1/tasks/r-1"), 404, "TASK_NOT_FOUND")["request_id"] == "r-1"


async def test_an_impossible_id_is_refused_without_asking(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    response = await client.get("/v1/tasks/a%20b")

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "request_id"
    assert ingestion.seen == []


async def test_a_caller_who_goes_away_ends_the_long_poll(ingestion: ScriptedIngestion, app: FastAPI) -> None:
    ingestion.hang("GetTask")
    exchange = Exchange(app, "/v1/tasks/r-1")
    exchange._scope["method"] = "GET"
    exchange.give(b"", more=False)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.entered.wait()

        exchange.cut()

        await ingestion.cancelled.wait()
    assert await exchange.end() == 499


@pytest.mark.parametrize("state", ["cancelled", "succeeded", "failed"])
async def test_a_cancelled_task_is_shown_as_it_stands_then(
    state: str, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("CancelTask", CancelTaskResponse(task=task("r-1", state.upper())))

    response = await client.delete("/v1/tasks/r-1")

    assert (response.status_code, response.json()["state"]) == (200, state)
    TaskDocument.model_validate(response.json())
    assert ingestion.seen[0].request_id == "r-1"
    assert ingestion.timeouts != [None]


async def test_nothing_is_cancelled_where_no_task_is_known(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("CancelTask", NotFound("no task is known under r-1"))

    assert problem_of(await client.delete("/v1/tasks/r-1"), 404, "TASK_NOT_FOUND")["request_id"] == "r-1"


async def test_an_impossible_id_is_not_cancelled(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    response = await client.delete("/v1/tasks/a%20b")

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "request_id"
    assert ingestion.seen == []
