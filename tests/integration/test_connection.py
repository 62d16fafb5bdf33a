"""The connection: scripts by hash, errors of ours only, its pool, its blocking reads, its cancellations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edgescale.broker.connection import Connection
from edgescale.broker.script import Script
from edgescale.errors import (
    BrokerUnavailable,
    InternalError,
)
from edgescale.harness.chaos.fault_proxy import proxied
from tests.servers import Server
from tests.support import Rig, all_of, ends_when_cancelled, eventually, settlement, submission


@asynccontextmanager
async def connected(url: str, *, timeout_ms: int = 1_000, connections_max: int = 16) -> AsyncIterator[Connection]:
    """A connection that is closed at the end."""
    connection = Connection(url, timeout_ms=timeout_ms, connections_max=connections_max)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.one_server("it is about the connections to one server")
async def test_a_server_that_does_not_answer_is_away_after_the_timeout(server: Server) -> None:
    async with proxied(server.url) as proxy, connected(proxy.url, timeout_ms=300) as connection:
        await connection.command("PING")
        proxy.darken()
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await connection.command("PING")
        assert asyncio.get_running_loop().time() - begun_s < 2
        assert await connection.command("PING") == b"PONG", "the dead connection is not used again"


async def test_a_script_that_the_server_forgot_is_sent_again(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.connection.command("SCRIPT", "FLUSH")
    await rig.submit("r2")
    [one, two] = await rig.take()
    await rig.connection.command("SCRIPT", "FLUSH")
    answers = await asyncio.gather(
        rig.broker.settle("worker-1", settlement(one)),
        rig.broker.settle("worker-1", settlement(two)),
        rig.broker.renew("worker-1", one),
        rig.broker.lookup("r1"),
    )
    assert list(answers[:2]) == ["settled", "settled"]
    assert await rig.backlog() == 0


@pytest.mark.one_partition
async def test_a_known_script_travels_by_its_hash(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.connection.command("CONFIG", "RESETSTAT")
    await rig.submit("r2", "r3")
    assert (await rig.calls("evalsha"), await rig.calls("eval")) == (1, 0)


@pytest.mark.parametrize("name", ["submit", "settle", "renew", "give_back", "reclaim", "lookup", "beat"])
async def test_every_script_compiles_and_is_named_by_its_hash(rig: Rig, name: str) -> None:
    script = Script.load(name)
    assert (await rig.connection.command("SCRIPT", "LOAD", script.body)).decode() == script.sha


@pytest.mark.parametrize("name", ["settle", "renew", "give_back", "reclaim", "lookup", "beat"])
def test_only_submitting_is_refused_when_memory_is_out(name: str) -> None:
    assert Script.load(name).body.startswith("#!lua flags=allow-oom\n")
    assert Script.load("submit").body.startswith("#!lua\n")


@pytest.mark.one_server("it is about the connections to one server")
async def test_a_command_is_sent_once_even_when_its_reply_is_lost(server: Server) -> None:
    async with proxied(server.url) as proxy, connected(proxy.url) as connection:
        await connection.command("PING")
        proxy.lose_reply(b"INCR")
        with pytest.raises(BrokerUnavailable):
            await connection.command("INCR", "counter")
        assert proxy.replies_lost == 1
        assert await connection.command("GETDEL", "counter") == b"1", "the library would repeat it ten times"


async def test_what_the_url_says_of_the_protocol_and_of_timeouts_changes_nothing(server: Server) -> None:
    options = "socket_timeout=0.05&protocol=3&decode_responses=true&health_check_interval=1"
    async with connected(f"{server.url}?{options}") as connection:
        reader = connection.for_blocking(200)
        try:
            assert await reader.command("BLPOP", "nothing", "0.2") is None
        finally:
            await reader.close()
        await connection.command("HSET", "h", "f", "v")
        assert await connection.command("HGETALL", "h") == [b"f", b"v"]
        await connection.command("DEL", "h")


@pytest.mark.one_server("it is about the connections to one server")
async def test_commands_beyond_the_last_connection_wait_for_their_turn(server: Server) -> None:
    async with connected(server.url, connections_max=3) as connection:
        replies = await asyncio.gather(*(connection.command("ECHO", str(number)) for number in range(200)))
        assert replies == [str(number).encode() for number in range(200)]
        clients = (await connection.command("CLIENT", "LIST", "TYPE", "normal")).decode().splitlines()
        assert len(clients) == 3


async def test_a_storm_of_cancellations_neither_shifts_replies_nor_exhausts_the_pool(server: Server) -> None:
    async with connected(server.url, connections_max=4) as connection:
        for round_number in range(30):
            calls = [asyncio.create_task(connection.command("ECHO", f"{round_number}-{n}")) for n in range(20)]
            for turn, call in enumerate(calls):
                if turn % 3:
                    call.cancel()
                await asyncio.sleep(0)
            for number, outcome in enumerate(await all_of(calls)):
                if not isinstance(outcome, asyncio.CancelledError):
                    assert outcome == f"{round_number}-{number}".encode()
        replies = await asyncio.gather(*(connection.command("ECHO", str(number)) for number in range(20)))
        assert replies == [str(number).encode() for number in range(20)]


async def test_a_cancellation_is_never_swallowed(server: Server) -> None:
    async with connected(server.url) as connection:
        for number in range(200):
            assert await ends_when_cancelled(connection, number % 40), f"it goes on (try {number})"


@pytest.mark.one_server("it is about the connections to one server")
async def test_connections_that_the_server_closed_are_replaced_without_an_error(server: Server) -> None:
    async with connected(server.url) as connection, connected(server.url) as operator:
        await asyncio.gather(*(connection.command("PING") for _ in range(5)))
        await operator.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # Where Docker forwards the port, the ends arrive after the reply.
        await eventually(lambda: have_ended(connection))
        outcomes = await all_of([connection.command("PING") for _ in range(5)])
        assert outcomes == [b"PONG"] * 5


async def have_ended(connection: Connection) -> bool:
    """Whether it can be seen of all idle connections that the server closed them."""
    idle = connection._route._pool._idle  # type: ignore[attr-defined]
    return all([await each.can_read() for each in idle])


async def test_a_script_on_a_key_of_another_type_fails_alone(rig: Rig) -> None:
    await rig.connection.command("SET", rig.keys.task("odd"), "a string")
    outcomes = await all_of([rig.broker.submit(submission(name)) for name in ("r1", "odd", "r2")])
    assert isinstance(outcomes[1], InternalError)
    assert [outcomes[0].record.state, outcomes[2].record.state] == ["queued", "queued"]
    assert await rig.backlog() == 2
