"""Faults of real links, as those at both ends meet them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.chaos.fault_proxy import FaultProxy, proxied
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.fit import check_plan, needs_aim
from edgescale.harness.chaos.scenario import load_scenario
from edgescale.harness.plan import Fault, Option, Plan
from edgescale.local.child import LOOPBACK
from tests.support import eventually

PING, LONG_MS = b"*1\r\n$4\r\nPING\r\n", 60_000


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1_000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def link() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(echo, LOOPBACK, 0)
    async with server, proxied(f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}") as proxy:
        yield proxy


@pytest.fixture
def stage(link: FaultProxy) -> Any:
    wiring = SimpleNamespace(of=lambda _: [(("worker-1", "redis"), link)], between=lambda *_: link)
    return SimpleNamespace(wiring=wiring, struck=Counter[str]())


def struck(stage: Any, name: str, **options: Option) -> Any:
    return asynccontextmanager(FAULTS[name].make)(stage, Fault(0, 0, name, "worker-1", options))


async def opened(link: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that is through to the other end."""
    reader, writer = await asyncio.open_connection(link.host, link.port)
    writer.write(PING)
    assert await reader.readexactly(len(PING)) == PING
    return reader, writer


async def test_a_reset_is_one_and_nobody_gets_in_meanwhile(link: FaultProxy, stage: Any) -> None:
    reader, writer = await opened(link)
    async with struck(stage, "reset"):
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(link.host, link.port)
    writer.close()

    _, writer = await opened(link)
    writer.close()


@pytest.mark.parametrize(
    ("name", "options"), [("latency", {"high_ms": 1}), ("slow_drip", {}), ("delayed", {"delay_ms": 1})]
)
async def test_what_was_struck_is_counted(link: FaultProxy, stage: Any, name: str, options: dict[str, Option]) -> None:
    async with struck(stage, name, **options):
        pass
    assert stage.struck == {name: 0}

    async with struck(stage, name, **options):
        _, writer = await opened(link)
    writer.close()
    assert stage.struck[name] > 0


async def test_what_is_held_up_is_the_nth_request(link: FaultProxy, stage: Any) -> None:
    async with struck(stage, "delayed", command="PING", nth=2, delay_ms=LONG_MS):
        reader, writer = await opened(link)
        writer.write(PING)
        await eventually(lambda: any(link.struck.values()))
    assert await reader.readexactly(len(PING)) == PING
    writer.close()


async def test_a_connection_that_was_half_open_stays_silent(link: FaultProxy, stage: Any) -> None:
    reader, writer = await opened(link)
    async with struck(stage, "half_open"):
        writer.write(PING)
        await eventually(lambda: any(link.struck.values()))
    writer.write(PING)
    _, other = await opened(link)

    assert stage.struck["half_open"] > 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    for each in (writer, other):
        each.close()


@pytest.mark.parametrize("name", ["reply-lost", "redis-latency"])
def test_what_only_the_built_in_proxy_has_is_refused_elsewhere(name: str) -> None:
    plan = load_scenario(name).plan(1)

    assert needs_aim(plan) == (name == "reply-lost")
    if not needs_aim(plan):
        check_plan(plan, aims=False)


def test_what_is_beyond_toxiproxy_says_so() -> None:
    plan = Plan(1, faults=(Fault(0, 0, "half_open", "worker-1"),))

    with pytest.raises(ConfigError, match=r"faults\[0\]: half_open is beyond Toxiproxy: use --proxy built-in"):
        check_plan(plan, aims=False)
