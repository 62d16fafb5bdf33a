"""A few plain HTTP requests from a thread, so that the demonstration needs no HTTP library."""

import asyncio
import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and JSON body of one response."""

    status: int
    body: Any


class Http:
    """Requests to one gateway.

    Args:
        address: `host:port`.
        timeout_s: for each response.
    """

    def __init__(self, address: str, *, timeout_s: float = 90.0) -> None:
        self._address = address
        self._timeout_s = timeout_s

    async def get(self, path: str) -> Answer:
        """GET."""
        return await asyncio.to_thread(self._exchange, "GET", path, None, {})

    async def post(self, path: str, document: object, *, request_id: str = "") -> Answer:
        """POST a JSON document; a request id goes as Idempotency-Key."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": request_id} if request_id else {})
        return await asyncio.to_thread(self._exchange, "POST", path, json.dumps(document).encode(), headers)

    async def post_file(self, path: str, source: Path) -> Answer:
        """POST a file's bytes, streamed."""
        return await asyncio.to_thread(self._send_file, path, source)

    def _send_file(self, path: str, source: Path) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(source.stat().st_size),
            "Content-Disposition": f'attachment; filename="{source.name}"',
        }
        with source.open("rb") as file:
            return self._exchange("POST", path, file, headers)

    def _exchange(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout_s)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()
