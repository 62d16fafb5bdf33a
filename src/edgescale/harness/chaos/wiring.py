"""Who reaches whom in a run on real parts: a link each way, so that faults can be put on it."""

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from edgescale.harness.chaos.link import Link, Links

CLIENTS, REDIS = "clients", "redis"
# Who reaches whom.
Ends = tuple[str, str]


class Wiring:
    """All links of a run. To be used in an `async with`, whose end takes them down.

    Args:
        links: makes them.
        names: of the services.
        addresses: `host:port` where each service listens that does, by its name.
        redis_url: of the server.
    """

    def __init__(self, links: Links, names: Sequence[str], addresses: dict[str, str], redis_url: str) -> None:
        self._links = links
        self._targets = dict(_targets(names, addresses, redis_url))
        self._open: dict[Ends, Link] = {}
        self._ends = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open all links; who listens at the other end may come later."""
        for (source, target), address in self._targets.items():
            link = self._links.link(f"{source}->{target}", address)
            self._open[source, target] = await self._ends.enter_async_context(link)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all links."""
        await self._ends.aclose()

    def url(self, source: str, target: str) -> str:
        """Where the source finds the target."""
        return self._open[source, target].url

    def address(self, source: str, target: str) -> str:
        """The same as `host:port`."""
        link = self._open[source, target]
        return f"{link.host}:{link.port}"

    def of(self, name: str) -> list[tuple[Ends, Link]]:
        """The links of which this is an end."""
        return [(ends, link) for ends, link in self._open.items() if name in ends]

    def between(self, source: str, target: str) -> Link:
        """The link from one to the other."""
        return self._open[source, target]


def _targets(names: Sequence[str], addresses: dict[str, str], redis_url: str) -> Iterator[tuple[Ends, str]]:
    for name in names:
        if not name.startswith("gateway"):
            yield (name, REDIS), redis_url
        if name in addresses:
            yield (CLIENTS, name), addresses[name]
        if name.startswith("gateway"):
            for other in names:
                if other.startswith("ingestion"):
                    yield (name, other), addresses[other]
