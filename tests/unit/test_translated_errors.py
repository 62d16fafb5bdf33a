"""Every error that leaves the connection is one of ours, and says nothing of its cause."""

import asyncio
import inspect

import pytest
from redis import exceptions as foreign

from edgescale.broker.connection import Connection, translated
from edgescale.errors import (
    BrokerUnavailable,
    ConfigError,
    EdgeScaleError,
    GroupMissing,
    InternalError,
    Overloaded,
)
from edgescale.local.child import free_port

FOREIGN = [kind for _, kind in inspect.getmembers(foreign, inspect.isclass) if issubclass(kind, Exception)]


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
