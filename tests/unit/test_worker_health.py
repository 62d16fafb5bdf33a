"""The answers of a worker's health server, whatever the worker does."""

import httpx
import pytest

from edgescale.errors import ConfigError
from edgescale.telemetry.progress import Readiness
from edgescale.worker.health import health_served

ANYWHERE = "127.0.0.1:0"


@pytest.mark.parametrize(("method", "path", "expected"), [("GET", "/", 404), ("POST", "/readyz", 405)])
async def test_what_there_is_not_is_told_as_a_problem(method: str, path: str, expected: int) -> None:
    async with (
        health_served(ANYWHERE, lambda: Readiness("consuming")) as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=10) as client,
    ):
        answer = await client.request(method, path)
        assert answer.status_code == answer.json()["status"] == expected
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers.get("allow") == ("GET, HEAD" if expected == 405 else None)
        headless = await client.head("/readyz")
        assert (headless.status_code, headless.content) == (200, b"")


async def test_a_port_that_is_taken_is_a_clear_refusal() -> None:
    async with health_served(ANYWHERE, lambda: Readiness("consuming")) as address:
        with pytest.raises(ConfigError, match=rf"worker_health_bind {address}: .*is another process using the port"):
            async with health_served(address, lambda: Readiness("consuming")):
                pass
