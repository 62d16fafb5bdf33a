"""The adapter closes what toxiproxy-python leaves open, on real servers."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from toxiproxy import Toxiproxy
from toxiproxy.api import APIConsumer

from edgescale.errors import ConfigError, Unavailable
from edgescale.harness.chaos.toxics import Latency, Refused
from edgescale.harness.chaos.toxiproxy import ToxiproxyLinks
from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi
from edgescale.harness.chaos.toxiproxy_server import toxiproxy_served
from edgescale.local.child import LOOPBACK, lasting_port
from tests.chaos.linked import LONG_MS, linked, raw
from tests.servers import Server

pytestmark = pytest.mark.timeout(1_000)
UPSTREAM = f"{LOOPBACK}:1"


def anywhere() -> str:
    return f"{LOOPBACK}:{lasting_port()}"


@asynccontextmanager
async def made(api: ToxiproxyApi, name: str = "made") -> AsyncIterator[str]:
    """A proxy, and where it listens."""
    address = await api.create(name, listen=anywhere(), upstream=UPSTREAM)
    try:
        yield address
    finally:
        await api.remove(name)


async def proxies(api: ToxiproxyApi) -> dict[str, Any]:
    """All that the server has, by its own words."""
    found: dict[str, Any] = await api._call(lambda: api._consumer.get("/proxies").json())
    return found


async def toxics(api: ToxiproxyApi, name: str = "made") -> list[dict[str, Any]]:
    """Those in force on a proxy."""
    found: list[dict[str, Any]] = (await proxies(api))[name]["toxics"]
    return found


@pytest.mark.usefixtures("startable")
async def test_one_process_speaks_to_several_servers(toxiproxy: ToxiproxyApi, tmp_path: Path) -> None:
    async with toxiproxy_served(tmp_path / "log") as other, made(toxiproxy, "here"), made(other, "there"):
        assert "here" in await proxies(toxiproxy)
        assert list(await proxies(other)) == ["there"]
        answers = await asyncio.gather(*(proxies(api) for api in (toxiproxy, other) * 20))
        assert [sorted(answer) == ["there"] for answer in answers] == [False, True] * 20


async def test_the_librarys_own_address_stays_as_it_is(toxiproxy: ToxiproxyApi) -> None:
    await toxiproxy.version()
    assert (APIConsumer.host, APIConsumer.port) == ("127.0.0.1", 8474)
    Toxiproxy().update_api_consumer("localhost", toxiproxy.target.port)
    try:
        async with made(toxiproxy):
            assert "made" in await asyncio.to_thread(Toxiproxy().proxies)
    finally:
        Toxiproxy().update_api_consumer("127.0.0.1", 8474)


async def test_calls_leave_the_loop_free(toxiproxy: ToxiproxyApi) -> None:
    threads = []
    await toxiproxy._call(lambda: threads.append(threading.current_thread()))
    assert threads != [threading.current_thread()]


async def test_a_toxic_that_was_made_is_told(toxiproxy: ToxiproxyApi) -> None:
    async with made(toxiproxy):
        in_force = await toxiproxy.add_toxic(
            "made", "late", kind="latency", direction="upstream", attributes={"latency": 5}
        )
        assert in_force == {"latency": 5, "jitter": 0}


async def test_a_toxic_is_changed_and_no_other_is_made(toxiproxy: ToxiproxyApi) -> None:
    async with made(toxiproxy):
        await toxiproxy.add_toxic("made", "late", kind="latency", direction="upstream", attributes={"latency": 5})
        await toxiproxy.change_toxic("made", "late", {"latency": 7, "jitter": 2})
        [toxic] = await toxics(toxiproxy)
        assert (toxic["name"], toxic["attributes"]) == ("late", {"latency": 7, "jitter": 2})
        await toxiproxy.remove_toxic("made", "late")
        assert await toxics(toxiproxy) == []


async def test_a_link_leaves_nothing_behind(toxiproxy: ToxiproxyApi, server: Server) -> None:
    before = await proxies(toxiproxy)
    async with linked(ToxiproxyLinks(toxiproxy), server.url) as client:
        async with client.link.toxic(Latency(1)), client.link.toxic(Latency(1)), client.link.toxic(Refused()):
            [name] = (await proxies(toxiproxy)).keys() - before.keys()
            assert len(await toxics(toxiproxy, name)) == 2
        assert await toxics(toxiproxy, name) == []
    assert await proxies(toxiproxy) == before


async def test_what_is_cancelled_while_it_is_made_is_unmade(toxiproxy: ToxiproxyApi, server: Server) -> None:
    before = await proxies(toxiproxy)
    for turns in range(1, 12):
        making = asyncio.create_task(toxiproxy.create("cancelled", listen=anywhere(), upstream=UPSTREAM))
        await pass_turns(turns)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert await proxies(toxiproxy) == before
    async with linked(ToxiproxyLinks(toxiproxy), server.url) as client:
        [name] = (await proxies(toxiproxy)).keys() - before.keys()
        for turns in range(1, 12):
            faulty = asyncio.create_task(held(client.link))
            await pass_turns(turns)
            faulty.cancel()
            with pytest.raises(asyncio.CancelledError):
                await faulty
            assert await toxics(toxiproxy, name) == []


async def held(link: Any) -> None:
    async with link.toxic(Latency(LONG_MS)):
        await asyncio.Event().wait()


async def pass_turns(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_what_makes_no_sense_is_a_mistake_of_the_caller(toxiproxy: ToxiproxyApi) -> None:
    async with made(toxiproxy):
        with pytest.raises(ConfigError, match=r"Toxiproxy at 127.0.0.1:\d+ refused: invalid toxic type"):
            await toxiproxy.add_toxic("made", "x", kind="nonsense", direction="upstream", attributes={})
        with pytest.raises(ConfigError, match=r"refused: stream was invalid, can be either upstream or downstream"):
            await toxiproxy.add_toxic("made", "x", kind="latency", direction="sideways", attributes={})
        with pytest.raises(ConfigError, match=r"refused: .*exists"):
            await toxiproxy.create("made", listen=anywhere(), upstream=UPSTREAM)
        await toxiproxy.add_toxic("made", "x", kind="latency", direction="upstream", attributes={})
        with pytest.raises(ConfigError, match=r"refused: toxic already exists"):
            await toxiproxy.add_toxic("made", "x", kind="latency", direction="upstream", attributes={})


async def test_what_it_has_forgotten_is_told_as_such(toxiproxy: ToxiproxyApi) -> None:
    for call in (
        toxiproxy.remove("nobody"),
        toxiproxy.enable("nobody", enabled=True),
        toxiproxy.add_toxic("nobody", "x", kind="latency", direction="upstream", attributes={}),
        toxiproxy.change_toxic("nobody", "x", {}),
        toxiproxy.remove_toxic("nobody", "x"),
    ):
        with pytest.raises(Unavailable, match=r"has forgotten what it was told: proxy not found"):
            await call


async def test_an_error_beyond_those_that_the_library_knows_is_an_error(toxiproxy: ToxiproxyApi) -> None:
    async with made(toxiproxy) as address:
        with pytest.raises(Unavailable, match=r"failed: listen tcp .*in use"):
            await toxiproxy.create("other", listen=address, upstream=UPSTREAM)


async def test_a_server_that_is_away_is_told_at_once() -> None:
    with pytest.raises(Unavailable, match="does not answer as one: ConnectionError"):
        await ToxiproxyApi(f"http://{anywhere()}").version()


async def test_a_server_that_says_nothing_is_given_up_after_the_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    api = ToxiproxyApi(f"http://{LOOPBACK}:{port}", timeout_s=0.2)
    for call in (api.version(), api.enable("x", enabled=True), api.create("x", listen=anywhere(), upstream=UPSTREAM)):
        with pytest.raises(Unavailable, match="does not answer as one: ReadTimeout"):
            await call
    server.close()


async def test_another_kind_of_server_is_not_taken_for_one() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        writer.close()

    server = await asyncio.start_server(other, LOOPBACK, 0)
    api = ToxiproxyApi(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Unavailable, match="does not answer as one: JSONDecodeError"):
        await api.create("x", listen=anywhere(), upstream=UPSTREAM)
    server.close()


@pytest.mark.parametrize(("version", "fits"), [("2.5.0", False), ("1.14.3", False), ("2.6.0", True), ("git", True)])
async def test_a_version_that_is_too_old_is_refused(
    toxiproxy: ToxiproxyApi, monkeypatch: pytest.MonkeyPatch, version: str, *, fits: bool
) -> None:
    class Answer:
        text = f'{{"version": "{version}"}}\n'

    monkeypatch.setattr(toxiproxy._consumer, "get", lambda _: Answer)
    if fits:
        assert await toxiproxy.version() == version.replace("git", "unknown")
        return
    with pytest.raises(ConfigError, match=rf"toxiproxy: 2.6 or later is needed, and this is {version}"):
        await toxiproxy.version()


async def test_no_proxy_of_the_environment_comes_between(
    toxiproxy: ToxiproxyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{anywhere()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with made(toxiproxy):
        await toxiproxy.enable("made", enabled=False)


@pytest.mark.usefixtures("startable")
async def test_a_served_toxiproxy_ends_with_its_block(server: Server, tmp_path: Path) -> None:
    async with toxiproxy_served(tmp_path / "deep" / "log") as api:
        links = ToxiproxyLinks(api)
        async with linked(links, server.url) as client, raw(client.link) as connection:
            connection.send("PING")
            assert await connection.read(7) == b"+PONG\r\n"
    with pytest.raises(Unavailable):
        await api.version()


@pytest.mark.usefixtures("startable")
async def test_a_toxiproxy_that_dies_is_told_by_every_link(server: Server, tmp_path: Path) -> None:
    async with AsyncExitStack() as links:
        async with toxiproxy_served(tmp_path / "log") as api:
            client = await links.enter_async_context(linked(ToxiproxyLinks(api), server.url))
        with pytest.raises(Unavailable, match="does not answer as one: ConnectionError"):
            async with client.link.toxic(Latency(1)):
                pass
        with pytest.raises(Unavailable, match="does not answer as one: ConnectionError"):
            await links.aclose()
