import asyncio

import httpx
import pytest
from fastapi import FastAPI

from edgescale.errors import BrokerUnavailable, InvalidInput
from edgescale.gateway.app import make_app
from edgescale.gateway.models import AgentPage, LaneList
from edgescale.gateway.upstream import Ingestion
from edgescale.v1.heartbeat_pb2 import AGENT_STATE_STALE, Agent
from edgescale.v1.ingestion_service_pb2 import (
    Consumer,
    Lane,
    ListAgentsResponse,
    ListLanesResponse,
    SendHeartbeatResponse,
)
from tests.unit.gateway.gateway_fixtures import (
    PATIENCE_S,
    CountedChance,
    ScriptedIngestion,
    http_client,
    problem_of,
    serving,
    small_settings,
)

BEAT = {"agent_id": "a", "sequence": 1}


async def test_agents_are_listed_page_by_page(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    agent = Agent(agent_id="a", state=AGENT_STATE_STALE, sequence=9, beats=10, metrics={"load": 0.5})
    agent.first_seen_time.FromMilliseconds(0)
    agent.last_seen_time.FromMilliseconds(1)
    page = ListAgentsResponse(agents=[agent])
    page.next_page_token = "t"  # noqa: S105 - no password
    ingestion.answer("ListAgents", page, ListAgentsResponse())

    first = (await client.get("/v1/agents", params={"limit": 1})).json()
    last = (await client.get("/v1/agents", params={"page_token": first["next_page_token"]})).json()

    AgentPage.model_validate(first)
    assert first["agents"][0] == {
        "agent_id": "a",
        "state": "stale",
        "first_seen_at": "1970-01-01T00:00:00Z",
        "last_seen_at": "1970-01-01T00:00:00.001Z",
        "sequence": 9,
        "boot_id": "",
        "beats": 10,
        "missed_beats": 0,
        "status": "",
        "metrics": {"load": 0.5},
    }
    assert last == {"agents": [], "next_page_token": None}
    assert [(request.page_size, request.page_token) for request in ingestion.seen] == [(1, ""), (100, "t")]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "many"])
async def test_an_impossible_page_size_is_refused(limit: str, client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/agents", params={"limit": limit})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "limit"


async def test_a_broken_page_token_is_named(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("ListAgents", InvalidInput("page_token", "is from no page of this list"))

    response = await client.get("/v1/agents", params={"page_token": "?"})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "page_token"


async def test_lanes_are_listed(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    busy = Lane(name="text", backlog=3, running=1, cap=10, consumers=[Consumer(name="w", running=1)])
    busy.oldest_age.FromMilliseconds(1500)
    busy.consumers[0].idle.FromMilliseconds(20)
    ingestion.answer("ListLanes", ListLanesResponse(lanes=[busy, Lane(name="file", cap=5)]))

    document = (await client.get("/v1/lanes")).json()

    LaneList.model_validate(document)
    assert document["lanes"][0] == {
        "name": "text",
        "backlog": 3,
        "running": 1,
        "cap": 10,
        "oldest_age_seconds": 1.5,
        "consumers": [{"name": "w", "running": 1, "idle_seconds": 0.02}],
    }
    assert document["lanes"][1] == {"name": "file", "backlog": 0, "running": 0, "cap": 5, "consumers": []}


async def test_a_list_that_cannot_be_had_is_503(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("ListLanes", BrokerUnavailable("Redis is away"))

    problem_of(await client.get("/v1/lanes"), 503, "BROKER_UNAVAILABLE")


async def test_the_gateway_is_ready_while_ingestion_serves(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_without_ingestion_the_gateway_is_alive_and_not_ready() -> None:
    settings = small_settings("127.0.0.1:1")
    async with (
        Ingestion.connect(settings) as upstream,
        http_client(make_app(settings, upstream, CountedChance())) as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        problem_of(await client.get("/readyz"), 503, "UNAVAILABLE")


async def test_ingestion_that_is_down_is_503_at_once_and_is_found_again(ingestion: ScriptedIngestion) -> None:
    ingestion.answer("SendHeartbeat", SendHeartbeatResponse(request_id="r"))
    async with serving(ingestion) as address:
        pass
    settings = small_settings(address, redis_patience_ms=60_000)
    async with (
        Ingestion.connect(settings) as upstream,
        http_client(make_app(settings, upstream, CountedChance())) as client,
    ):
        async with asyncio.timeout(2):
            down = await client.post("/v1/heartbeats", json=BEAT)
        async with serving(ingestion, address):
            status = await _until_accepted(client)

    document = problem_of(down, 503, "UNAVAILABLE")
    assert down.headers["Retry-After"] == "1"
    assert address not in document["detail"]
    assert status == 202


async def _until_accepted(client: httpx.AsyncClient) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while (response := await client.post("/v1/heartbeats", json=BEAT)).status_code == 503:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.05)  # the gateway has no event for "found again"; only asking tells
    return response.status_code


async def test_what_the_router_refuses_is_a_problem_too(client: httpx.AsyncClient) -> None:
    problem_of(await client.get("/v1/nothing"), 404, "NOT_FOUND")
    problem_of(await client.get("/v1/lanes/"), 404, "NOT_FOUND")
    wrong_method = await client.get("/v1/heartbeats")
    problem_of(wrong_method, 405, "METHOD_NOT_ALLOWED")
    assert wrong_method.headers["Allow"] == "POST"


async def test_a_defect_of_the_gateway_is_logged_under_the_name_the_caller_is_told(
    app: FastAPI, ingestion: ScriptedIngestion, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken() -> None:
        raise ValueError("a secret")

    app.add_api_route("/broken", broken)

    response = await client.get("/broken")

    assert problem_of(response, 500, "INTERNAL")["instance"] == "urn:edgescale:occurrence:id-1"
    assert "secret" not in response.text
    logged = capsys.readouterr().out
    assert "request.failed" in logged
    assert "id-1" in logged
    assert "a secret" in logged
    assert ingestion.seen == []
