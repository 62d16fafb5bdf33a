"""Which proxy stands between the services and Redis: `--proxy`, read and carried out.

All other ways lead through built-in proxies: a Toxiproxy in a container does not reach services of this machine.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from edgescale.errors import ConfigError
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.fault_proxy import FaultProxies
from edgescale.harness.chaos.link import Link, Links
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.replicated import Replicated
from edgescale.harness.chaos.server import Server

if TYPE_CHECKING:
    from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi
    from edgescale.harness.chaos.toxiproxy_at import ToxiproxyAt

_ACCEPTED = "built-in, toxiproxy, or the URL of a Toxiproxy such as http://127.0.0.1:8474"


class ProxyChoice(NamedTuple):
    """What `--proxy` says.

    Attributes:
        name: "url" for a Toxiproxy that somebody else runs.
        url: of that one; empty for all others.
    """

    name: Literal["built-in", "toxiproxy", "url"] = "built-in"
    url: str = ""

    @property
    def aims(self) -> bool:
        """Whether it reads what is asked of Redis, so that faults can be aimed at a command."""
        return self.name == "built-in"


def parse_proxy(text: str) -> ProxyChoice:
    """Read `--proxy`; nothing is looked for yet.

    Raises:
        ConfigError: it is none; what would be is told.
    """
    if text == "built-in":
        return ProxyChoice()
    if text == "toxiproxy":
        return ProxyChoice("toxiproxy")
    if text.startswith("http://"):
        return ProxyChoice("url", text)
    raise ConfigError(f"--proxy {text}: must be {_ACCEPTED}")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A kind of proxies, ready to make links.

    Attributes:
        told: what it is, for people and reports.
        api: of the Toxiproxy; None where all is built in.
        at: where that is, if it is in a container.
    """

    told: str
    api: "ToxiproxyApi | None" = None
    at: "ToxiproxyAt | None" = None

    def links(self, seed: int, server: Server) -> Links:
        """Makes the links of one run.

        Args:
            seed: of what built-in proxies leave to chance.
            server: to which links of this kind lead; all others are built in.

        Raises:
            ConfigError: they cannot lead there.
        """
        built_in = FaultProxies(seed)
        if self.api is None:
            return built_in
        from edgescale.harness.chaos.toxiproxy import ToxiproxyLinks

        if self.at is not None and isinstance(server, Replicated):
            raise ConfigError("--proxy: a Toxiproxy in a container reaches no server with a replica: use built-in")

        return _Split(built_in, ToxiproxyLinks(self.api, at=self.at, peers={server.url: server.peer}), server.url)


class _Split:
    """Links of two kinds. See `Links`."""

    def __init__(self, usual: Links, special: Links, url: str) -> None:
        self._usual, self._special, self._url = usual, special, url

    def link(self, name: str, target: str) -> AbstractAsyncContextManager[Link]:
        """See `Links`."""
        return (self._special if target == self._url else self._usual).link(name, target)


@asynccontextmanager
async def proxy_of(choice: ProxyChoice, provider: Provider) -> AsyncIterator[Proxy]:
    """The proxy that is meant, for as long as the block lasts.

    A Toxiproxy comes from the provider where it runs one; otherwise it is `toxiproxy-server` on PATH, or built with Go.

    Raises:
        ConfigError: it cannot be had; why, and what would help.
    """
    if choice.name == "built-in":
        yield Proxy("built-in")
        return
    # The extra may be missing, and whoever stays with what is built in does not need it.
    from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi
    from edgescale.harness.chaos.toxiproxy_server import toxiproxy_served

    async with AsyncExitStack() as ends:
        at = None
        if choice.name == "url":
            api, origin = ToxiproxyApi(choice.url), choice.url
        elif Capability.TOXIPROXY in provider.capabilities:
            at = await provider.toxiproxy()
            api, origin = ToxiproxyApi(f"http://{at.host}:{at.api_port}"), f"provider {provider.name}"
        else:
            folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="edgescale-toxiproxy-"))
            api, origin = await ends.enter_async_context(toxiproxy_served(Path(folder) / "log")), "on this machine"
        version = await api.version()
        yield Proxy(f"Toxiproxy ({origin}; version {version})", api, at)
