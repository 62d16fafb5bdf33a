"""Where a Toxiproxy in a container is reached."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from edgescale.errors import ConfigError
from edgescale.local.child import free_port

API_PORT = 8474
_PROXIES = 8
_POLL_S = 0.05
_SERVES_WITHIN_S = 60.0
_ANSWERS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ToxiproxyAt:
    """A Toxiproxy; its ports are published under their own numbers, as those of a container cannot be added later.

    Attributes:
        host: where it is reached.
        api_port: of its HTTP interface.
        ports: on which its proxies may listen, at `listens_on`, and are reached, at `host`.
        listens_on: what its proxies listen on, so that they are reached from outside of their container.
    """

    listens_on: ClassVar[str] = "0.0.0.0"  # noqa: S104 - inside of the container
    host: str
    api_port: int
    ports: tuple[int, ...]

    async def until_it_serves(self) -> None:
        """Return as soon as its HTTP interface answers.

        Raises:
            ConfigError: it does not, for a minute.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_SERVES_WITHIN_S):
                while not await self._answers():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_POLL_S)
                return
        raise ConfigError(f"Toxiproxy does not answer at {self.host}:{self.api_port}")

    async def _answers(self) -> bool:
        # Docker accepts connections to a published port before anybody listens behind it.
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                reader, writer = await asyncio.open_connection(self.host, self.api_port)
                try:
                    writer.write(b"GET /version HTTP/1.0\r\nHost: toxiproxy\r\n\r\n")
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        return False


def proxy_ports() -> tuple[int, ...]:
    """Ports for proxies, one next to the other."""
    ports = [free_port() for _ in range(_PROXIES)]
    while ports[-1] - ports[0] != _PROXIES - 1:
        ports = [*ports[1:], free_port()]
    return tuple(ports)
