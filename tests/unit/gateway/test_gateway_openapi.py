import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from edgescale.gateway.dead_letter_models import ReplayRequest
from edgescale.gateway.models import HeartbeatRequest, TextAnalysisRequest


@pytest.fixture
async def openapi(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


def references(node: object) -> set[str]:
    return set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(node)))


def test_every_reference_leads_somewhere(openapi: Any) -> None:
    assert references(openapi) <= set(openapi["components"]["schemas"])


def test_every_route_is_documented_with_its_problems(openapi: Any) -> None:
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }

    assert set(operations) == {
        "POST /v1/heartbeats",
        "POST /v1/text-analyses",
        "POST /v1/files",
        "GET /v1/tasks/{request_id}",
        "DELETE /v1/tasks/{request_id}",
        "GET /v1/agents",
        "GET /v1/lanes",
        "GET /v1/dead-letters",
        "GET /v1/dead-letters/{letter_id}",
        "POST /v1/dead-letters/replay",
        "POST /v1/dead-letters/{letter_id}/replay",
        "DELETE /v1/dead-letters",
        "DELETE /v1/dead-letters/{letter_id}",
        "GET /healthz",
        "GET /readyz",
    }
    for operation in operations.values():
        for status, response in operation["responses"].items():
            expected = "application/json" if status.startswith("2") else "application/problem+json"
            assert list(response["content"]) == [expected]


@pytest.mark.parametrize("model", [HeartbeatRequest, TextAnalysisRequest, ReplayRequest])
def test_examples_are_valid(model: type[HeartbeatRequest | TextAnalysisRequest | ReplayRequest], openapi: Any) -> None:
    (example,) = openapi["components"]["schemas"][model.__name__]["examples"]

    model.model_validate(example)


async def test_the_documentation_is_served(client: httpx.AsyncClient, app: FastAPI) -> None:
    page = await client.get("/docs")

    assert page.status_code == 200
    assert app.title in page.text
