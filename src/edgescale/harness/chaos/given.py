"""A server that somebody else runs, given by its URL."""

from collections.abc import Sequence
from typing import NoReturn

from edgescale.broker.connection import Connection
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability, need
from edgescale.harness.chaos.fault_proxy import FaultProxies
from edgescale.harness.chaos.link import Target
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Description, Options, Product, Server, described

_TIMEOUT_MS = 5_000


def without_credentials(url: str) -> str:
    """What may be shown of a URL."""
    # Options behind the `?` may be secrets, too.
    shown, _, _ = url.partition("?")
    scheme, separator, rest = shown.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class GivenProvider(Provider):
    """One server that is there already. What is stored there is the user's; nothing can be done to it.

    Args:
        url: as the setting `redis_url`.
    """

    name = "url"

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._was_used = False

    def products(self) -> Sequence[Product]:
        """As of a provider; whether it is the right one turns out at the start."""
        return ("redis", "valkey")

    async def server(self, options: Options | None = None) -> Server:
        """The server, whatever it is, unless it is asked for by its product.

        Raises:
            ConfigError: it is another one, it does not answer, or something is stored there.
        """
        server = await super().server(options)
        self._was_used = True
        description = await server.describe()
        if options is not None and options.product not in {None, description.product.lower()}:
            raise ConfigError(f"{description.origin} is not {options.product}, but {description.product}")
        return server

    async def _server(self, product: Product, options: Options) -> "GivenServer":
        del product, options
        return GivenServer(self._url, was_used=self._was_used)


class GivenServer:
    """A server to be reached and described only.

    Args:
        url: as the setting `redis_url`.
        was_used: by a run before, which has left there what it stored.
    """

    def __init__(self, url: str, *, was_used: bool = False) -> None:
        self.url = url
        self._was_used = was_used
        self._shown = without_credentials(url)

    @property
    def peer(self) -> str:
        """As of a server: from this machine, as `url` says."""
        return Target.parse(self.url).address

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As of a server."""
        return CAPABILITIES["url"]

    async def describe(self) -> Description:
        """As of a server."""
        return await described(self.url, "url", self._shown)

    async def start(self) -> None:
        """See that it is there, that links can lead there, and that nothing is stored there.

        Raises:
            ConfigError: one of that is not so.
        """
        try:
            await self.describe()
            stored = await self._stored()
        except BrokerUnavailable as error:
            raise ConfigError(f"{self._shown} does not answer: {error}") from error
        if self.url.startswith("rediss://"):
            await self._see_through_a_link()
        # Request ids are the same in each run: what was stored before would be taken for this one's.
        if stored:
            raise ConfigError(f"{self._shown} is not empty (keys: {stored}), and a run needs it so: {self._remedy}")

    @property
    def _remedy(self) -> str:
        if self._was_used:
            return "the one before has left them; run one scenario at a time, and empty the database in between"
        return "empty that database, or name another one, such as /1 behind host and port"

    async def _stored(self) -> int:
        connection = Connection(self.url, timeout_ms=_TIMEOUT_MS, connections_max=1)
        try:
            return int(await connection.command("DBSIZE"))
        finally:
            await connection.close()

    async def _see_through_a_link(self) -> None:
        """TLS goes through links as it is, but who connects sees the address of the link.

        Raises:
            ConfigError: its certificate is not good there.
        """
        async with FaultProxies("given").link("given", self.url) as link:
            try:
                await described(link.url, "url", self._shown)
            except BrokerUnavailable as error:
                remedy = f"its certificate must name {link.host}, too, or the URL must say ?ssl_check_hostname=false"
                raise ConfigError(f"{self._shown} does not answer through links: {remedy}") from error

    async def kill(self) -> None:
        """As of a server."""
        self._cannot(Capability.KILL)

    async def restart(self) -> None:
        """As of a server."""
        self._cannot(Capability.RESTART)

    async def restart_empty(self) -> None:
        """As of a server."""
        self._cannot(Capability.RESTART_EMPTY)

    async def pause(self) -> None:
        """As of a server."""
        self._cannot(Capability.PAUSE)

    async def resume(self) -> None:
        """As of a server."""
        self._cannot(Capability.PAUSE)

    async def follow(self, primary: Server | None) -> None:
        """As of a server."""
        del primary
        self._cannot(Capability.REPLICA)

    async def discard(self) -> None:
        """Leave it as it is."""

    def _cannot(self, capability: Capability) -> NoReturn:
        need("url", capability)
        raise AssertionError("nothing can be done to a server that was given")
