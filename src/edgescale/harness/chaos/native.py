"""Servers as child processes: the Valkey of the `local` extra, and redis-server where it is on PATH."""

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from edgescale.errors import ConfigError
from edgescale.harness.chaos.controlled import ControlledServer
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Options, Product
from edgescale.local.child import LOOPBACK, bundled_binary, free_port
from edgescale.local.valkey import EmbeddedValkey


def programs() -> Mapping[Product, Path]:
    """The server programs of this machine.

    Raises:
        ConfigError: there are none.
    """
    found: dict[Product, Path] = {}
    redis = shutil.which("redis-server")
    try:
        found["valkey"] = bundled_binary()
    except ConfigError as error:
        if redis is None:
            raise ConfigError(f"provider native: redis-server is not on PATH, and {error}") from error
    if redis is not None:
        found["redis"] = Path(redis)
    return found


class NativeProvider(Provider):
    """Servers of this machine, on its loopback interface.

    Args:
        data_dir: where their data and logs are; None for a directory that is removed at the end.
        product: see `Provider`.

    Raises:
        ConfigError: this machine has none.
    """

    name = "native"

    def __init__(self, data_dir: Path | None = None, product: Product | None = None) -> None:
        super().__init__(product)
        self._programs = programs()
        self._data_dir = data_dir
        self._made = 0

    def products(self) -> Sequence[Product]:
        """As of a provider."""
        return list(self._programs)

    async def _server(self, product: Product, options: Options) -> "NativeServer":
        if self._data_dir is None:
            self._data_dir = Path(self._ends.enter_context(TemporaryDirectory(prefix="edgescale-chaos-")))
        self._made += 1
        return NativeServer(self._programs[product], self._data_dir / f"{product}-{self._made}", options)


class NativeServer(ControlledServer):
    """A child process; each start is another one, on the same port and data."""

    def __init__(self, program: Path, data_dir: Path, options: Options) -> None:
        self._program = program
        self._data_dir = data_dir
        self._port = free_port()
        self._process: EmbeddedValkey | None = None
        peer = f"{LOOPBACK}:{self._port}"
        super().__init__("native", str(program), options, url=f"redis://{peer}/0", peer=peer)

    @property
    def _running(self) -> EmbeddedValkey:
        assert self._process is not None  # noqa: S101 - it was started
        return self._process

    async def _launch(self) -> None:
        settings = self._options.settings()
        self._process = EmbeddedValkey(self._data_dir, port=self._port, binary=self._program, options=settings)
        await self._process.start()

    async def _terminate(self) -> None:
        await self._running.stop()

    async def _kill(self) -> None:
        if self._process is not None:
            await self._process.kill()

    async def _pause(self) -> None:
        self._signal(signal.SIGSTOP)

    async def _resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._running.pid is not None:
            os.kill(self._running.pid, number)

    async def _wipe(self) -> None:
        # The log stays: it tells of what came before.
        for path in self._data_dir.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif self._process is None or path != self._process.log_path:
                path.unlink()

    async def _has_ended(self) -> bool:
        return self._running.pid is None

    async def _last_words(self) -> str:
        return self._running.last_words()
