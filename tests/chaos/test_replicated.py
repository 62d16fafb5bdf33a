"""A server with a replica behind one address: who takes over has what it heard, and the address leads to it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError
from edgescale.harness.chaos.native import NativeProvider
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose
from edgescale.harness.chaos.replicated import Replicated, needs_replica, server_for
from edgescale.harness.plan import Fault, Plan

FAILING_OVER = Plan(1, faults=(Fault(1, 1, "failover", "redis"),))


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    async with NativeProvider(tmp_path) as opened:
        yield opened


@pytest.fixture
async def pair(provider: Provider) -> AsyncIterator[Replicated]:
    async with server_for(FAILING_OVER, provider) as server:
        assert isinstance(server, Replicated)
        yield server


@pytest.fixture
async def connection(pair: Replicated) -> AsyncIterator[Connection]:
    """A connection to the address of both."""
    made = Connection(pair.url, timeout_ms=5_000, connections_max=1)
    yield made
    await made.close()


async def test_who_heard_everything_takes_over_with_everything(pair: Replicated, connection: Connection) -> None:
    await connection.command("SET", "told", "1")
    await connection.command("WAIT", 1, 5_000)
    await pair.kill()

    assert await pair.take_over() is False
    assert await connection.command("GET", "told") == b"1"


async def test_who_was_away_takes_over_without_what_came_since(pair: Replicated, connection: Connection) -> None:
    await connection.command("SET", "told", "1")
    await connection.command("WAIT", 1, 5_000)
    async with pair.parted():
        assert await connection.command("SET", "untold", "1") == b"OK"
        assert await connection.command("WAIT", 1, 50) == 0
        await pair.kill()

        assert await pair.take_over() is True
        assert await connection.command("MGET", "told", "untold") == [b"1", None]


async def test_who_was_away_hears_everything_again(pair: Replicated, connection: Connection) -> None:
    async with pair.parted():
        await connection.command("SET", "late", "1")

    assert await connection.command("WAIT", 1, 10_000) == 1


async def test_who_was_dead_follows_who_took_over_and_can_take_over_again(
    pair: Replicated, connection: Connection
) -> None:
    for turn in range(2):
        await pair.kill()
        await pair.take_over()
        await pair.rejoin()
        await connection.command("SET", f"turn-{turn}", "1")
        assert await connection.command("WAIT", 1, 10_000) == 1
    assert await connection.command("MGET", "turn-0", "turn-1") == [b"1", b"1"]


async def test_a_provider_that_has_no_replicas_says_who_has(pair: Replicated) -> None:
    given, _ = await choose(Choice("url", pair.url))
    async with given:
        with pytest.raises(ConfigError, match="provider url cannot start a replica; who can: --provider docker"):
            async with server_for(FAILING_OVER, given):
                pass


def test_strict_services_need_a_replica_and_others_do_not() -> None:
    assert needs_replica(Plan(1, settings={"durability": "strict"}))
    assert not needs_replica(Plan(1))
