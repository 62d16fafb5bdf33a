import json
from typing import Any

import httpx
import pytest

from edgescale.errors import BrokerUnavailable, Conflict, InternalError, InvalidInput, LaneFull, TooManyRequests
from edgescale.v1.ingestion_service_pb2 import SendHeartbeatResponse
from tests.unit.gateway.gateway_fixtures import ScriptedIngestion, problem_of

BEAT = {
    "agent_id": "a-1",
    "sequence": 7,
    "boot_id": "b",
    "sent_time": "2026-01-02T03:04:05.5+01:00",
    "status": "ok",
    "metrics": {"load": 0.5, "jobs": 3},
}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_heartbeat_reaches_ingestion_with_all_its_fields(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("SendHeartbeat", SendHeartbeatResponse(request_id="k-1", repeated=True))
    headers = {"Idempotency-Key": '"k-1"', "traceparent": TRACEPARENT}

    response = await client.post("/v1/heartbeats", json=BEAT, headers=headers)

    assert (response.status_code, response.json()) == (202, {"request_id": "k-1", "repeated": True})
    (request,) = ingestion.seen
    beat = request.heartbeat
    assert (request.request_id, beat.agent_id, beat.sequence, beat.boot_id) == ("k-1", "a-1", 7, "b")
    assert beat.sent_time.ToJsonString() == "2026-01-02T02:04:05.500Z"
    assert (beat.status, dict(beat.metrics)) == ("ok", {"load": 0.5, "jobs": 3.0})
    assert ingestion.metadata["traceparent"] == TRACEPARENT


async def test_without_a_key_no_id_is_sent_and_a_malformed_traceparent_is_dropped(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("SendHeartbeat", SendHeartbeatResponse(request_id="made"))

    response = await client.post(
        "/v1/heartbeats", json={"agent_id": "a", "sequence": 0}, headers={"traceparent": "00-0-0-00"}
    )

    assert response.json() == {"request_id": "made", "repeated": False}
    assert ingestion.seen[0].request_id == ""
    assert "traceparent" not in ingestion.metadata


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": 5}, "agent_id"),
        ({"agent_id": "x" * 129}, "agent_id"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**53}, "sequence"),
        ({"sequence": "7"}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"sent_time": "2026-01-02T03:04:05"}, "sent_time"),
        ({"sent_time": 1700000000}, "sent_time"),
        ({"status": "x" * 257}, "status"),
        ({"metrics": {"": 1.0}}, "metrics"),
        ({"metrics": {"load": "high"}}, "metrics.load"),
        ({"metrics": {str(n): 1.0 for n in range(65)}}, "metrics"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_member_is_named(change: dict[str, Any], field: str, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/heartbeats", json=BEAT | change)

    document = problem_of(response, 422, "INVALID_INPUT")
    assert document["errors"][0]["field"].startswith(field)


async def test_a_missing_member_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/heartbeats", json={})

    errors = problem_of(response, 422, "INVALID_INPUT")["errors"]
    assert errors == [
        {"field": "agent_id", "problem": "is required"},
        {"field": "sequence", "problem": "is required"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"agent_id": "\xff", "sequence": 1}',
        b'{"agent_id": "\\ud800", "sequence": 1}',
        b'{"agent_id": "a", "sequence": NaN}',
        b'{"agent_id": "a", "sequence": 1, "metrics": {"m": NaN}}',
        b'{"agent_id": "a", "sequence": 1, "metrics": {"m": Infinity}}',
        b'{"agent_id": "a", "sequence": 1, "metrics": {"m": 1e999}}',
        b"[" * 5000,
    ],
)
async def test_what_is_no_sound_json_is_refused(body: bytes, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/heartbeats", content=body, headers={"Content-Type": "application/json"})

    problem_of(response, 422, "INVALID_INPUT")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_refused(media_type: str, client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = await client.post("/v1/heartbeats", content=json.dumps(BEAT), headers=headers)

    document = problem_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")
    assert document["errors"][0]["field"] == "Content-Type"


async def test_a_compressed_body_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/heartbeats", json=BEAT, headers={"Content-Encoding": "gzip"})

    assert problem_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")["errors"][0]["field"] == "Content-Encoding"


async def test_a_body_over_the_limit_is_refused_whether_declared_or_not(client: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 10_000

    headers = {"Content-Type": "application/json"}
    declared = await client.post("/v1/heartbeats", content=b" " * 65_537, headers=headers)
    chunked = await client.post("/v1/heartbeats", content=endless(), headers=headers)

    problem_of(declared, 413, "TOO_LARGE")
    problem_of(chunked, 413, "TOO_LARGE")


@pytest.mark.parametrize("key", ["", '""', "x" * 129, "a b", 'a"', "ümlaut", "a/b"])
async def test_a_malformed_key_is_refused_by_name(key: str, client: httpx.AsyncClient) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    response = await client.post("/v1/heartbeats", json=BEAT, headers=headers)

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "Idempotency-Key"


async def test_two_keys_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/heartbeats", json=BEAT, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    )

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "Idempotency-Key"


async def test_a_full_lane_is_429_with_the_time_to_come_back(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("SendHeartbeat", LaneFull("heartbeat", cap=3, retry_after_ms=2100))

    response = await client.post("/v1/heartbeats", json=BEAT, headers={"Idempotency-Key": "k"})

    document = problem_of(response, 429, "LANE_FULL")
    assert response.headers["Retry-After"] == "3"
    assert (document["lane"], document["cap"], document["retry_after_ms"]) == ("heartbeat", "3", 2100)
    assert (document["request_id"], document["agent_id"]) == ("k", "a-1")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TooManyRequests("hands full", retry_after_ms=500), 429),
        (BrokerUnavailable("Redis is away", retry_after_ms=500), 503),
    ],
)
async def test_passing_troubles_say_when_to_come_back(
    error: TooManyRequests | BrokerUnavailable, status: int, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("SendHeartbeat", error)

    response = await client.post("/v1/heartbeats", json=BEAT)

    problem_of(response, status, error.reason)
    assert response.headers["Retry-After"] == "1"


async def test_a_conflict_is_409(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("SendHeartbeat", Conflict("request id k is taken by other content"))

    response = await client.post("/v1/heartbeats", json=BEAT, headers={"Idempotency-Key": "k"})

    assert problem_of(response, 409, "REQUEST_ID_CONFLICT")["request_id"] == "k"


async def test_fields_have_their_http_names(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    ingestion.answer("SendHeartbeat", InvalidInput("heartbeat.agent_id", "must not hold control characters"))

    document = problem_of(await client.post("/v1/heartbeats", json=BEAT), 422, "INVALID_INPUT")

    assert document["errors"] == [{"field": "agent_id", "problem": "must not hold control characters"}]
    assert document["detail"] == "agent_id: must not hold control characters"


@pytest.mark.parametrize("error", [InternalError(), RuntimeError("password=hunter2")])
async def test_a_defect_behind_the_gateway_is_500_and_says_nothing_of_its_cause(
    error: Exception, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("SendHeartbeat", error)

    response = await client.post("/v1/heartbeats", json=BEAT)

    document = problem_of(response, 500, "INTERNAL")
    assert document["instance"] == "urn:edgescale:occurrence:id-1"
    assert "hunter2" not in response.text


async def test_ingestion_that_hangs_is_given_up_as_unavailable(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.hang("SendHeartbeat")

    response = await client.post("/v1/heartbeats", json=BEAT)

    problem_of(response, 503, "UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"
