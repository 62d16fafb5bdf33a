"""Links through a Toxiproxy: the same vocabulary as that of the built-in proxy, as far as Toxiproxy has it."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from edgescale.errors import ConfigError
from edgescale.harness.chaos.link import Target, checked_name, same_fault
from edgescale.harness.chaos.toxic import Directed, Toxic
from edgescale.harness.chaos.toxics import Bandwidth, BlackHole, Latency, LimitBytes, Refused, Reset, SlowDrip
from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi
from edgescale.harness.chaos.toxiproxy_at import ToxiproxyAt
from edgescale.local.child import LOOPBACK, free_port

ANYWHERE = "0.0.0.0"  # noqa: S104 - of a Toxiproxy that is elsewhere, in a container as a rule


def described(toxic: Toxic) -> tuple[str, Mapping[str, int]]:
    """What Toxiproxy calls a toxic, and its attributes there.

    Raises:
        ConfigError: only the built-in proxy has it.
    """
    match toxic:
        case Latency():
            return "latency", {"latency": toxic.latency_ms, "jitter": toxic.jitter_ms}
        case Bandwidth():
            return "bandwidth", {"rate": toxic.kilobytes_per_s}
        case SlowDrip():
            attributes = {"average_size": toxic.piece_bytes, "size_variation": toxic.spread_bytes}
            return "slicer", attributes | {"delay": toxic.pause_us}
        case BlackHole():
            return "timeout", {"timeout": 0}
        case Reset():
            return "reset_peer", {"timeout": 0}
        case LimitBytes():
            return "limit_data", {"bytes": toxic.bytes_max}
        case _:
            raise ConfigError(f"toxic: {type(toxic).__name__} is beyond Toxiproxy; the built-in proxy has it")


class ToxiproxyLink:
    """A proxy of a Toxiproxy. See `Link`.

    Args:
        api: where it is.
        name: of the proxy there.
        target: the server behind it.
        host, port: where clients connect.
    """

    def __init__(self, api: ToxiproxyApi, name: str, target: Target, *, host: str, port: int) -> None:
        self._api = api
        self._name = name
        self._numbers = itertools.count(1)
        self._downs = 0
        self.host, self.port = host, port
        self.url = target.by_way_of(host, port)

    @asynccontextmanager
    async def toxic(self, toxic: Toxic) -> AsyncIterator["ToxiproxyDose"]:
        """See `Link`."""
        if isinstance(toxic, Refused):
            async with self._down():
                yield ToxiproxyDose(self._api, self._name, "", toxic)
            return
        kind, attributes = described(toxic)
        assert isinstance(toxic, Directed)  # noqa: S101 - what Toxiproxy has, has a direction
        name = f"{kind}-{next(self._numbers)}"
        await self._api.add_toxic(self._name, name, kind=kind, direction=toxic.direction, attributes=attributes)
        try:
            yield ToxiproxyDose(self._api, self._name, name, toxic)
        finally:
            await self._api.remove_toxic(self._name, name)

    @asynccontextmanager
    async def _down(self) -> AsyncIterator[None]:
        self._downs += 1
        try:
            await self._api.enable(self._name, enabled=False)
            yield
        finally:
            self._downs -= 1
            if not self._downs:
                await self._api.enable(self._name, enabled=True)


class ToxiproxyDose:
    """A toxic in force. See `Dose`."""

    def __init__(self, api: ToxiproxyApi, proxy: str, name: str, toxic: Toxic) -> None:
        self._api = api
        self._proxy = proxy
        self._name = name
        self._toxic = toxic

    async def change(self, toxic: Toxic) -> None:
        """See `Dose`."""
        self._toxic = same_fault(self._toxic, toxic)
        if not isinstance(toxic, Refused):
            await self._api.change_toxic(self._proxy, self._name, described(toxic)[1])


class ToxiproxyLinks:
    """Makes links through one Toxiproxy, which may run anywhere and serve others as well. See `Links`.

    Args:
        api: of the Toxiproxy. Where that is not this machine, its proxies listen on all of its interfaces.
        at: where it is reached, if it is in a container, which has a few ports for its proxies.
        peers: by target, `host:port` at which the Toxiproxy reaches it, where it does so otherwise than we.
    """

    def __init__(
        self, api: ToxiproxyApi, *, at: ToxiproxyAt | None = None, peers: Mapping[str, str] | None = None
    ) -> None:
        self._api = api
        self._at = at
        self._peers = peers or {}
        self._free = list(at.ports) if at else []

    @asynccontextmanager
    async def link(self, name: str, target: str) -> AsyncIterator[ToxiproxyLink]:
        """See `Links`."""
        checked_name(name)
        where = Target.parse(target)
        bind, host, port = self._place()
        await self._api.create(name, listen=f"{bind}:{port}", upstream=self._peers.get(target, where.address))
        try:
            yield ToxiproxyLink(self._api, name, where, host=host, port=port)
        finally:
            await self._api.remove(name)
            if self._at is not None:
                self._free.append(port)

    def _place(self) -> tuple[str, str, int]:
        """What the next proxy listens on, and the host and port where it is reached."""
        if self._at is None:
            host = self._api.target.host
            return LOOPBACK if host in {LOOPBACK, "localhost"} else ANYWHERE, host, free_port()
        if not self._free:
            raise ConfigError(f"toxiproxy: its container has {len(self._at.ports)} ports, and all of them are in use")
        return self._at.listens_on, self._at.host, self._free.pop()
