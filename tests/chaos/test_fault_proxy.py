"""What only the built-in proxy does: faults of requests, replies and messages, and of bytes that Toxiproxy lacks."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from edgescale.broker.connection import Connection
from edgescale.broker.fence import Fence
from edgescale.broker.keys import Keys
from edgescale.broker.script import Script
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos.effects import Limit
from edgescale.harness.chaos.fault_proxy import FaultProxies, FaultProxy, proxied
from edgescale.harness.chaos.toxics import (
    BlackHole,
    Delay,
    ExecuteThenCut,
    HalfOpen,
    Latency,
    LimitBytes,
    MessageLoss,
    RequestLost,
    ResetInBatch,
    SlowDrip,
    Stall,
)
from tests.chaos.linked import LONG_MS, PONG, Client, counted, raw, reached
from tests.servers import Server
from tests.support import eventually, open_rig


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client[FaultProxy]]:
    async with proxied(server.url) as proxy, reached(proxy) as reaching:
        yield reaching


# --- requests and their replies ---------------------------------------------------------------------------------------


async def test_a_request_is_carried_out_and_its_reply_cut(client: Client[FaultProxy], operator: Connection) -> None:
    toxic = ExecuteThenCut("INCR")
    async with client.link.toxic(toxic):
        with pytest.raises(BrokerUnavailable):
            await client.connection.command("INCR", "n")
        assert await counted(operator) == 1
        assert await client.connection.command("INCR", "n") == 2
    assert client.link.struck[toxic] == client.link.replies_lost == 1


async def test_only_the_requests_that_are_meant_lose_their_replies(client: Client[FaultProxy]) -> None:
    toxic = ExecuteThenCut("INCR", nth=2, times=2)
    outcomes: list[Any] = []
    async with client.link.toxic(toxic):
        for _ in range(5):
            await client.connection.command("GET", "n")
            try:
                outcomes.append(await client.connection.command("INCR", "n"))
            except BrokerUnavailable:
                outcomes.append(None)
    assert outcomes == [1, None, None, 4, 5]
    assert client.link.struck == {toxic: 2}


async def test_replies_before_the_one_that_is_cut_arrive(client: Client[FaultProxy], operator: Connection) -> None:
    async with client.link.toxic(ExecuteThenCut("ECHO")), raw(client.link) as connection:
        connection.send("PING", "INCR n", "ECHO abc", "INCR n")
        assert await connection.story() == (PONG + b":1\r\n", "closed")
    assert await counted(operator) == 2, "what was sent behind it was carried out as well"


async def test_a_reply_is_found_among_messages(client: Client[FaultProxy], operator: Connection) -> None:
    confirmed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\ntext\r\n"
    async with client.link.toxic(ExecuteThenCut("PING")), raw(client.link) as connection:
        connection.send("SUBSCRIBE a b")
        assert await connection.read(len(confirmed)) == confirmed
        await operator.command("PUBLISH", "a", "text")
        assert await connection.read(len(message)) == message
        connection.send("PING")
        assert await connection.story() == (b"", "closed")


async def test_with_the_newer_protocol_a_subscriber_may_ask_for_anything(
    client: Client[FaultProxy], operator: Connection
) -> None:
    async with raw(client.link) as connection:
        connection.send("HELLO 3", "SUBSCRIBE a", "RPUSH l message a text", "ECHO ready")
        await connection.read_until(b"ready\r\n")
        async with client.link.toxic(MessageLoss(1)):
            await operator.command("PUBLISH", "a", "text")
            connection.send("LRANGE l 0 -1", "ECHO ready")
            reply = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\ntext\r\n"
            assert await connection.read_until(b"ready\r\n") == reply + b"$5\r\nready\r\n"
        async with client.link.toxic(ExecuteThenCut("LRANGE")):
            connection.send("PING", "LRANGE l 0 -1")
            await operator.command("PUBLISH", "a", "text")
            told, how = await connection.story()
    assert how == "closed"
    assert told.replace(reply.replace(b"*", b">"), b"") == PONG, "a message may come first"


async def test_a_script_is_aimed_at_by_its_name(server: Server) -> None:
    async with proxied(server.url) as proxy, open_rig(proxy.url) as rig:
        await rig.submit("warm")
        toxic = ExecuteThenCut("submit", holding=b"r1", times=2)
        async with proxy.toxic(toxic):
            await rig.submit("r1")
        assert proxy.struck[toxic] == 2
        assert await rig.backlog() == 2, "each is there once"


async def test_a_request_that_is_lost_is_not_carried_out(client: Client[FaultProxy], operator: Connection) -> None:
    toxic = RequestLost("INCR")
    async with client.link.toxic(toxic):
        with pytest.raises(BrokerUnavailable):
            await client.connection.command("INCR", "n")
        async with raw(client.link) as connection:
            connection.send("INCR n", "INCR n")
            assert await connection.read(8) == b":1\r\n:2\r\n"
    assert await counted(operator) == 2
    assert client.link.struck == {toxic: 1}


async def test_of_a_large_request_that_is_lost_not_a_byte_arrives(
    client: Client[FaultProxy], operator: Connection
) -> None:
    before = await received(operator)
    async with client.link.toxic(RequestLost("SET")):
        with pytest.raises(BrokerUnavailable):
            await client.connection.command("SET", "k", bytes(5_000_000))
    assert await received(operator) - before < 10_000


async def received(operator: Connection) -> int:
    """Bytes that the server has been sent."""
    figures = (await operator.command("INFO", "stats")).decode()
    return int(figures.partition("total_net_input_bytes:")[2].split()[0])


async def test_the_second_of_its_kind_is_delayed_and_arrives_with_the_heal(
    client: Client[FaultProxy], operator: Connection
) -> None:
    toxic = Delay("INCR", nth=2, delay_ms=LONG_MS)
    async with client.link.toxic(toxic):
        assert await client.connection.command("INCR", "n") == 1
        delayed = client.begin("INCR", "n")
        await eventually(lambda: client.link.struck[toxic] == 1)
        assert await client.connection.command("INCR", "n") == 2, "others overtake it on other connections"
        assert not delayed.done()
        assert await counted(operator) == 2
    assert await delayed == 3


async def test_what_comes_behind_a_delayed_request_waits_for_it(client: Client[FaultProxy]) -> None:
    async with raw(client.link) as connection:
        async with client.link.toxic(Delay("INCR", delay_ms=LONG_MS)):
            connection.send("ECHO abc", "INCR n", "PING")
            assert await connection.read(9) == b"$3\r\nabc\r\n"
        assert await connection.read(4 + len(PONG)) == b":1\r\n" + PONG


async def test_a_pipeline_is_reset_in_its_midst(client: Client[FaultProxy], operator: Connection) -> None:
    toxic = ResetInBatch(3)
    async with client.link.toxic(toxic):
        async with raw(client.link) as connection:
            connection.send(*["INCR n"] * 5)
            assert (await connection.story())[1] == "reset"
        await eventually(lambda: counted(operator))
        await nobody_but(operator)
        assert await counted(operator) == 3
        async with raw(client.link) as connection:
            connection.send(*["INCR n"] * 5)
            assert await connection.read(4 * 5) == b":4\r\n:5\r\n:6\r\n:7\r\n:8\r\n"
    assert client.link.struck == {toxic: 1}


async def nobody_but(operator: Connection) -> None:
    """The server has heard of the end of all other connections, and so of all that they were to tell."""
    await eventually(lambda: alone(operator))


async def alone(operator: Connection) -> bool:
    return len((await operator.command("CLIENT", "LIST")).splitlines()) == 1


async def test_a_script_is_carried_out_whose_fence_is_cut_off(server: Server, operator: Connection) -> None:
    key = Keys(1).dead(0)
    body = "#!lua\nreturn redis.call('INCR', KEYS[1])"
    # A script of this name has a fence: what it tells must not be told before replicas have it.
    script = Script("submit", body, (await operator.command("SCRIPT", "LOAD", body)).decode())
    async with proxied(server.url) as proxy:
        connection = Connection(proxy.url, timeout_ms=60_000, fence=Fence(0, 1_000))
        try:
            async with proxy.toxic(ResetInBatch(1)):
                with pytest.raises(BrokerUnavailable):
                    await connection.run(script, [key], [])
            await eventually(lambda: counted(operator, key))
            assert await connection.run(script, [key], []) == 2
        finally:
            await connection.close()


# --- messages ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def told_of(
    links: FaultProxies, server: Server, operator: Connection, share: float, *, messages: int
) -> AsyncIterator[list[int]]:
    """Which of so many messages arrive at a subscriber."""
    async with (
        links.link("subscriber->redis", server.url) as link,
        reached(link) as client,
        client.connection.subscribed("c") as subscription,
        link.toxic(MessageLoss(share)),
    ):
        for number in range(messages):
            assert await operator.command("SPUBLISH", "c", str(number)) == 1
        heard = []
        # None is the answer to a PING, and comes behind all that was published before it.
        while (message := await subscription.next(quiet_ms=50)) is not None:
            heard.append(int(message))
        assert link.struck[MessageLoss(share)] == messages - len(heard)
        yield heard


async def test_messages_are_lost_and_nothing_else(server: Server, operator: Connection) -> None:
    async with told_of(FaultProxies(0), server, operator, 1, messages=20) as heard:
        assert heard == []


async def test_the_same_seed_loses_the_same_messages(server: Server, operator: Connection) -> None:
    lost = []
    for seed in (1, 1, 2):
        async with told_of(FaultProxies(seed), server, operator, 0.5, messages=200) as heard:
            lost.append(heard)
    assert lost[0] == lost[1] != lost[2]
    assert all(50 < len(heard) < 150 for heard in lost)
    assert lost[0] == sorted(lost[0])


async def test_what_looks_like_a_message_and_is_a_reply_arrives(client: Client[FaultProxy]) -> None:
    await client.connection.command("RPUSH", "l", "message", "c", "text")
    async with client.link.toxic(MessageLoss(1)):
        assert await client.connection.command("LRANGE", "l", 0, -1) == [b"message", b"c", b"text"]


# --- bytes ------------------------------------------------------------------------------------------------------------


async def test_of_a_half_open_connection_neither_end_hears_that_the_other_is_gone(
    client: Client[FaultProxy], operator: Connection
) -> None:
    async with raw(client.link) as connection:
        connection.send("CLIENT SETNAME ghost", "PING")
        await connection.read(5 + len(PONG))
        client.link.darken()
        connection.send("INCR n")
    await eventually(lambda: client.link.struck[HalfOpen(direction="upstream")] == 2)
    assert b"name=ghost" in await operator.command("CLIENT", "LIST")
    assert await counted(operator) == 0
    assert await client.connection.command("INCR", "n") == 1, "new connections are not touched"


async def test_connections_that_were_made_half_open_stay_so(client: Client[FaultProxy], operator: Connection) -> None:
    toxic = HalfOpen(direction="upstream")
    async with AsyncExitStack() as afterwards:
        async with client.link.toxic(toxic):
            connection = await afterwards.enter_async_context(raw(client.link))
            await eventually(lambda: client.link.connections)
        connection.send("INCR n")
        await eventually(lambda: client.link.struck[toxic] == 1)
        assert await counted(operator) == 0


async def test_who_is_not_read_from_must_wait_and_loses_nothing(
    client: Client[FaultProxy], operator: Connection
) -> None:
    async with client.link.toxic(Stall()), reached(client.link, timeout_ms=300) as impatient:
        with pytest.raises(BrokerUnavailable):
            await impatient.connection.command("INCR", "n")
        assert await counted(operator) == 1
    large = 32 * 1024 * 1024
    await operator.command("EVAL", f"return redis.call('SET', KEYS[1], string.rep('x', {large}))", "1", "k")
    async with client.link.toxic(Stall()):
        call = client.begin("GET", "k")
        await eventually(lambda: keeps_much(operator))
        assert not call.done()
    assert len(await call) == large


async def keeps_much(operator: Connection) -> bool:
    """Somebody's replies fill the server's buffers."""
    clients = (await operator.command("CLIENT", "LIST")).decode().split()
    return any(int(fact.removeprefix("omem=")) > 1_000_000 for fact in clients if fact.startswith("omem="))


async def test_who_is_severed_is_reset(client: Client[FaultProxy]) -> None:
    async with raw(client.link) as connection:
        connection.send("PING")
        await connection.read(len(PONG))
        client.link.sever()
        assert await connection.story() == (b"", "reset")
    assert await client.connection.command("PING") == b"PONG"


async def test_the_connections_of_a_link_are_known(client: Client[FaultProxy]) -> None:
    async with raw(client.link), raw(client.link):
        await eventually(lambda: client.link.connections == 2)
    await eventually(lambda: client.link.connections == 0)


async def test_a_black_hole_leaves_other_connections_alone_once_it_is_over(client: Client[FaultProxy]) -> None:
    async with client.link.toxic(BlackHole()):
        pass
    async with raw(client.link) as connection:
        connection.send("PING")
        assert await connection.read(len(PONG)) == PONG


async def test_what_is_still_in_force_befalls_connections_to_come(client: Client[FaultProxy]) -> None:
    async with client.link.toxic(LimitBytes(0)):
        for _ in range(2):
            async with raw(client.link) as connection:
                connection.send("PING")
                assert await connection.story() == (b"", "closed")


async def test_faults_of_requests_need_requests(server: Server) -> None:
    address = server.url.removeprefix("redis://").removesuffix("/0")
    async with proxied(address) as proxy:
        for toxic in (ExecuteThenCut(), RequestLost(), Delay(delay_ms=1), ResetInBatch(1), MessageLoss(1)):
            with pytest.raises(ConfigError, match=rf"{type(toxic).__name__} needs a link to redis://"):
                async with proxy.toxic(toxic):
                    pass
        async with proxy.toxic(Latency(1)), proxy.toxic(SlowDrip(3)), raw(proxy) as connection:
            connection.send("PING")
            assert await connection.read(len(PONG)) == PONG


async def test_a_defect_of_the_proxy_is_not_taken_for_a_fault(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def struck_by_a_defect() -> None:
        async with proxied(server.url) as proxy, proxy.toxic(LimitBytes(0)), raw(proxy) as connection:
            connection.send("PING")
            assert await connection.story() == (b"", "reset")

    # It cannot be called.
    monkeypatch.setattr(Limit, "fate", None)
    with pytest.raises(ExceptionGroup) as caught:
        await struck_by_a_defect()
    assert caught.group_contains(TypeError)
