"""The peer-bug museum: blocked reads that a client's timeout or a failover ended for good elsewhere."""

import asyncio
import inspect
import re
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from edgescale.local.child import free_port
from edgescale.local.valkey import EmbeddedValkey
from tests.parts import Deed, ask, said, working
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, serving


async def test_the_client_librarys_own_socket_timeout_does_not_end_a_blocked_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five seconds since redis-py 8; less here, so that nobody has to wait for them.
    defaults = inspect.unwrap(AbstractConnection.__init__).__kwdefaults__
    assert "socket_timeout" in defaults
    monkeypatch.setitem(defaults, "socket_timeout", 0.05)
    async with open_rig(server.url) as rig:
        await rig.broker.ensure_group(0, LANE)
        reader = rig.connection.for_blocking(400)
        assert await rig.broker.read(reader, 0, LANE, "worker-1", count=1, block_ms=400) == []
        await reader.close()


async def blocked(rig: Rig) -> int:
    """How many reads wait at the server."""
    found = re.search(rb"blocked_clients:(\d+)", await rig.connection.command("INFO", "clients"))
    assert found is not None
    return int(found[1])


async def test_a_worker_whose_primary_becomes_a_replica_under_its_read_consumes_again(
    private_server: EmbeddedValkey,
) -> None:
    deed = Deed()
    changes: dict[str, Any] = {"redis_timeout_ms": 500, "inbox_recheck_ms": 300}
    async with (
        open_rig(private_server.url, **changes) as rig,
        serving(rig.inbox()) as inbox,
        working(private_server.url, deed, redis_block_ms=2_000, **changes),
    ):
        for number in range(3):
            await eventually(lambda: blocked(rig))
            await rig.connection.command("REPLICAOF", "127.0.0.1", free_port())
            # Its read has been answered with an error, and its writes are refused.
            await eventually(lambda: none_blocked(rig))
            answer = asyncio.create_task(ask(rig, inbox, f"r{number}"))
            await rig.connection.command("REPLICAOF", "NO", "ONE")
            assert said(await asyncio.wait_for(answer, 5)) == f"r{number} by attempt 1"
    assert deed.ended == ["r0", "r1", "r2"]


async def none_blocked(rig: Rig) -> bool:
    return await blocked(rig) == 0
