"""Servers of docker-compose.test.yml, brought up and down with whichever Compose is there."""

import asyncio
import functools
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path

from edgescale.errors import ConfigError
from edgescale.harness.chaos.controlled import ControlledServer
from edgescale.harness.chaos.images import IMAGES
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Options, Product
from edgescale.harness.chaos.toxiproxy_at import ToxiproxyAt, proxy_ports
from edgescale.local.child import LOOPBACK, free_port

FILE = Path("docker-compose.test.yml")
_COMMANDS = (("docker", "compose"), ("docker-compose",))
_LOG_LINES = 3
_GRACE_S = 10


async def compose_command() -> tuple[str, ...]:
    """How Compose is called here.

    Raises:
        ConfigError: it is not.
    """
    for command in _COMMANDS:
        if shutil.which(command[0]) and (await _ended(*command, "version"))[0] == 0:
            return command
    raise ConfigError("provider compose needs `docker compose` or `docker-compose`; there is neither")


async def _ended(*command: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit status, output and complaints of a command; it is killed when the caller is cancelled."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environ)
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


class ComposeProvider(Provider):
    """Servers of a Compose file, in a project of their own; one of each product.

    Args:
        file: its services are redis, valkey and toxiproxy.
        product: see `Provider`.
    """

    name = "compose"

    def __init__(self, file: Path = FILE, product: Product | None = None) -> None:
        super().__init__(product)
        self._file = file
        self._ports = {service: free_port() for service in IMAGES}
        self._proxy_ports = proxy_ports()
        self._taken: set[str] = set()
        self._command: tuple[str, ...] = ()

    def products(self) -> Sequence[Product]:
        """As of a provider."""
        return ("redis", "valkey")

    async def _open(self) -> None:
        if not self._file.is_file():
            raise ConfigError(f"provider compose: there is no {self._file} in this folder, which is {Path.cwd()}")
        # The project is named by a port that is nobody else's.
        project = f"edgescale-chaos-{self._ports['redis']}"
        self._command = (*await compose_command(), "-f", str(self._file), "-p", project)
        self._ends.push_async_callback(self.run, "down", "--volumes", "--timeout", "0")

    async def run(self, *args: str, appendfsync: str = "always") -> str:
        """What a command of Compose prints.

        Raises:
            ConfigError: it failed; with its last words.
        """
        environ = {
            **os.environ,
            **{f"CHAOS_{service.upper()}_PORT": str(port) for service, port in self._ports.items()},
            "CHAOS_PROXY_PORTS": f"{self._proxy_ports[0]}-{self._proxy_ports[-1]}",
            "CHAOS_APPENDFSYNC": appendfsync,
        }
        status, out, err = await _ended(*self._command, *args, environ=environ)
        if status != 0:
            words = " / ".join(line.strip() for line in err.splitlines()[-_LOG_LINES:])
            raise ConfigError(f"{' '.join(self._command)} {' '.join(args)}: {words}")
        return out

    async def up(self, service: str, *, appendfsync: str = "always") -> None:
        """Make and start a service.

        Raises:
            ConfigError: as where its image cannot be had.
        """
        try:
            await self.run("up", "--detach", service, appendfsync=appendfsync)
        except ConfigError as error:
            image = IMAGES[service]
            remedy = f"its image is {image.name(os.environ)}; {image.variable} names another one"
            raise ConfigError(f"{error}; {remedy}") from error

    async def _server(self, product: Product, options: Options) -> "ComposeServer":
        if product in self._taken:
            raise ConfigError(f"provider compose has one {product}, which is in use")
        self._taken.add(product)
        return ComposeServer(self, product, self._ports[product], options)

    def release(self, service: Product) -> None:
        """Its server is gone: the next one may be had."""
        self._taken.discard(service)

    async def _toxiproxy(self) -> ToxiproxyAt:
        await self.up("toxiproxy")
        at = ToxiproxyAt(LOOPBACK, self._ports["toxiproxy"], self._proxy_ports)
        await at.until_it_serves()
        return at


class ComposeServer(ControlledServer):
    """A service of the file."""

    def __init__(self, provider: ComposeProvider, service: Product, port: int, options: Options) -> None:
        self._service = service
        self._discarded = False
        self._run = provider.run
        self._release = functools.partial(provider.release, service)
        self._up = functools.partial(provider.up, service, appendfsync=options.appendfsync)
        origin = IMAGES[service].name(os.environ)
        super().__init__("compose", origin, options, url=f"redis://{LOOPBACK}:{port}/0", peer=f"{service}:6379")

    async def discard(self) -> None:
        """As of a server; the provider has another one then."""
        # Once only: later, the service is that other one's.
        if not self._discarded:
            await super().discard()
            self._discarded = True
            self._release()

    async def _launch(self) -> None:
        # One that has ended is started again as it is.
        await self._up()

    async def _terminate(self) -> None:
        await self._run("stop", "--timeout", str(_GRACE_S), self._service)

    async def _kill(self) -> None:
        try:
            await self._run("kill", "-s", "SIGKILL", self._service)
        except ConfigError:
            if not await self._has_ended():
                raise

    async def _pause(self) -> None:
        await self._run("pause", self._service)

    async def _resume(self) -> None:
        await self._run("unpause", self._service)

    async def _wipe(self) -> None:
        await self._run("rm", "--force", "--stop", "-v", self._service)

    async def _has_ended(self) -> bool:
        running = await self._run("ps", "--services", "--filter", "status=running")
        return self._service not in running.split()

    async def _last_words(self) -> str:
        log = await self._run("logs", "--no-color", "--tail", str(_LOG_LINES), self._service)
        return " / ".join(log.splitlines()) or "it said nothing"
