"""What a connection that closes as something is written on it looks like to who writes."""

from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from edgescale.broker.connection import Connection
from edgescale.errors import BrokerUnavailable
from tests.fake_nodes import fake_nodes

# What uvloop says of a write between the reset of a connection and the word of its loss.
CLOSED = "unable to perform operation on <TCPTransport closed=True reading=False 0x0>; the handler is closed"


def fail_once(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """The next command cannot be written, as a transport says."""
    send = AbstractConnection.send_packed_command

    async def failing(self: AbstractConnection, *_: Any, **__: Any) -> None:
        monkeypatch.setattr(AbstractConnection, "send_packed_command", send)
        await self.disconnect(nowait=True)
        raise RuntimeError(words)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", failing)


async def test_it_is_lost_and_the_next_command_has_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_nodes(1) as (node,):
        connection = Connection(f"redis://{node.node.host}:{node.node.port}", timeout_ms=4_000)
        await connection.command("GET", "key")
        fail_once(monkeypatch, CLOSED)
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", "key")
        assert await connection.command("GET", "key") == b"OK"
        assert node.accepted == 2
        await connection.close()


async def test_other_defects_are_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_nodes(1) as (node,):
        connection = Connection(f"redis://{node.node.host}:{node.node.port}", timeout_ms=4_000)
        fail_once(monkeypatch, "readuntil() called while another coroutine is already waiting for incoming data")
        with pytest.raises(RuntimeError, match="another coroutine"):
            await connection.command("GET", "key")
        await connection.close()
