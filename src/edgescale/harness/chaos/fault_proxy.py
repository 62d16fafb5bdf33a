"""The built-in proxy: it has every toxic, draws from a seed, and needs nothing that is not here.

One proxy is one link: a listener in front of one server. On the way to Redis it follows what is asked and answered, so
that faults can be aimed; whatever else goes through it, gRPC and HTTP included, is bytes.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random  # noqa: TID251 - given, or made of a seed that is
from typing import Any

from edgescale.errors import ConfigError, Unavailable
from edgescale.harness.chaos.effect import Effect, End
from edgescale.harness.chaos.effects import ON_BYTES
from edgescale.harness.chaos.effects_on_commands import ON_COMMANDS
from edgescale.harness.chaos.line import Line, Socket
from edgescale.harness.chaos.link import Target, checked_name
from edgescale.harness.chaos.toxic import Toxic
from edgescale.harness.chaos.toxics import ExecuteThenCut, HalfOpen, Refused
from edgescale.local.child import LOOPBACK, free_port


class FaultProxy:
    """A link, with every fault there is.

    Args:
        target: the server's URL, or its `host:port`.
        rng: draws what is left to chance; each connection, in the order of their making, has a chance of its own.

    Attributes:
        host, port: where clients connect, once it is started.
        url: the target's, with this host and port.
        struck: how many requests, replies, pieces or connections each toxic has befallen.

    Raises:
        ConfigError: the target is none.
    """

    def __init__(self, target: str, rng: Random) -> None:
        self._target = Target.parse(target)
        self._rng = rng
        self.host, self.port = LOOPBACK, free_port()
        self.struck: Counter[Toxic] = Counter()
        self._server: asyncio.Server | None = None
        self._downs = 0
        self._effects: list[Effect[Any]] = []
        self._lines: set[Line] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._defects: list[BaseException] = []

    @property
    def url(self) -> str:
        """The target's URL by way of this proxy."""
        return self._target.by_way_of(self.host, self.port)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._lines)

    @property
    def replies_lost(self) -> int:
        """How many connections were closed in place of a reply."""
        return sum(times for toxic, times in self.struck.items() if isinstance(toxic, ExecuteThenCut))

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: somebody else listens there.
        """
        try:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
        except OSError as error:
            raise Unavailable(f"cannot listen on port {self.port}: {error.strerror}") from error

    async def close(self) -> None:
        """Listen no more, and reset all connections. A defect that has ended one of them is raised now."""
        self._close_listener()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        if self._defects:
            raise self._defects[0]

    def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    @asynccontextmanager
    async def toxic(self, toxic: Toxic) -> AsyncIterator[Effect[Any]]:
        """See `Link`."""
        if isinstance(toxic, Refused):
            async with self._down(toxic) as down:
                yield down
            return
        effect = self.put(toxic)
        try:
            yield effect
        finally:
            self.lift(effect)

    def put(self, toxic: Toxic) -> Effect[Any]:
        """Put a fault in force for as long as it is not lifted; any but `Refused`.

        Raises:
            ConfigError: this link cannot have it.
        """
        kind = type(toxic)
        if kind in ON_COMMANDS and not self._target.speaks_resp:
            raise ConfigError(f"toxic: {kind.__name__} needs a link to redis://, whose commands it can read")
        effect = (ON_BYTES | ON_COMMANDS)[kind](toxic, self.struck)
        for effects in (self._effects, *(line.effects for line in self._lines)):
            effects.append(effect)
        return effect

    def lift(self, effect: Effect[Any]) -> None:
        """Heal a fault."""
        effect.lift()
        self._effects.remove(effect)
        for line in [line for line in self._lines if effect in line.effects and not effect.outlasts]:
            line.effects.remove(effect)
            effect.heal(line)

    def lead_to(self, target: str) -> None:
        """Lead to another server from now on; connections to the present one are reset.

        Raises:
            ConfigError: the target is none.
        """
        self._target = Target.parse(target)
        self.sever()

    def sever(self) -> None:
        """Reset all connections."""
        self._end_all(End.RESET)

    def darken(self) -> None:
        """Let what is sent over the present connections vanish, both ways and for good; new ones are not touched."""
        for effect in (self.put(HalfOpen(direction="upstream")), self.put(HalfOpen(direction="downstream"))):
            self.lift(effect)

    def lose_reply(self, holding: bytes, *, times: int = 1) -> None:
        """Pass the next requests that hold these bytes on, and close the connection in place of the reply."""
        self.put(ExecuteThenCut(holding=holding, times=times))

    @asynccontextmanager
    async def _down(self, toxic: Refused) -> AsyncIterator[Effect[Any]]:
        self._downs += 1
        self._close_listener()
        self.struck[toxic] += len(self._lines)
        self._end_all(End.CLOSE)
        try:
            yield Effect(toxic, self.struck)
        finally:
            self._downs -= 1
            if not self._downs:
                await self.start()

    def _end_all(self, how: End) -> None:
        for line in self._lines:
            line.end(how)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.ensure_future(self._serve(Socket(reader, writer)))
        self._handlers.add(handler)
        handler.add_done_callback(self._served)

    def _served(self, handler: asyncio.Task[None]) -> None:
        self._handlers.discard(handler)
        if not handler.cancelled() and (defect := handler.exception()) is not None:
            self._defects.append(defect)

    async def _serve(self, client: Socket) -> None:
        try:
            server = Socket(*await asyncio.open_connection(self._target.host, self._target.port))
        except OSError:
            # As Toxiproxy does: who asks for a server that is away is accepted first, and then left alone.
            client.writer.close()
            return
        if self._downs:
            client.writer.close()
            server.writer.close()
            return
        rng = Random(self._rng.getrandbits(64))  # noqa: S311 - chance that can be replayed is the point
        line = Line(client, server, list(self._effects), rng, speaks_resp=self._target.speaks_resp)
        self._lines.add(line)
        try:
            await line.run()
            self._lines.remove(line)
            await line.closed()
        except BaseException:
            line.end(End.RESET)
            raise
        finally:
            self._lines.discard(line)


class FaultProxies:
    """Makes links through proxies of this kind.

    Args:
        seed: of all of them; each draws from its own chance, which its name makes.
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = seed
        self._names: set[str] = set()

    @asynccontextmanager
    async def link(self, name: str, target: str) -> AsyncIterator[FaultProxy]:
        """See `Links`."""
        checked_name(name)
        if name in self._names:
            raise ConfigError(f"name: {name!r} is taken by another link; each needs its own")
        proxy = FaultProxy(target, Random(f"{self._seed}/{name}"))  # noqa: S311 - as above
        self._names.add(name)
        try:
            await proxy.start()
            yield proxy
        finally:
            self._names.remove(name)
            await proxy.close()


@asynccontextmanager
async def proxied(target: str, *, seed: int | str = 0) -> AsyncIterator[FaultProxy]:
    """A single link."""
    async with FaultProxies(seed).link("proxy", target) as proxy:
        yield proxy
