"""Which provider is meant, what each can do, and what is told where it cannot be had."""

import asyncio
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
from edgescale.harness.chaos.providers import Choice, choose, parse_provider
from edgescale.harness.chaos.server import Description, Options, arguments

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


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://host",
        "rediss://user:secret@host:6380/0?ssl_ca_certs=ca.pem",
        "unix:///run/redis.sock?db=1",
        "redis+cluster://a:1,b:2",
        "redis+sentinel://a:1,b:2/primary",
    ],
)
def test_a_url_is_a_server_of_somebody_else(url: str) -> None:
    assert parse_provider(url) == Choice("url", url)


@pytest.mark.parametrize("text", ["", "Docker", "podman", "127.0.0.1:6379", "http://host/", "redis://", "redis:///0"])
def test_anything_else_is_told_what_would_be_accepted(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("auto, docker, native, compose, or a URL such as redis://")):
        parse_provider(text)


def test_a_port_that_is_none_is_told_without_the_password() -> None:
    with pytest.raises(ConfigError, match=r"--provider redis://host:99999/0: Port out of range") as caught:
        parse_provider("redis://user:secret@host:99999/0")
    assert "secret" not in str(caught.value)


def test_the_address_of_a_cluster_that_is_none_is_told_with_an_example() -> None:
    with pytest.raises(ConfigError, match=r"an example is redis\+cluster://"):
        parse_provider("redis+cluster://a:b")


async def test_auto_takes_a_given_server_first(no_engine: None) -> None:
    del no_engine
    provider, because = await choose(Choice("auto"), environ={"CHAOS_REDIS_URL": "redis://host"})

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
    assert isinstance((await choose(Choice("url", "redis://host"))).provider, GivenProvider)


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
