"""What can be done to the servers of each provider that can be had here, on real servers.

`--provider NAME` runs the tests on that one only, and there nothing is skipped: what cannot be had fails.
"""

import asyncio
import itertools
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from edgescale.broker.connection import Connection
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos.capabilities import CAPABILITIES, Capability
from edgescale.harness.chaos.controlled import ControlledServer
from edgescale.harness.chaos.native import NativeProvider
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose, parse_provider
from edgescale.harness.chaos.server import Options, Server
from edgescale.local.child import LOOPBACK, free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.chaos.places import Place, needed_place
from tests.servers import program
from tests.support import eventually

WRITERS = 8
Start = Callable[..., Awaitable[Server]]


def places(choice: Choice) -> list[Place]:
    """All providers and products under `auto`, of Compose one of them; else those of the one that was asked for."""
    native = [Place("native", product) for product in NativeProvider().products()]
    contained = [Place(provider, product) for provider in ("docker", "compose") for product in ("redis", "valkey")]
    if choice.name == "auto":
        return [*native, *contained[:-1]]
    named = [place for place in (*native, *contained, Place("url", None)) if place.provider == choice.name]
    return [place for place in named if choice.product in {None, place.product}]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs on each provider that can do what it needs."""
    if "place" in metafunc.fixturenames:
        needs = {capability for mark in metafunc.definition.iter_markers("needs") for capability in mark.args}
        able = [
            place for place in places(metafunc.config.getoption("provider")) if CAPABILITIES[place.provider] >= needs
        ]
        metafunc.parametrize("place", able, ids=[f"{provider}-{product or 'any'}" for provider, product in able])


@pytest.fixture
async def provider(place: Place, request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """The provider, entered."""
    choice = request.config.getoption("provider")
    if choice.name == "auto":
        await needed_place(place, "toxiproxy")
        choice = Choice(place.provider)  # type: ignore[arg-type]
    async with (await choose(choice)).provider as entered:
        yield entered


@pytest.fixture
def start(provider: Provider, place: Place) -> Start:
    """Starts a server of the product."""

    async def started(**options: Any) -> Server:
        return await provider.server(Options(product=place.product, **options))

    return started


@asynccontextmanager
async def connected(server: Server, *, timeout_ms: int = 1_000) -> AsyncIterator[Connection]:
    connection = Connection(server.url, timeout_ms=timeout_ms)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(server: Server, *command: str) -> Any:
    async with connected(server) as connection:
        return await connection.command(*command)


async def run_id(server: Server) -> str:
    """Another one for each process."""
    info: bytes = await ask(server, "INFO", "server")
    return next(line for line in info.decode().splitlines() if line.startswith("run_id:"))


async def write_on(server: Server, writer: int, told: set[bytes]) -> None:
    """Add members until the server is gone; `told` are those that it acknowledged."""
    async with connected(server) as connection:
        for number in itertools.count():
            member = b"%d-%d" % (writer, number)
            try:
                await connection.command("SADD", "members", member)
            except BrokerUnavailable:
                return
            told.add(member)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


async def test_a_server_says_what_it_is(start: Start, place: Place) -> None:
    server = await start()
    description = await server.describe()

    assert description.provider == place.provider
    assert description.product.lower() == (place.product or description.product.lower())
    assert description.version[0].isdecimal()
    assert description.origin in str(description)


@pytest.mark.needs(Capability.RESTART_EMPTY)
async def test_it_is_empty_and_keeps_everything(start: Start) -> None:
    server = await start()
    expected = {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    async with connected(server) as connection:
        assert {name: await connection.configured(name) for name in expected} == {
            name: [value] for name, value in expected.items()
        }
        assert await connection.command("DBSIZE") == 0


@pytest.mark.needs(Capability.RESTART_EMPTY)
async def test_one_provider_has_one_server_after_the_other_each_of_them_empty(start: Start) -> None:
    first = await start()
    await ask(first, "SET", "key", "value")
    await first.discard()
    assert is_free(port_of(first))
    second = await start()
    assert await ask(second, "DBSIZE") == 0

    # The provider does that at its end, and what is discarded is discarded already.
    await first.discard()
    assert await ask(second, "PING") == b"PONG"


@pytest.mark.needs(Capability.KILL)
async def test_how_it_is_synced_is_an_option(start: Start) -> None:
    server = await start(appendfsync="everysec")
    assert (await server.describe()).appendfsync == "everysec"


@pytest.mark.needs(Capability.KILL)
async def test_it_is_published_on_loopback_only(start: Start) -> None:
    server = await start()
    interfaces = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    hosts = {address.address for address in interfaces if address.family == socket.AF_INET}
    assert {host for host in hosts if not is_free(port_of(server), host)} == {LOOPBACK}


@pytest.mark.needs(Capability.KILL)
async def test_an_option_that_it_refuses_is_told_in_its_own_words(start: Start) -> None:
    with pytest.raises(ConfigError, match="appendfsync"):
        await start(appendfsync="sometimes")


@pytest.mark.needs(Capability.KILL, Capability.RESTART)
async def test_kill_loses_nothing_that_was_acknowledged(start: Start) -> None:
    server = await start()
    url, first, told = server.url, await run_id(server), set[bytes]()
    writers = [asyncio.create_task(write_on(server, writer, told)) for writer in range(WRITERS)]
    await eventually(lambda: len(told) > 50 * WRITERS, 20)
    await server.kill()
    await asyncio.gather(*writers)
    assert is_free(port_of(server))
    await server.restart()

    assert server.url == url
    assert await run_id(server) != first
    assert told - set(await ask(server, "SMEMBERS", "members")) == set()


@pytest.mark.needs(Capability.RESTART)
async def test_one_that_runs_is_restarted_with_its_data_on_the_same_address(start: Start) -> None:
    server = await start()
    url, first = server.url, await run_id(server)
    await ask(server, "SET", "key", "value")
    await server.restart()

    assert server.url == url
    assert await run_id(server) != first
    assert await ask(server, "GET", "key") == b"value"


@pytest.mark.needs(Capability.RESTART_EMPTY)
async def test_a_server_that_is_restarted_empty_has_nothing_and_the_same_address(start: Start) -> None:
    server = await start()
    url, first = server.url, await run_id(server)
    await ask(server, "SET", "key", "value")
    await server.restart_empty()
    assert server.url == url
    assert await run_id(server) != first
    assert await ask(server, "DBSIZE") == 0

    # What comes after is kept again.
    await ask(server, "SET", "other", "value")
    await server.kill()
    await server.restart()
    assert await ask(server, "KEYS", "*") == [b"other"]


@pytest.mark.needs(Capability.PAUSE)
async def test_a_paused_server_is_silent_and_goes_on_when_it_is_resumed(start: Start) -> None:
    server = await start()
    async with connected(server, timeout_ms=300) as connection:
        await connection.command("SET", "key", "value")
        process = await run_id(server)
        await server.pause()
        with pytest.raises(BrokerUnavailable) as caught:
            await connection.command("GET", "key")
        assert isinstance(caught.value.__cause__, TimeoutError), "it is silent, and not gone"
        # The kernel goes on accepting connections for it.
        assert not is_free(port_of(server))
        await server.resume()
        assert await eventually(lambda: connection.command("GET", "key")) == b"value"
        assert await run_id(server) == process


@pytest.mark.needs(Capability.PAUSE, Capability.KILL, Capability.RESTART)
async def test_a_paused_server_can_be_killed_and_restarted(start: Start) -> None:
    server = await start()
    await ask(server, "SET", "key", "value")
    await server.pause()
    await server.kill()
    assert is_free(port_of(server))
    await server.restart()
    await server.pause()
    await server.restart()
    assert await ask(server, "GET", "key") == b"value"


@pytest.mark.needs(Capability.PAUSE, Capability.KILL)
async def test_what_is_done_already_is_done(start: Start) -> None:
    server = await start()
    await server.resume()
    await server.pause()
    await server.pause()
    await server.resume()
    assert await ask(server, "PING") == b"PONG"
    await server.kill()
    await server.kill()
    await server.pause()
    await server.resume()
    assert is_free(port_of(server))


@pytest.mark.needs(Capability.REPLICA)
async def test_a_replica_takes_over_and_the_old_primary_follows_it(start: Start) -> None:
    old = await start()
    await ask(old, "SET", "before", "1")
    new = await start(follows=old)
    assert await ask(new, "GET", "before") == b"1", "it had all data when it was started"
    async with connected(old) as connection:
        await connection.command("SET", "key", "value")
        await eventually(lambda: connection.command("WAIT", "1", "100"))

    await old.kill()
    await new.follow(None)
    await ask(new, "SET", "key", "newer")
    await new.restart()
    assert await ask(new, "GET", "key") == b"newer", "it is a primary, the old one being away"

    await old.follow(new)
    await old.restart()
    assert await ask(old, "GET", "key") == b"newer"
    await ask(new, "SET", "key", "newest")
    await eventually(lambda: reads(old, "key", b"newest"))


async def reads(server: Server, key: str, value: bytes) -> bool:
    return bool(await ask(server, "GET", key) == value)


@pytest.mark.needs(Capability.REPLICA)
async def test_a_replica_that_has_started_keeps_what_it_was_sent(start: Start) -> None:
    primary = await start()
    await ask(primary, "SET", "key", "value")
    replica = await start(follows=primary)
    await replica.kill()
    await replica.follow(None)
    await replica.restart()
    assert await ask(replica, "GET", "key") == b"value"


@pytest.mark.needs(Capability.REPLICA)
async def test_a_server_that_runs_can_be_told_to_follow(start: Start) -> None:
    primary, other = await start(), await start()
    await ask(primary, "SET", "key", "value")
    await other.follow(primary)
    await eventually(lambda: reads(other, "key", b"value"))


@pytest.mark.needs(Capability.TOXIPROXY)
async def test_toxiproxy_reaches_the_server_and_is_reached(provider: Provider, start: Start) -> None:
    server = await start()
    at = await provider.toxiproxy()
    port = at.ports[-1]
    async with httpx.AsyncClient(base_url=f"http://{at.host}:{at.api_port}", trust_env=False) as api:
        made = {"name": "redis", "listen": f"{at.listens_on}:{port}", "upstream": server.peer}
        assert (await api.post("/proxies", json=made)).status_code == httpx.codes.CREATED
        proxied = Connection(f"redis://{at.host}:{port}/0", timeout_ms=1_000)
        try:
            await proxied.command("SET", "key", "value")
            assert await ask(server, "GET", "key") == b"value"
            # It finds the server again where that is another container.
            await server.kill()
            await server.restart()
            assert await eventually(lambda: proxied.command("GET", "key")) == b"value"
            assert (await api.post("/proxies/redis", json={"enabled": False})).is_success
            with pytest.raises(BrokerUnavailable):
                await proxied.command("GET", "key")
        finally:
            await proxied.close()


@pytest.mark.needs(Capability.KILL)
async def test_the_product_that_is_chosen_is_what_runs(place: Place, start: Start) -> None:
    del start  # skips where the place cannot be had
    async with (await choose(parse_provider(f"{place.provider}:{place.product}"))).provider as provider:
        assert (await (await provider.server()).describe()).product.lower() == place.product


@pytest.fixture
async def own() -> AsyncIterator[Server]:
    """A server that somebody else might run."""
    async with NativeProvider() as native:
        yield await native.server()


@pytest.mark.parametrize("chosen", ["the first", "the second"])
async def test_a_given_server_that_is_not_empty_is_refused_with_what_to_do(own: Server, chosen: str) -> None:
    async with (await choose(parse_provider(own.url))).provider as given:
        if chosen == "the second":
            await given.server()
        await ask(own, "MSET", "one", "1", "two", "2")
        remedy = "name another one" if chosen == "the first" else "the one before has left them; run one scenario"
        with pytest.raises(ConfigError, match=rf"^{own.url} is not empty \(keys: 2\), and .*{remedy}"):
            await given.server()
        assert await ask(own, "DBSIZE") == 2, "what is stored there is not ours"

        other = own.url.removesuffix("/0") + "/1"
        async with (await choose(parse_provider(other))).provider as empty:
            await empty.server()


@pytest.mark.parametrize(
    ("name", "query", "trouble"),
    [
        ("IP:127.0.0.1,DNS:localhost", "ssl_ca_certs={}", ""),
        ("DNS:localhost", "ssl_ca_certs={}", "its certificate must name 127.0.0.1, too, or"),
        ("DNS:localhost", "ssl_ca_certs={}&ssl_check_hostname=false", ""),
    ],
)
async def test_tls_goes_through_links_if_the_certificate_is_good_for_their_address(
    tmp_path: Path, name: str, query: str, trouble: str
) -> None:
    if not shutil.which("redis-server") or not shutil.which("openssl"):
        pytest.skip("redis-server, which speaks TLS, or openssl is not on PATH")
    certificate, port = tmp_path / "certificate.pem", free_port()
    options = {"tls-port": str(port), "tls-auth-clients": "no", **await certified(certificate, name)}
    served = EmbeddedValkey(tmp_path / "server", binary=program("redis"), options=options)
    await served.start()
    try:
        url = f"rediss://localhost:{port}/0?{query.format(certificate)}"
        async with (await choose(parse_provider(url))).provider as given:
            with pytest.raises(ConfigError, match=trouble) if trouble else nullcontext():
                await given.server()
    finally:
        await served.stop()


async def certified(certificate: Path, name: str) -> dict[str, str]:
    """Options of a server with a certificate of its own."""
    key = certificate.with_name("key.pem")
    made = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    named = ("-subj", "/CN=edgescale", "-addext", f"subjectAltName={name}")
    command = ("openssl", "req", *made, *named, "-keyout", str(key), "-out", str(certificate))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    return {"tls-cert-file": str(certificate), "tls-key-file": str(key)}


@pytest.mark.needs(Capability.KILL)
async def test_nothing_is_left_behind(provider: Provider, start: Start, place: Place) -> None:
    server = await start()
    await server.pause()
    await provider.__aexit__(None, None, None)

    assert is_free(port_of(server))
    if place.provider == "docker":
        assert await named_like(server) == []


async def named_like(server: Server) -> list[str]:
    """Containers, running or not, that publish the server's port, and its volume."""
    docker = pytest.importorskip("docker")

    def look() -> list[str]:
        client = docker.from_env()
        found = client.containers.list(all=True, filters={"label": "edgescale.chaos", "publish": str(port_of(server))})
        volumes = client.volumes.list(filters={"name": server._volume})  # type: ignore[attr-defined]
        client.close()
        return [made.name for made in (*found, *volumes)]

    return await asyncio.to_thread(look)


@pytest.mark.needs(Capability.KILL)
async def test_a_start_that_is_cancelled_leaves_nothing_behind(
    provider: Provider, start: Start, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: asyncio.Queue[ControlledServer] = asyncio.Queue()

    async def wait_for_ever(server: ControlledServer) -> None:
        launched.put_nowait(server)
        await asyncio.Event().wait()

    monkeypatch.setattr(ControlledServer, "_until_it_serves", wait_for_ever)
    starting = asyncio.ensure_future(start())
    server = await launched.get()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await provider.__aexit__(None, None, None)

    assert is_free(port_of(server))
    if place.provider == "docker":
        assert await named_like(server) == []
