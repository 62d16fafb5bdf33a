"""Which provider the servers come from: `--provider`, read and carried out."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from edgescale.errors import ConfigError
from edgescale.harness.chaos.compose import ComposeProvider
from edgescale.harness.chaos.given import GivenProvider, without_credentials
from edgescale.harness.chaos.link import Target
from edgescale.harness.chaos.native import NativeProvider
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.server import Product

# Under `auto`, a server that is given goes first. Not EDGESCALE_*: the services refuse settings that they do not know.
URL_VARIABLE = "CHAOS_REDIS_URL"
_NAMES = ("auto", "docker", "native", "compose")
_PRODUCTS: tuple[Product, ...] = get_args(Product)
_ACCEPTED = f"{', '.join(_NAMES)}, or a URL such as redis://127.0.0.1:6379/0; a product may follow, as in native:redis"
_SOCKET = Path("/var/run/docker.sock")


class Choice(NamedTuple):
    """What `--provider` says.

    Attributes:
        name: of the provider; "url" for a server that somebody else runs.
        url: of that one; empty for all others.
        product: of its servers; None for what it has first.
    """

    name: Literal["auto", "docker", "native", "compose", "url"]
    url: str = ""
    product: Product | None = None


class Chosen(NamedTuple):
    """A provider that is not entered yet, and why it is this one."""

    provider: Provider
    because: str


def parse_provider(text: str) -> Choice:
    """Read `--provider`; nothing is looked for yet.

    Raises:
        ConfigError: it is none; what would be is told.
    """
    if "://" in text:
        return Choice("url", _checked(text))
    name, colon, _ = text.partition(":")
    if name not in _NAMES:
        raise ConfigError(f"--provider {text}: must be one of {_ACCEPTED}")
    return Choice(cast("Literal['auto', 'docker', 'native', 'compose']", name), product=_of(text) if colon else None)


def _of(text: str) -> Product:
    """The product that a provider's name is followed by."""
    name, _, product = text.partition(":")
    able = [f"{other}:{each}" for other in _NAMES if other != "auto" for each in _PRODUCTS]
    if name == "auto" or product not in _PRODUCTS:
        raise ConfigError(f"--provider {text}: where a product is named, it must be one of {', '.join(able)}")
    return product


def _checked(url: str) -> str:
    """The same, if links can lead there."""
    try:
        Target.parse(url)
    except ConfigError:
        found = False
    else:
        found = url.startswith(("redis://", "rediss://"))
    if not found:
        # Not in the other one's words, which show credentials.
        wanted = "a URL must be that of one server, redis://host:port, or rediss://host:port with TLS"
        raise ConfigError(f"--provider {without_credentials(url)}: {wanted}; links lead to nothing else")
    return url


async def choose(choice: Choice, *, environ: Mapping[str, str] = os.environ, data_dir: Path | None = None) -> Chosen:
    """The provider that is meant. `auto` is a server given by CHAOS_REDIS_URL, Docker, native, in this order.

    Native goes in the place of Docker only where there is no engine: one that is there and lacks an image is an error,
    as what is tested must not depend on what a machine happens to have.

    Args:
        choice: what was asked for.
        environ: the environment.
        data_dir: where native servers keep data and logs; None for a directory that is removed at the end.

    Raises:
        ConfigError: it cannot be had; entering a provider may still raise it.
    """
    if choice.name != "auto":
        return Chosen(_named(choice, data_dir), "asked for")
    if url := environ.get(URL_VARIABLE):
        return Chosen(GivenProvider(parse_provider(url).url), f"{URL_VARIABLE} names it")
    if trouble := await docker_trouble():
        return Chosen(NativeProvider(data_dir), f"there is no Docker engine: {trouble}")
    return Chosen(docker_provider(), "a Docker engine is reachable")


def _named(choice: Choice, data_dir: Path | None) -> Provider:
    if choice.name == "docker":
        return docker_provider(choice.product)
    if choice.name == "compose":
        return ComposeProvider(product=choice.product)
    return GivenProvider(choice.url) if choice.name == "url" else NativeProvider(data_dir, choice.product)


def docker_provider(product: Product | None = None) -> Provider:
    """Servers in containers.

    Args:
        product: see `Provider`.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from edgescale.harness.chaos.docker import DockerProvider
    except ImportError as error:
        remedy = "pip install edgescale[chaos], or use --provider native"
        raise ConfigError(f"provider docker needs testcontainers, which is not installed: {remedy}") from error
    return DockerProvider(product)


async def docker_trouble() -> str:
    """Why there is no Docker engine; empty where one is reachable, or may be.

    Without testcontainers we cannot ask one, and only look for traces.
    """
    try:
        from edgescale.harness.chaos.docker import engine_trouble
    except ImportError:
        return "" if _traces_of_docker() else "there is no trace of Docker here"
    return await engine_trouble()


def _traces_of_docker() -> bool:
    return bool(os.environ.get("DOCKER_HOST") or shutil.which("docker") or _SOCKET.exists())
