"""What all servers that we run ourselves do alike; how a thing is done is a matter of who runs them."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import replace

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError, EdgeScaleError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability, need
from edgescale.harness.chaos.server import Description, Options, Server, described, host_and_port, serves

_POLL_S = 0.05
_SERVES_WITHIN_S = 60.0
_TIMEOUT_MS = 1_000


class ControlledServer(ABC):
    """A server that is ours to kill.

    Args:
        provider: its name.
        origin: see `Description`.
        options: how it is to be.
        url: where services reach it.
        peer: see `Server`.
    """

    def __init__(self, provider: str, origin: str, options: Options, *, url: str, peer: str) -> None:
        self.url = url
        self.peer = peer
        self.origin = origin
        self._provider = provider
        self._options = options
        self._runs = False
        self._paused = False

    @property
    def capabilities(self) -> frozenset[Capability]:
        """As of a server."""
        return CAPABILITIES[self._provider]

    async def describe(self) -> Description:
        """As of a server."""
        return await described(self.url, self._provider, self.origin)

    async def start(self) -> None:
        """As of a server."""
        # From here on there is something to end, even if this is cancelled halfway.
        self._runs = True
        await self._launch()
        await self._until_it_serves()

    async def kill(self) -> None:
        """As of a server."""
        if self._runs:
            await self._kill()
        self._runs = self._paused = False

    async def restart(self) -> None:
        """As of a server."""
        await self.resume()
        if self._runs:
            await self._terminate()
        await self.start()

    async def restart_empty(self) -> None:
        """As of a server."""
        await self.kill()
        await self._wipe()
        await self.start()

    async def pause(self) -> None:
        """As of a server."""
        if self._runs and not self._paused:
            await self._pause()
            self._paused = True

    async def resume(self) -> None:
        """As of a server."""
        if self._paused:
            await self._resume()
            self._paused = False

    async def follow(self, primary: Server | None) -> None:
        """As of a server."""
        need(self._provider, Capability.REPLICA)
        if self._runs:
            connection = self._connection()
            try:
                await connection.command("REPLICAOF", *(host_and_port(primary) if primary else ("NO", "ONE")))
            finally:
                await connection.close()
        self._options = replace(self._options, follows=primary)

    async def discard(self) -> None:
        """As of a server."""
        await self.kill()
        await self._wipe()

    def _connection(self) -> Connection:
        return Connection(self.url, timeout_ms=_TIMEOUT_MS, connections_max=1)

    async def _until_it_serves(self) -> None:
        connection = self._connection()
        try:
            async with asyncio.timeout(_SERVES_WITHIN_S):
                while not await self._serves(connection):
                    if await self._has_ended():
                        raise ConfigError(f"{self.origin} ended at once: {await self._last_words()}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            words = await self._last_words()
            raise ConfigError(f"{self.origin} did not serve within {_SERVES_WITHIN_S:.0f} s: {words}") from error
        finally:
            await connection.close()

    async def _serves(self, connection: Connection) -> bool:
        with suppress(EdgeScaleError):
            return await serves(connection, as_replica=self._options.follows is not None)
        return False

    @abstractmethod
    async def _launch(self) -> None:
        """Start it, for the first time or again, with the data that there is."""

    @abstractmethod
    async def _terminate(self) -> None:
        """Tell it to end (SIGTERM), and return when it has."""

    @abstractmethod
    async def _kill(self) -> None:
        """End it at once, paused or not; harmless if it has ended by itself."""

    @abstractmethod
    async def _pause(self) -> None:
        """Let it do nothing more."""

    @abstractmethod
    async def _resume(self) -> None:
        """Let it go on."""

    @abstractmethod
    async def _wipe(self) -> None:
        """Remove its data; it does not run."""

    @abstractmethod
    async def _has_ended(self) -> bool:
        """Whether it has ended by itself."""

    @abstractmethod
    async def _last_words(self) -> str:
        """The end of its log."""
