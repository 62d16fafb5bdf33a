"""Servers in containers, through testcontainers. Its calls block: each runs in a thread.

Its Redis and Valkey containers are not used: they wait with a client of their own or with a program that the image may
lack, know nothing of a server that is loading, and start once. What all containers share is used.
"""

import asyncio
import functools
import os
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

import docker.errors
import requests
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_host
from testcontainers.core.labels import create_labels
from testcontainers.core.network import Network

from edgescale.chance import SystemChance
from edgescale.errors import ConfigError
from edgescale.harness.chaos.controlled import ControlledServer
from edgescale.harness.chaos.images import IMAGES
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Options, Product, arguments
from edgescale.harness.chaos.toxiproxy_at import API_PORT, ToxiproxyAt, proxy_ports
from edgescale.local.child import LOOPBACK, free_port

T = TypeVar("T")
# On everything that is made here: docker rm -fv $(docker ps -aq --filter label=edgescale.chaos) clears up.
_LABELS = {"edgescale.chaos": "true"}
# Source: Docker, "docker context"; where the default one is.
_SOCKET = "/var/run/docker.sock"
_ASK_WITHIN_S = 5
_DATA = "/data"
_PORT = 6379
_GRACE_S = 10
_LOG_LINES = 3
_FOREIGN = (docker.errors.DockerException, requests.RequestException)


async def engine_trouble() -> str:
    """Why no Docker engine is reachable; empty where one is."""
    try:
        await _in_a_thread(_ask_the_engine)
    except ConfigError as error:
        return str(error)
    return ""


def _ask_the_engine() -> None:
    host = get_docker_host() or f"unix://{_SOCKET}"
    scheme, _, path = host.partition("://")
    if scheme == "unix":
        # The Docker SDK would leave its socket open, and say it in more words.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError as error:
                raise ConfigError(f"{host}: {error.strerror}") from error
    DockerClient(timeout=_ASK_WITHIN_S).client.close()


async def _in_a_thread(call: Callable[[], T]) -> T:
    """What a blocking call returns, its errors translated. Who is cancelled waits for it: it may make something."""
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise
    except _FOREIGN as error:
        raise ConfigError(f"Docker: {getattr(error, 'explanation', None) or error}") from error


class DockerProvider(Provider):
    """Servers in containers of one network, published on the loopback interface.

    Where the engine is on another machine, they are published on all of that one's interfaces.

    Args:
        product: see `Provider`.
    """

    name = "docker"

    def products(self) -> Sequence[Product]:
        """As of a provider."""
        return ("redis", "valkey")

    async def _open(self) -> None:
        if trouble := await engine_trouble():
            raise ConfigError(f"no Docker engine is reachable ({trouble}): start one, or use --provider native")
        self._docker = await _in_a_thread(DockerClient)
        self._ends.callback(self._docker.client.close)
        if not testcontainers_config.ryuk_disabled:
            # It clears up behind those who are killed; testcontainers starts it with the first container.
            remedy = "do without the reaper with TESTCONTAINERS_RYUK_DISABLED=true"
            await self._pull(testcontainers_config.ryuk_image, remedy)
        self._network = await _in_a_thread(self._made_network)
        self.host = await _in_a_thread(self._reached_at)

    def _made_network(self) -> Network:
        network = Network(docker_network_kw={"labels": _LABELS}).create()
        self._ends.push_async_callback(_in_a_thread, network.remove)
        return network

    def _reached_at(self) -> str:
        """The host at which published ports are reached from here."""
        mode = self._docker.get_connection_mode()
        host = self._docker.host()
        if mode is ConnectionMode.docker_host:
            return LOOPBACK if host == "localhost" else host
        # Here is a container, too: that of the engine itself, or one beside those that it starts.
        [addresses] = self._docker.client.networks.get(self._network.id).attrs["IPAM"]["Config"]
        gateway = str(addresses["Gateway"])
        with socket.socket() as probe:
            try:
                probe.bind((gateway, 0))
            except OSError:
                return gateway
        return LOOPBACK

    async def obtain(self, image: str) -> str:
        """The full name of an image of `IMAGES`, which is there now.

        Raises:
            ConfigError: it is not, and cannot be pulled.
        """
        name = testcontainers_config.hub_image_name_prefix + IMAGES[image].name(os.environ)
        await self._pull(name, f"name another image with {IMAGES[image].variable}")
        return name

    async def _pull(self, name: str, remedy: str) -> None:
        def pull() -> None:
            try:
                self._docker.client.images.get(name)
            except docker.errors.ImageNotFound:
                self._docker.client.images.pull(name)

        try:
            await _in_a_thread(pull)
        except ConfigError as error:
            told = f"the image {name} is not here, and was not to be had ({error})"
            raise ConfigError(f"{told}: docker pull {name}, or {remedy}") from error

    def container(self, image: str, command: list[str], ports: dict[int, int]) -> DockerContainer:
        """A container in the network that is not started yet; its ports are published under the given numbers."""
        made = DockerContainer(image.removeprefix(testcontainers_config.hub_image_name_prefix))
        made.with_network(self._network).with_kwargs(labels=_LABELS)
        if command:
            made.with_command(command)
        for inside, outside in ports.items():
            # testcontainers has no word for the interface; the Docker SDK takes a pair of it and the port.
            made.ports[f"{inside}/tcp"] = (LOOPBACK, outside) if self.host == LOOPBACK else outside  # type: ignore[assignment]
        return made

    def remove_volume(self, name: str) -> None:
        """Remove a volume, if it is there; blocks."""
        try:
            self._docker.client.volumes.get(name).remove(force=True)
        except docker.errors.NotFound:
            return

    async def _server(self, product: Product, options: Options) -> "DockerServer":
        return DockerServer(self, product, await self.obtain(product), options)

    async def _toxiproxy(self) -> ToxiproxyAt:
        image = await self.obtain("toxiproxy")
        api_port, ports = free_port(), proxy_ports()
        published = {API_PORT: api_port, **{port: port for port in ports}}
        container = await _in_a_thread(functools.partial(self.container, image, [], published))
        self._ends.push_async_callback(_in_a_thread, container.stop)
        await _in_a_thread(container.start)
        at = ToxiproxyAt(self.host, api_port, ports)
        await at.until_it_serves()
        return at


class DockerServer(ControlledServer):
    """A container; each start is another one, with the same port, name in the network and volume."""

    def __init__(self, provider: DockerProvider, product: Product, image: str, options: Options) -> None:
        self._docker = provider
        self._program = f"{product}-server"
        self._port = free_port()
        self._alias = f"{product}-{self._port}"
        self._volume = f"edgescale-chaos-{SystemChance().new_id()}"
        self._container: DockerContainer | None = None
        url = f"redis://{provider.host}:{self._port}/0"
        super().__init__("docker", image, options, url=url, peer=f"{self._alias}:{_PORT}")

    async def _launch(self) -> None:
        await _in_a_thread(self._start_container)

    def _start_container(self) -> None:
        settings = self._options.settings() | {"dir": _DATA, "protected-mode": "no"}
        command = [self._program, *arguments(settings)]
        container = self._docker.container(self.origin, command, {_PORT: self._port})
        container.with_network_aliases(self._alias)
        container.get_docker_client().client.volumes.create(self._volume, labels=create_labels(self.origin, _LABELS))
        container.with_volume_mapping(self._volume, _DATA, "rw")
        self._container = container
        container.start()

    @property
    def _started(self) -> DockerContainer:
        assert self._container is not None  # noqa: S101 - it was started
        return self._container

    async def _terminate(self) -> None:
        await _in_a_thread(lambda: self._started.get_wrapped_container().stop(timeout=_GRACE_S))
        await self._kill()

    async def _kill(self) -> None:
        if self._container is not None:
            # Source: docker rm --force, "uses SIGKILL".
            await _in_a_thread(self._container.stop)
            self._container = None

    async def _pause(self) -> None:
        await _in_a_thread(lambda: self._started.get_wrapped_container().pause())

    async def _resume(self) -> None:
        await _in_a_thread(lambda: self._started.get_wrapped_container().unpause())

    async def _wipe(self) -> None:
        await _in_a_thread(lambda: self._docker.remove_volume(self._volume))

    async def _has_ended(self) -> bool:
        def ended() -> bool:
            self._started.reload()
            return self._started.status == "exited"

        return await _in_a_thread(ended)

    async def _last_words(self) -> str:
        log: bytes = await _in_a_thread(lambda: self._started.get_wrapped_container().logs(tail=_LOG_LINES))
        return " / ".join(log.decode(errors="replace").splitlines()) or "it said nothing"
