import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from edgescale.errors import LaneFull, NotFound, OutOfRange, TooManyRequests, UploadStalled
from edgescale.gateway import bodies
from edgescale.v1.file_pb2 import FileReport
from edgescale.v1.ingestion_service_pb2 import GetTaskResponse, UploadFileResponse
from edgescale.v1.task_pb2 import TaskError, TaskResult
from tests.unit.gateway.gateway_fixtures import PATIENCE_S, Exchange, ScriptedIngestion, Uploads, problem_of, task

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).digest()
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(autouse=True)
def _takes_uploads(ingestion: ScriptedIngestion) -> None:
    ingestion.answers["UploadFile"] = ingestion.read_all
    report = FileReport(file_id="f-1", size_bytes=len(CONTENT))
    found = task("r-file", file_id="f-1", result=TaskResult(file_report=report))
    ingestion.answer("GetTask", GetTaskResponse(task=found))


async def in_pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def form(*parts: tuple[str, bytes], boundary: str = "b0") -> tuple[bytes, dict[str, str]]:
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body + f"--{boundary}--\r\n".encode(), headers


def field(name: str, filename: str | None = None) -> str:
    suffix = "" if filename is None else f'; filename="{filename}"'
    return f'Content-Disposition: form-data; name="{name}"{suffix}'


async def test_a_file_may_be_for_later_and_only_for_a_while(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    times = {"not_before": "2030-01-01T06:00:00Z", "expire_time": "2030-01-01T07:00:00Z"}
    refused = await client.post("/v1/files", content=b"x", params={"not_before": "tomorrow"})
    await client.post("/v1/files", content=b"x", params=times)

    assert problem_of(refused, 422, "INVALID_INPUT")["errors"][0]["field"] == "not_before"
    start = ingestion.seen[0]
    assert start.schedule.not_before.ToJsonString() == "2030-01-01T06:00:00Z"
    assert start.schedule.expire_time.ToJsonString() == "2030-01-01T07:00:00Z"


async def test_a_file_may_have_an_ordering_key(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    await client.post("/v1/files", content=b"x", headers={"Ordering-Key": "pier-5"})
    refused = [
        await client.post("/v1/files", content=b"x", headers=headers)
        for headers in ([("Ordering-Key", "a:b")], [("Ordering-Key", "a"), ("Ordering-Key", "b")])
    ]

    assert (ingestion.seen[0].ordering_key, ingestion.seen[0].request_id) == ("pier-5", "")
    assert {problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] for response in refused} == {
        "Ordering-Key"
    }


async def test_a_raw_body_is_passed_on_with_all_that_is_known_of_it(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    headers = {
        "Content-Type": "image/png",
        "Content-Disposition": 'attachment; filename="a.png"',
        "Repr-Digest": f"sha-512=:AAAA:, sha-256=:{base64.b64encode(DIGEST).decode()}:",
        "Idempotency-Key": "k-1",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }

    response = await client.post("/v1/files", content=CONTENT, headers=headers)

    assert response.status_code == 200
    assert response.json()["result"]["size_bytes"] == len(CONTENT)
    assert response.json()["file_id"] == "f-1"
    start, poll = ingestion.seen
    assert (start.metadata.name, start.metadata.content_type) == ("a.png", "image/png")
    assert (start.metadata.size_bytes, start.metadata.sha256) == (len(CONTENT), DIGEST.hex())
    assert (start.request_id, poll.request_id, poll.wait.ToMilliseconds()) == ("k-1", "r-file", 5000)
    assert ingestion.content == CONTENT
    assert [len(chunk) for chunk in ingestion.chunks] == [65536, 65536, 65536, len(CONTENT) - 3 * 65536]


async def test_an_upload_carries_the_trace(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await client.post("/v1/files", content=CONTENT, headers={"traceparent": traceparent, **ASYNC})

    assert ingestion.metadata["traceparent"] == traceparent


async def test_a_body_without_a_length_is_resliced(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", content=in_pieces(CONTENT), headers=ASYNC)

    assert (response.status_code, response.headers["Location"]) == (202, "/v1/tasks/r-file")
    assert ingestion.content == CONTENT
    assert {len(chunk) for chunk in ingestion.chunks[:-1]} == {65536}
    assert not ingestion.seen[0].metadata.HasField("size_bytes")


async def test_an_empty_file_is_a_file(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", content=b"", headers=ASYNC)

    assert response.status_code == 202
    assert ingestion.seen[0].metadata.HasField("size_bytes")
    assert (ingestion.chunks, ingestion.half_closed) == ([], True)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="plain.txt"', "plain.txt"),
        ("attachment; filename=bare.txt", "bare.txt"),
        ("attachment; filename=\"x\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("attachment; FileName*=utf-8'de'%C3%A4", "ä"),
        ("attachment; filename=\"; filename*=UTF-8''no\"", "; filename*=UTF-8''no"),
        ('attachment; filename="../../etc/passwd"', "../../etc/passwd"),
        ('attachment; filename="ü.txt"', "ü.txt"),
        ("attachment", ""),
    ],
)
async def test_the_name_comes_from_content_disposition(
    disposition: str, name: str, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    headers = {b"Content-Disposition": disposition.encode(), b"Prefer": b"respond-async"}

    await client.post("/v1/files", content=b"x", headers=headers)

    assert ingestion.seen[0].metadata.name == name


async def test_the_name_in_the_query_goes_first(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    headers = {"Content-Disposition": 'attachment; filename="a"', **ASYNC}

    await client.post("/v1/files", params={"name": "ü.txt"}, content=b"x", headers=headers)

    assert ingestion.seen[0].metadata.name == "ü.txt"


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
@pytest.mark.parametrize("value", ["sha-256=:AAAA:", "sha-256=:!:", "sha-256=x", "sha-256=", "sha-256=:" + "A" * 44])
async def test_a_malformed_digest_is_named(header: str, value: str, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", content=b"x", headers={header: value})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == header


@pytest.mark.parametrize(
    ("headers", "field_name"),
    [
        ({"X-Content-SHA256": "zz"}, "X-Content-SHA256"),
        ({"X-Content-SHA256": "0" * 64, "Content-Digest": f"sha-256=:{base64.b64encode(DIGEST).decode()}:"}, None),
        ({"Content-Disposition": "attachment; filename*=latin-9''%ff"}, "Content-Disposition"),
        ({"Content-Disposition": "attachment; filename*=utf-8''%ff"}, "Content-Disposition"),
        ({"Idempotency-Key": "a b"}, "Idempotency-Key"),
    ],
)
async def test_a_malformed_declaration_is_refused_before_ingestion_is_asked(
    headers: dict[str, str], field_name: str | None, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    response = await client.post("/v1/files", content=b"x", headers=headers)

    named = problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"]
    assert named == (field_name or "Content-Digest")
    assert ingestion.seen == []


async def test_digests_that_agree_and_other_algorithms_are_fine(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    agreeing = {
        "X-Content-SHA256": DIGEST.hex().upper(),
        "Repr-Digest": f"sha-256=:{base64.b64encode(DIGEST).decode()}:",
    }

    await client.post("/v1/files", content=CONTENT, headers=agreeing | ASYNC)
    await client.post("/v1/files", content=CONTENT, headers={"Repr-Digest": "sha-512=:AAAA:"} | ASYNC)

    assert [start.metadata.sha256 for start in ingestion.seen] == [DIGEST.hex(), ""]


async def test_a_form_is_passed_on_with_the_fields_before_the_file(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    content, headers = form(
        (field("sha256"), DIGEST.hex().upper().encode()),
        (field("name"), "ü.bin".encode()),
        (field("file", "a.bin") + "\r\nContent-Type: image/png", CONTENT),
    )

    response = await client.post("/v1/files", content=content, headers=headers | ASYNC)

    assert response.status_code == 202
    metadata = ingestion.seen[0].metadata
    assert (metadata.name, metadata.content_type, metadata.sha256) == ("ü.bin", "image/png", DIGEST.hex())
    assert not metadata.HasField("size_bytes")
    assert ingestion.content == CONTENT


async def test_a_form_as_clients_make_it_is_read(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", files={"file": ("ä.txt", CONTENT)}, headers=ASYNC)

    assert response.status_code == 202
    assert (ingestion.seen[0].metadata.name, ingestion.content) == ("ä.txt", CONTENT)


@pytest.mark.parametrize(
    ("parts", "field_name"),
    [
        ([], "file"),
        ([(field("name"), b"n")], "file"),
        ([(field("file"), b"x")], "file"),
        ([(field("file", ""), b"")], "file"),
        ([(field("file", "a"), b"x"), (field("file", "b"), b"y")], "file"),
        ([(field("file", "a"), b"x"), (field("sha256"), b"0" * 64)], "sha256"),
        ([(field("colour"), b"red"), (field("file", "a"), b"x")], "colour"),
        ([("Content-Type: text/plain", b"x")], "body"),
        ([(field("name"), b"n"), (field("name"), b"m"), (field("file", "a"), b"x")], "name"),
        ([(field("name"), b"\xff"), (field("file", "a"), b"x")], "name"),
        ([(field("sha256"), b"xyz"), (field("file", "a"), b"x")], "sha256"),
    ],
)
async def test_a_form_that_is_no_upload_is_refused_by_name(
    parts: list[tuple[str, bytes]],
    field_name: str,
    ingestion: ScriptedIngestion,
    client: httpx.AsyncClient,
) -> None:
    content, headers = form(*parts)

    response = await client.post("/v1/files", content=content, headers=headers)

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == field_name
    assert not ingestion.half_closed


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("multipart/form-data", 422),
        ("multipart/form-data; boundary=", 422),
        ("multipart/form-data; boundary=" + "x" * 300, 422),
        ("multipart/mixed; boundary=x", 415),
    ],
)
async def test_a_form_without_a_sound_boundary_is_refused(
    content_type: str, status: int, client: httpx.AsyncClient
) -> None:
    response = await client.post("/v1/files", content=b"--x--\r\n", headers={"Content-Type": content_type})

    reason = "INVALID_INPUT" if status == 422 else "UNSUPPORTED_MEDIA_TYPE"
    assert problem_of(response, status, reason)["errors"][0]["field"] == "Content-Type"


async def test_a_digest_header_over_a_form_is_refused(client: httpx.AsyncClient) -> None:
    content, headers = form((field("file", "a"), b"x"))

    response = await client.post("/v1/files", content=content, headers=headers | {"X-Content-SHA256": "0" * 64})

    assert problem_of(response, 422, "INVALID_INPUT")["errors"][0]["field"] == "X-Content-SHA256"


async def test_a_compressed_upload_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", content=b"x", headers={"Content-Encoding": "gzip"})

    problem_of(response, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_declared_size_over_the_limit_is_refused_before_a_byte_is_read(
    app: FastAPI, ingestion: ScriptedIngestion
) -> None:
    exchange = Exchange(app, "/v1/files", {"Content-Length": "10000001"})
    exchange.give(b"x")
    exchange.start()

    assert await exchange.end() == 413
    assert (exchange.taken_bytes, ingestion.entered.is_set()) == (0, False)


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 30])
async def test_an_impossible_length_is_refused(length: str, app: FastAPI) -> None:
    exchange = Exchange(app, "/v1/files", {"Content-Length": length.encode().decode("latin-1")})
    exchange.give(b"x")
    exchange.start()

    assert await exchange.end() == 422


@pytest.mark.parametrize("as_form", [True, False])
async def test_an_undeclared_size_over_the_limit_is_refused_while_it_streams(
    as_form: bool,  # noqa: FBT001 - a parameter of the test
    app: FastAPI,
    ingestion: ScriptedIngestion,
) -> None:
    opening, headers = form((field("file", "a"), b""))
    exchange = Exchange(app, "/v1/files", headers if as_form else None)
    exchange.give(opening.removesuffix(b"\r\n--b0--\r\n") if as_form else b"")
    for _ in range(11):
        exchange.give(b"x" * 1_000_000)
    exchange.start()

    assert await exchange.end() == 413
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.cancelled.wait()
    assert not ingestion.half_closed


async def test_a_file_of_exactly_the_limit_passes(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/files", content=in_pieces(b"x" * 10_000_000, 1_000_000), headers=ASYNC)

    assert response.status_code == 202
    assert len(ingestion.content) == 10_000_000


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LaneFull("file", cap=2, retry_after_ms=1500), 429),
        (TooManyRequests("64 uploads under way", retry_after_ms=1500), 429),
    ],
)
async def test_a_refusal_before_the_first_chunk_is_answered_while_the_sender_still_sends(
    error: LaneFull | TooManyRequests, status: int, app: FastAPI, ingestion: ScriptedIngestion
) -> None:
    ingestion.answer("UploadFile", error)
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x" * 65536)
    exchange.start()

    assert await exchange.end() == status
    assert (b"retry-after", b"2") in exchange.sent[0]["headers"]


async def test_a_refusal_in_the_midst_of_an_upload_is_answered_with_its_own_status(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    async def take_some(requests: Uploads) -> UploadFileResponse:
        for _ in range(10):
            await anext(requests)
        raise OutOfRange("metadata.sha256", "is not that of the bytes")

    ingestion.answers["UploadFile"] = take_some

    # A write under way may fail before or after the status arrives; of so many refusals some see either.
    for _ in range(12):
        response = await client.post("/v1/files", content=in_pieces(b"x" * 3_000_000, 65536))

        assert problem_of(response, 422, "NOT_AS_DECLARED")["errors"][0]["field"] == "sha256"


async def test_a_sender_who_goes_away_cancels_the_upload(app: FastAPI, ingestion: ScriptedIngestion) -> None:
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x" * 100_000)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.entered.wait()

        exchange.cut()

        await ingestion.cancelled.wait()
    assert await exchange.end() == 499
    assert not ingestion.half_closed


async def test_a_sender_who_goes_away_while_the_file_is_stored_cancels_the_upload(
    app: FastAPI, ingestion: ScriptedIngestion
) -> None:
    stored = asyncio.Event()

    async def never_done(requests: Uploads) -> UploadFileResponse:
        await ingestion.read_all(requests)
        stored.set()
        await asyncio.Event().wait()
        raise AssertionError

    ingestion.answers["UploadFile"] = never_done
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x", more=False)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await stored.wait()

        exchange.cut()

        await ingestion.cancelled.wait()
    assert await exchange.end() == 499


async def test_a_sender_who_goes_away_during_the_wait_ends_only_the_wait(
    app: FastAPI, ingestion: ScriptedIngestion
) -> None:
    polled = asyncio.Event()

    async def poll(_request: Any) -> GetTaskResponse:
        polled.set()
        await asyncio.Event().wait()
        raise AssertionError

    ingestion.answers["GetTask"] = poll
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x", more=False)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await polled.wait()
        exchange.cut()
        await ingestion.cancelled.wait()

    assert await exchange.end() == 499
    assert ingestion.half_closed


async def test_a_sender_who_falls_silent_is_told_so_and_let_go(
    app: FastAPI, ingestion: ScriptedIngestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "IDLE_S", 0.5)
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x" * 70_000)
    exchange.start()

    assert await exchange.end() == 408
    assert (b"connection", b"close") in exchange.sent[0]["headers"]
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.cancelled.wait()


async def test_a_stall_that_ingestion_noticed_first_is_the_same_408(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("UploadFile", UploadStalled("no chunk came for 60 seconds"))

    problem_of(await client.post("/v1/files", content=b"x"), 408, "UPLOAD_STALLED")


async def test_a_server_at_the_end_of_its_grace_gives_up_the_upload(app: FastAPI, ingestion: ScriptedIngestion) -> None:
    exchange = Exchange(app, "/v1/files")
    exchange.give(b"x" * 100_000)
    exchange.start()
    async with asyncio.timeout(PATIENCE_S):
        await ingestion.entered.wait()
        assert exchange.task is not None

        exchange.task.cancel()

        await ingestion.cancelled.wait()
    assert await exchange.end() == 503


async def test_a_slow_store_slows_the_sender(app: FastAPI, ingestion: ScriptedIngestion) -> None:
    let_go = asyncio.Event()

    async def read_later(requests: Uploads) -> UploadFileResponse:
        await let_go.wait()
        return await ingestion.read_all(requests)

    ingestion.answers["UploadFile"] = read_later
    exchange = Exchange(app, "/v1/files", ASYNC)
    for _ in range(140):
        exchange.give(b"x" * 65536)
    exchange.give(b"", more=False)
    exchange.start()

    taken = await _taken_once_nothing_moves(exchange)
    let_go.set()

    assert await exchange.end() == 202
    assert taken < 1_000_000
    assert len(ingestion.content) == 140 * 65536


async def _taken_once_nothing_moves(exchange: Exchange) -> int:
    taken = -1
    async with asyncio.timeout(PATIENCE_S):
        while taken != exchange.taken_bytes:
            taken = exchange.taken_bytes
            await asyncio.sleep(0.3)
    return taken


@pytest.mark.parametrize("prefer", ["wait=1", "wait=0"])
async def test_a_report_that_does_not_come_in_time_is_504_with_the_place_to_ask_later(
    prefer: str, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("GetTask", GetTaskResponse(task=task("r-file", "RUNNING", file_id="f-1")))

    response = await client.post("/v1/files", content=b"x", headers={"Prefer": prefer})

    document = problem_of(response, 504, "WAIT_EXPIRED")
    assert (document["request_id"], document["file_id"]) == ("r-file", "f-1")
    assert response.headers["Location"] == "/v1/tasks/r-file"


@pytest.mark.parametrize(("prefer", "status"), [("wait=5", 504), ("respond-async, wait=5", 202)])
async def test_a_file_that_was_accepted_is_never_called_refused(
    prefer: str, status: int, ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    # A place to wait in is refused, once the file is in.
    ingestion.answer("GetTask", TooManyRequests("this server already has 2000 requests under way"))

    response = await client.post("/v1/files", content=b"x", headers={"Prefer": prefer})

    assert response.status_code == status
    assert response.json()["request_id"] == "r-file"
    assert response.headers["Location"] == "/v1/tasks/r-file"


async def test_a_file_whose_task_was_lost_is_to_be_sent_again(
    ingestion: ScriptedIngestion, client: httpx.AsyncClient
) -> None:
    ingestion.answer("GetTask", NotFound("task 'r-file' was lost before it was settled"))

    response = await client.post("/v1/files", content=b"x", headers={"Prefer": "wait=5"})

    assert problem_of(response, 503, "UNAVAILABLE")["request_id"] == "r-file"
    assert "Retry-After" in response.headers


async def test_a_file_whose_task_failed_is_422(ingestion: ScriptedIngestion, client: httpx.AsyncClient) -> None:
    failed = task("r-file", "FAILED", file_id="f-1", error=TaskError(reason="HASH_DIFFERS", message="other bytes"))
    ingestion.answer("GetTask", GetTaskResponse(task=failed))

    document = problem_of(await client.post("/v1/files", content=b"x"), 422, "TASK_FAILED")

    assert (document["state"], document["task_reason"]) == ("failed", "HASH_DIFFERS")
