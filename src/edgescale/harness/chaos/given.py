"""A server that somebody else runs, given by its URL."""

from collections.abc import Sequence
from typing import NoReturn

from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability, need
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Description, Options, Product, Server, described


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

    def products(self) -> Sequence[Product]:
        """As of a provider; whether it is the right one turns out at the start."""
        return ("redis", "valkey")

    async def server(self, options: Options | None = None) -> Server:
        """The server, whatever it is, unless it is asked for by its product.

        Raises:
            ConfigError: it is another one, or it does not answer.
        """
        server = await super().server(options)
        description = await server.describe()
        if options is not None and options.product not in {None, description.product.lower()}:
            raise ConfigError(f"{description.origin} is not {options.product}, but {description.product}")
        return server

    async def _server(self, product: Product, options: Options) -> "GivenServer":
        del product, options
        return GivenServer(self._url)


class GivenServer:
    """A server to be reached and described only."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._shown = without_credentials(url)

    @property
    def peer(self) -> str:
        """As of a server: nothing that we run reaches it."""
        self._cannot(Capability.REPLICA)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As of a server."""
        return CAPABILITIES["url"]

    async def describe(self) -> Description:
        """As of a server."""
        return await described(self.url, "url", self._shown)

    async def start(self) -> None:
        """See that it is there.

        Raises:
            ConfigError: it does not answer.
        """
        try:
            await self.describe()
        except BrokerUnavailable as error:
            raise ConfigError(f"{self._shown} does not answer: {error}") from error

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
