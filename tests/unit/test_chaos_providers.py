"""Which provider is meant, what each can do, and what is told where it cannot be had."""

import asyncio
import importlib.util
import re
import shutil
import sys
import threading
from pathlib import Path

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos import native, providers
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability, need
from edgescale.harness.chaos.compose import ComposeProvider, compose_command
from edgescale.harness.chaos.given import GivenProvider, GivenServer
from edgescale.harness.chaos.images import IMAGES
from edgescale.harness.chaos.native import NativeProvider
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose, parse_provider
from edgescale.harness.chaos.server import Description, Options, Product, Server, arguments

ROOT = Path(__file__).parents[2]
DARK = "redis://user:secret@127.0.0.1:1/0?password=hush"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trouble() -> str:
        return "nobody listens"

    monkeypatch.setattr(providers, "docker_trouble", trouble)


@pytest.mark.parametrize("name", ["auto", "docker", "native", "compose"])
def test_a_provider_is_named(name: str) -> None:
    assert parse_provider(name) == Choice(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["docker", "native", "compose"])
@pytest.mark.parametrize("product", ["redis", "valkey"])
def test_a_product_is_named_behind_its_provider(name: str, product: str) -> None:
    assert parse_provider(f"{name}:{product}") == Choice(name, product=product)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["auto:redis", "auto:", "docker:", "native:Redis", "compose:keydb", "native:redis:7"])
def test_a_product_that_cannot_be_chosen_is_told_what_can_be(text: str) -> None:
    able = "docker:redis, docker:valkey, native:redis, native:valkey, compose:redis, compose:valkey"
    with pytest.raises(ConfigError, match=rf"^--provider {text}: .*must be one of {able}$"):
        parse_provider(text)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://user:secret@[::1]:6379",
        "rediss://user:secret@host:6380/0?ssl_ca_certs=ca.pem",
    ],
)
def test_a_url_is_a_server_of_somebody_else(url: str) -> None:
    assert parse_provider(url) == Choice("url", url)


@pytest.mark.parametrize(
    "url",
    [
        "unix:///run/redis.sock?db=1",
        "redis+cluster://user:secret@a:1",
        "redis+sentinel://user:secret@a:1,b:2/primary",
        "redis://user:secret@a:1,b:2",
        "redis://user:secret@host:99999/0",
        "redis://host",
        "redis://",
        "redis:///0",
        "http://host:80/",
    ],
)
def test_a_url_to_which_no_link_can_lead_is_told_which_can_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="must be that of one server, redis://host:port, or rediss://host") as caught:
        parse_provider(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "Docker", "podman", "127.0.0.1:6379"])
def test_anything_else_is_told_what_would_be_accepted(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("auto, docker, native, compose, or a URL such as redis://")):
        parse_provider(text)


async def test_auto_takes_a_given_server_first(no_engine: None) -> None:
    del no_engine
    provider, because = await choose(Choice("auto"), environ={"CHAOS_REDIS_URL": "redis://host:6379"})

    assert isinstance(provider, GivenProvider)
    assert because == "CHAOS_REDIS_URL names it"


async def test_auto_goes_native_where_no_engine_is_and_says_why(no_engine: None) -> None:
    del no_engine
    provider, because = await choose(Choice("auto"), environ={})

    assert isinstance(provider, NativeProvider)
    assert because == "there is no Docker engine: nobody listens"


async def test_auto_goes_to_docker_where_an_engine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_trouble() -> str:
        return ""

    meant = NativeProvider()
    monkeypatch.setattr(providers, "docker_trouble", no_trouble)
    monkeypatch.setattr(providers, "docker_provider", lambda: meant)

    assert (await choose(Choice("auto"), environ={})).provider is meant


async def test_what_is_asked_for_by_name_is_taken() -> None:
    assert isinstance((await choose(Choice("native"))).provider, NativeProvider)
    assert isinstance((await choose(Choice("compose"))).provider, ComposeProvider)
    assert isinstance((await choose(Choice("url", "redis://host:6379"))).provider, GivenProvider)


def test_without_testcontainers_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgescale.harness.chaos.docker", None)
    with pytest.raises(ConfigError, match=r"pip install edgescale\[chaos\], or use --provider native"):
        providers.docker_provider()


async def test_without_testcontainers_docker_is_taken_to_be_there_where_there_is_a_trace_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "edgescale.harness.chaos.docker", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(providers, "_SOCKET", tmp_path / "docker.sock")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert await providers.docker_trouble() == "there is no trace of Docker here"
    monkeypatch.setenv("DOCKER_HOST", "tcp://docker:2375")
    assert await providers.docker_trouble() == ""


async def test_an_engine_that_cannot_be_reached_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("testcontainers", reason="the extra `chaos` is not installed")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(ConfigError, match=r"no Docker engine is reachable .*start one, or use --provider native"):
        await providers.docker_provider().__aenter__()


async def test_who_is_cancelled_waits_for_what_a_thread_is_making() -> None:
    docker = pytest.importorskip("edgescale.harness.chaos.docker", reason="the extra `chaos` is not installed")
    loop, began, go_on, made = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), []

    def make() -> None:
        loop.call_soon_threadsafe(began.set)
        made.append(go_on.wait(60))

    making = asyncio.create_task(docker._in_a_thread(make))
    await began.wait()
    making.cancel()
    await asyncio.wait([making], timeout=0)
    assert not making.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert made == [True]


def test_a_machine_without_server_programs_is_told_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise ConfigError("the embedded server is not installed")

    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(native, "bundled_binary", missing)
    with pytest.raises(ConfigError, match="redis-server is not on PATH, and the embedded server is not installed"):
        NativeProvider()


async def test_a_product_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ConfigError, match="provider native has no redis here, but valkey"):
        await NativeProvider().server(Options(product="redis"))


async def test_a_product_that_was_chosen_and_is_not_there_is_told_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    provider, _ = await choose(parse_provider("native:redis"))
    with pytest.raises(ConfigError, match="provider native has no redis here, but valkey"):
        await provider.server()


async def test_the_product_that_was_chosen_is_the_usual_one_of_every_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def note(_provider: Provider, product: Product, _options: Options) -> Server:
        asked.append(product)
        raise ConfigError("that will do")

    names = ["native", "compose", *(["docker"] if importlib.util.find_spec("testcontainers") else [])]
    for name in names:
        provider, _ = await choose(parse_provider(f"{name}:valkey"))
        # Whichever it has first, it is not that one.
        monkeypatch.setattr(type(provider), "products", lambda _provider: ["redis", "valkey"])
        monkeypatch.setattr(type(provider), "_server", note)
        for options in (None, Options(), Options(product="redis")):
            with pytest.raises(ConfigError, match="that will do"):
                await provider.server(options)
    assert asked == ["valkey", "valkey", "redis"] * len(names)


async def test_compose_is_told_where_it_looked_for_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"no docker-compose.test.yml in this folder, which is {tmp_path}"):
        await ComposeProvider().__aenter__()


async def test_without_compose_both_commands_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs `docker compose` or `docker-compose`"):
        await compose_command()


@pytest.mark.parametrize("installed", [["docker compose"], ["docker-compose"], ["docker compose", "docker-compose"]])
async def test_whichever_compose_is_there_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: list[str]
) -> None:
    for name, succeeds in (("docker", "docker compose" in installed), ("docker-compose", True)):
        if name == "docker" or name in installed:
            (tmp_path / name).write_text(f"#!/bin/sh\nexit {0 if succeeds else 1}\n")
            (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert await compose_command() == tuple(installed[0].split())


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_provider_that_can_do_it_is_not_complained_about(name: str) -> None:
    need(name, *CAPABILITIES[name])


def test_what_a_provider_cannot_do_is_told_before_a_run_with_those_who_can() -> None:
    with pytest.raises(
        ConfigError, match="provider url cannot kill a server, pause a server; who can: --provider docker or native"
    ):
        need("url", Capability.KILL, Capability.PAUSE)
    with pytest.raises(ConfigError, match=r"provider native cannot start Toxiproxy; who can: --provider docker$"):
        need("native", Capability.REPLICA, Capability.TOXIPROXY)


async def test_a_given_server_obeys_nobody() -> None:
    server = GivenServer("redis://127.0.0.1:1/0")
    assert server.capabilities == frozenset()
    for verb in (server.kill, server.restart, server.restart_empty, server.pause, server.resume):
        with pytest.raises(ConfigError, match="provider url cannot"):
            await verb()
    with pytest.raises(ConfigError, match="provider url cannot start a replica"):
        await server.follow(None)
    with pytest.raises(ConfigError, match="provider url cannot start a replica"):
        await GivenProvider(server.url).server(Options(follows=server))


def test_a_toxiproxy_on_this_machine_reaches_a_given_server_where_we_do() -> None:
    assert GivenServer("redis://user:secret@host:6380/0").peer == "host:6380"


async def test_a_given_server_that_is_not_there_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError, match=r"redis://127\.0\.0\.1:1/0 does not answer") as caught:
        await GivenProvider(DARK).server()
    assert "secret" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_an_image_is_pinned_unless_the_environment_names_another_one() -> None:
    for image in IMAGES.values():
        assert re.search(r":\d+\.\d+\.\d+", image.default)
        assert image.name({}) == image.name({image.variable: ""}) == image.default
        assert image.name({image.variable: "mine:1"}) == "mine:1"


def test_compose_has_the_same_images_and_options_and_publishes_on_loopback_only() -> None:
    text = (ROOT / "docker-compose.test.yml").read_text()
    assert re.findall(r"image: (.*)", text) == [f"${{{image.variable}:-{image.default}}}" for image in IMAGES.values()]

    commands = re.findall(r"command: >-\n((?: {6}.*\n)+)", text)
    settings = Options().settings() | {"appendfsync": "${CHAOS_APPENDFSYNC:-always}", "save": '""'}
    del settings["repl-diskless-sync-delay"]
    for command in commands:
        assert " ".join(command.split()).endswith(" ".join(arguments(settings)))
    assert len(commands) == 2

    published = re.findall(r'"(\S+:\$\S+)"', text)
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_documented_of_images_is_so() -> None:
    text = (ROOT / "docs" / "providers.md").read_text()
    assert re.findall(r"\| `(CHAOS_\w+_IMAGE)` \| `(.*?)` \|", text) == [tuple(image) for image in IMAGES.values()]


def test_a_server_describes_itself_in_one_line() -> None:
    description = Description("Valkey", "9.1.2", "docker", "valkey/valkey:9", "always")
    assert str(description) == "Valkey 9.1.2 (valkey/valkey:9; provider docker, appendfsync always)"
    assert "appendfsync unknown" in str(Description("Redis", "7.0.15", "url", "redis://host", None))
