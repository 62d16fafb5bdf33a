"""The connection: scripts by hash, errors of ours only, its pool, its blocking reads, its cancellations."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import exceptions as foreign

from edgescale.broker.connection import Connection, Script, translated
from edgescale.broker.keys import GROUP
from edgescale.broker.model import Entry
from edgescale.errors import (
    BrokerUnavailable,
    ConfigError,
    EdgeScaleError,
    GroupMissing,
    InternalError,
    Overloaded,
)
from edgescale.local.child import free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.proxy import Proxy, proxied
from tests.servers import Server
from tests.support import LANE, Rig, all_of, eventually, open_rig, settlement, submission

FOREIGN = [kind for _, kind in inspect.getmembers(foreign, inspect.isclass) if issubclass(kind, Exception)]


@asynccontextmanager
async def connected(url: str, *, timeout_ms: int = 1_000, connections_max: int = 16) -> AsyncIterator[Connection]:
    """A connection that is closed at the end."""
    connection = Connection(url, timeout_ms=timeout_ms, connections_max=connections_max)
    try:
        yield connection
    finally:
        await connection.close()


def example(kind: type[Exception]) -> Exception:
    """One error of this class; some of redis-py's parse their message."""
    if issubclass(kind, foreign.AskError):
        return kind("3999 127.0.0.1:6381")
    return kind("words")


@pytest.mark.parametrize("kind", FOREIGN)
def test_every_error_of_the_client_library_leaves_as_one_of_ours(kind: type[Exception]) -> None:
    error = example(kind)
    with pytest.raises(EdgeScaleError) as raised, translated():
        raise error
    assert raised.value.__cause__ is error, "the log needs the cause"
    assert "words" not in str(raised.value), "and nobody else"


@pytest.mark.parametrize("kind", [ConnectionResetError, ConnectionRefusedError, TimeoutError, OSError])
def test_errors_of_the_network_mean_that_redis_is_away(kind: type[OSError]) -> None:
    with pytest.raises(BrokerUnavailable), translated():
        raise kind


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyError, asyncio.CancelledError])
def test_defects_and_cancellations_pass_as_they_are(kind: type[BaseException]) -> None:
    with pytest.raises(kind), translated():
        raise kind


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", Overloaded),
        ("LOADING Redis is loading the dataset in memory", BrokerUnavailable),
        ("READONLY You can't write against a read only replica.", BrokerUnavailable),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", BrokerUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", BrokerUnavailable),
        ("NOREPLICAS Not enough good replicas to write.", BrokerUnavailable),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", BrokerUnavailable),
        ("CLUSTERDOWN The cluster is down", BrokerUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", BrokerUnavailable),
        ("NOAUTH Authentication required.", BrokerUnavailable),
        ("WRONGPASS invalid username-password pair or user is disabled.", BrokerUnavailable),
        ("NOPERM this user has no permissions to run the 'evalsha' command", BrokerUnavailable),
        ("ERR max number of clients reached", BrokerUnavailable),
        ("NOGROUP No such key 'k' or consumer group 'workers' in XREADGROUP with GROUP option", GroupMissing),
        ("UNBLOCKED the stream key no longer exists", GroupMissing),
        ("ERR -NOGROUP No such consumer group, in a script", GroupMissing),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", InternalError),
        ("ERR syntax error", InternalError),
    ],
)
async def test_what_the_server_answers_becomes_one_of_ours(reply: str, expected: type[EdgeScaleError]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(f"-{reply}\r\n".encode())
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = Connection(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}", timeout_ms=1_000)
    try:
        with pytest.raises(expected) as raised:
            await connection.command("PING")
        assert type(raised.value) is expected
        assert reply not in str(raised.value)
    finally:
        await connection.close()
        listener.close()


@pytest.mark.parametrize("url", ["127.0.0.1:6379", "http://127.0.0.1", "redis://host:port/0", ""])
def test_a_url_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis_url: .*; an example is redis://127"):
        Connection(url, timeout_ms=1_000)


async def test_a_server_that_is_not_there_is_away() -> None:
    connection = Connection(f"redis://127.0.0.1:{free_port()}", timeout_ms=1_000)
    with pytest.raises(BrokerUnavailable):
        await connection.command("PING")
    await connection.close()


async def test_a_server_that_does_not_answer_is_away_after_the_timeout(server: Server) -> None:
    async with proxied(server.url) as proxy, connected(proxy.url, timeout_ms=100) as connection:
        await connection.command("PING")
        proxy.darken()
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await connection.command("PING")
        assert asyncio.get_running_loop().time() - begun_s < 1
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


async def test_a_command_is_sent_once_even_when_its_reply_is_lost(server: Server) -> None:
    async with proxied(server.url) as proxy, connected(proxy.url) as connection:
        await connection.command("PING")
        proxy.lose_reply(b"INCR")
        with pytest.raises(BrokerUnavailable):
            await connection.command("INCR", "counter")
        assert proxy.replies_lost == 1
        assert await connection.command("GET", "counter") == b"1", "the library would repeat it ten times"


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


async def test_connections_that_the_server_closed_are_replaced_without_an_error(server: Server) -> None:
    async with connected(server.url) as connection, connected(server.url) as operator:
        await asyncio.gather(*(connection.command("PING") for _ in range(5)))
        await operator.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        outcomes = await all_of([connection.command("PING") for _ in range(5)])
        assert outcomes == [b"PONG"] * 5


async def test_a_blocked_read_may_wait_longer_than_a_reply(server: Server) -> None:
    async with open_rig(server.url, redis_timeout_ms=100) as rig:
        await rig.broker.ensure_group(0, LANE)
        reader = rig.connection.for_blocking(400)
        begun_s = asyncio.get_running_loop().time()
        assert await rig.broker.read(reader, 0, LANE, "worker-1", count=1, block_ms=400) == []
        assert asyncio.get_running_loop().time() - begun_s >= 0.35
        await reader.close()


async def test_a_blocked_read_whose_server_fell_silent_ends(server: Server) -> None:
    async with proxied(server.url) as proxy, open_rig(proxy.url, redis_timeout_ms=100) as rig:
        await rig.broker.ensure_group(0, LANE)
        reader = rig.connection.for_blocking(200)
        await reader.command("PING")
        proxy.darken()
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await rig.broker.read(reader, 0, LANE, "worker-1", count=1, block_ms=200)
        assert 0.2 < asyncio.get_running_loop().time() - begun_s < 1
        await reader.close()


async def test_a_blocked_read_is_woken_by_a_submission(rig: Rig) -> None:
    await rig.broker.ensure_group(0, LANE)
    reading = await blocked_read(rig)
    await rig.submit("r1")
    [entry] = await asyncio.wait_for(reading, 2)
    assert entry.fields[b"request_id"] == b"r1"


async def blocked_read(rig: Rig) -> "asyncio.Task[list[Entry]]":
    """A read that waits at the server by now."""

    async def read() -> list[Entry]:
        reader = rig.connection.for_blocking(5_000)
        try:
            return await rig.broker.read(reader, 0, LANE, "worker-1", count=10, block_ms=5_000)
        finally:
            await reader.close()

    async def is_blocked() -> bool:
        return b"blocked_clients:1" in await rig.connection.command("INFO", "clients")

    reading = asyncio.create_task(read())
    await eventually(is_blocked)
    return reading


@pytest.mark.parametrize("loss", [["FLUSHALL"], ["DEL", "edgescale:{p0}:stream:text"]])
async def test_a_group_that_vanished_under_a_blocked_read_is_made_anew_and_skips_nothing(
    rig: Rig, loss: list[str]
) -> None:
    await rig.broker.ensure_group(0, LANE)
    reading = await blocked_read(rig)
    await rig.connection.command(*loss)
    await rig.submit("r1", "r2")
    assert await asyncio.wait_for(reading, 2) == [], "not an error, and not a wait to the end"
    entries = await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10)
    assert [entry.fields[b"request_id"] for entry in entries] == [b"r1", b"r2"]


async def test_a_group_that_was_never_there_is_made_and_skips_nothing(rig: Rig) -> None:
    await rig.submit("r1", "r2")
    assert await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10) == []
    assert len(await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=10)) == 2


async def test_a_group_that_somebody_destroyed_delivers_everything_again(rig: Rig) -> None:
    [first, second] = await rig.submit_and_take("r1", "r2")
    await rig.broker.settle("worker-1", settlement(first))
    await rig.connection.command("XGROUP", "DESTROY", rig.keys.stream(0, LANE), GROUP)
    assert not await rig.broker.renew("worker-1", second)
    await rig.broker.read(rig.connection, 0, LANE, "worker-2", count=10)
    [again] = await rig.broker.read(rig.connection, 0, LANE, "worker-2", count=10)
    assert again.entry_id == second.entry_id, "what was settled is deleted and does not come again"


async def test_two_workers_that_make_the_same_group_do_not_disturb_each_other(server: Server) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        await one.submit("r1")
        await asyncio.gather(*(rig.broker.ensure_group(0, LANE) for rig in (one, other) for _ in range(5)))
        shares = await asyncio.gather(one.take(consumer="worker-1"), other.take(consumer="worker-2"))
        assert sum(len(share) for share in shares) == 1


async def test_a_read_takes_no_more_than_there_are_slots(rig: Rig) -> None:
    await rig.submit(*[f"r{number}" for number in range(10)])
    await rig.broker.ensure_group(0, LANE)
    sizes = [len(await rig.broker.read(rig.connection, 0, LANE, "worker-1", count=4)) for _ in range(4)]
    assert sizes == [4, 4, 2, 0]
    assert [deliveries for _, _, deliveries in await rig.pending()] == [1] * 10


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxied(server.url) as running:
        yield running


async def test_a_submission_whose_reply_is_lost_is_one_entry(proxy: Proxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"$2\r\nr1\r\n")
        receipt = await rig.broker.submit(submission("r1"), inbox="box")
        assert proxy.replies_lost == 1
        assert receipt.record.state == "queued"
        assert not receipt.accepted, "the second time it was known"
        assert await rig.backlog() == 2
        assert (await rig.fields("r1"))[b"inboxes"] == b"box"


async def test_a_batch_whose_reply_is_lost_again_and_again_is_one_entry_each(proxy: Proxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"EVALSHA", times=4)
        await rig.submit(*[f"r{number}" for number in range(50)])
        assert proxy.replies_lost == 4
        assert await rig.backlog() == 51


async def test_without_patience_a_lost_reply_is_told_and_the_submission_may_be_repeated(proxy: Proxy) -> None:
    async with open_rig(proxy.url) as rig:
        await rig.submit("warm")
        proxy.lose_reply(b"$2\r\nr1\r\n")
        with pytest.raises(BrokerUnavailable):
            await rig.broker.submit(submission("r1"), patience_ms=0)
        assert not (await rig.broker.submit(submission("r1"))).accepted
        assert await rig.backlog() == 2


async def test_a_settlement_whose_reply_is_lost_is_settled(proxy: Proxy) -> None:
    async with open_rig(proxy.url) as rig:
        [entry] = await rig.submit_and_take("r1")
        # Known beforehand, or the lost reply would be the one that asks for its body.
        await rig.connection.command("SCRIPT", "LOAD", Script.load("settle").body)
        proxy.lose_reply(b"dead_lettered")
        done = settlement(entry, state="dead_lettered", reason="WHY")
        assert await rig.broker.settle("worker-1", done) == "settled"
        assert proxy.replies_lost == 1
        assert len(await rig.dead_letters()) == 1
        assert await rig.backlog() == 0


async def test_a_settlement_outlasts_any_outage(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, redis_patience_ms=1) as rig:
        await rig.connection.command("CONFIG", "SET", "appendfsync", "always")
        [entry] = await rig.submit_and_take("r1")
        await private_server.kill()
        settling = asyncio.create_task(rig.broker.settle("worker-1", settlement(entry)))
        with pytest.raises(BrokerUnavailable):
            await rig.broker.submit(submission("r2"))
        assert not settling.done()
        await private_server.start()
        assert await asyncio.wait_for(settling, 5) == "settled"


async def test_a_submission_waits_for_a_server_that_restarts(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, redis_patience_ms=10_000) as rig:
        await rig.submit("warm")
        await private_server.kill()
        submitting = asyncio.create_task(rig.broker.submit(submission("r1")))
        await private_server.start()
        assert (await asyncio.wait_for(submitting, 5)).accepted


async def test_a_script_on_a_key_of_another_type_fails_alone(rig: Rig) -> None:
    await rig.connection.command("SET", rig.keys.task("odd"), "a string")
    outcomes = await all_of([rig.broker.submit(submission(name)) for name in ("r1", "odd", "r2")])
    assert isinstance(outcomes[1], InternalError)
    assert [outcomes[0].record.state, outcomes[2].record.state] == ["queued", "queued"]
    assert await rig.backlog() == 2
