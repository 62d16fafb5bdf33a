"""What every provider of servers offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Self

from edgescale.errors import ConfigError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability, need
from edgescale.harness.chaos.server import Options, Product, Server
from edgescale.harness.chaos.toxiproxy_at import ToxiproxyAt


class Provider(ABC):
    """Where servers come from. Use it as an async context: what it started ends with the block.

    Args:
        product: of servers for who does not ask for one; None for the first that it has.

    Attributes:
        name: as in `--provider`; "url" for a server that somebody else runs.
    """

    name: ClassVar[str]

    def __init__(self, product: Product | None = None) -> None:
        self._product = product
        self._ends = AsyncExitStack()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What can be done to its servers."""
        return CAPABILITIES[self.name]

    async def __aenter__(self) -> Self:
        """Make ready what its servers share.

        Raises:
            ConfigError: it cannot be had; why, and what would help.
        """
        try:
            await self._open()
        except BaseException:
            await self._ends.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that it started."""
        await self._ends.aclose()

    async def server(self, options: Options | None = None) -> Server:
        """A server of its own that serves, with nothing in it.

        Raises:
            ConfigError: there is none like that, or it does not start; why, and what would help.
        """
        wanted = options or Options()
        if wanted.follows is not None:
            need(self.name, Capability.REPLICA)
        products = self.products()
        product = wanted.product or self._product or products[0]
        if product not in products:
            raise ConfigError(f"provider {self.name} has no {product} here, but {' and '.join(products)}")
        server = await self._server(product, wanted)
        self._ends.push_async_callback(server.discard)
        await server.start()
        return server

    async def toxiproxy(self) -> ToxiproxyAt:
        """A Toxiproxy that reaches the servers at their `peer`.

        Raises:
            ConfigError: this provider has none, or it does not start.
        """
        need(self.name, Capability.TOXIPROXY)
        return await self._toxiproxy()

    @abstractmethod
    def products(self) -> Sequence[Product]:
        """What it has, the usual one first; at least one."""

    async def _open(self) -> None:  # noqa: B027 - not all share something
        """Make ready what its servers share; what must be ended goes to `_ends`."""

    @abstractmethod
    async def _server(self, product: Product, options: Options) -> Server:
        """A server that is not started yet, of one of `products`."""

    async def _toxiproxy(self) -> ToxiproxyAt:
        raise AssertionError(f"provider {self.name} has no Toxiproxy")
