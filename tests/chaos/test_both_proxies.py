"""Faults that both proxies have do what they say, and the same: each test runs through both."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edgescale.broker.connection import Connection
from edgescale.errors import BrokerUnavailable, ConfigError
from edgescale.harness.chaos.link import Links
from edgescale.harness.chaos.toxic import Direction
from edgescale.harness.chaos.toxics import Bandwidth, BlackHole, Latency, LimitBytes, Refused, Reset, SlowDrip
from edgescale.local.child import lasting_port
from tests.chaos.linked import LONG_MS, PONG, counted, linked, raw
from tests.servers import Server
from tests.support import eventually

# The first one may have to build a Toxiproxy.
pytestmark = pytest.mark.timeout(1_000)
# Carried out, and the reply is more than any buffer on the way.
LARGE_BYTES = 300_000
COUNT_AND_SAY_MUCH = f"redis.call('INCR', KEYS[1]) return string.rep('x', {LARGE_BYTES})"


def executed(operator: Connection, times: int = 1) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await counted(operator) == times

    return condition


async def test_without_a_fault_what_was_sent_arrives(links: Links, server: Server) -> None:
    data = bytes(range(256)) * 2_000
    async with linked(links, server.url) as client:
        await client.connection.command("SET", "k", data)
        assert await client.connection.command("GET", "k") == data
        calls = [client.begin("ECHO", str(number)) for number in range(200)]
        assert await asyncio.gather(*calls) == [str(number).encode() for number in range(200)]


async def test_a_late_reply_arrives_with_the_heal(links: Links, server: Server, operator: Connection) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(Latency(LONG_MS)):
            call = client.begin("INCR", "n")
            await eventually(executed(operator))
            assert not call.done()
        assert await call == 1


async def test_a_late_request_arrives_with_the_heal(links: Links, server: Server, operator: Connection) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(Latency(LONG_MS, direction="upstream")):
            call = client.begin("INCR", "n")
            await operator.command("PING")
            assert await counted(operator) == 0
            assert not call.done()
        assert await call == 1


async def test_what_is_late_by_chance_keeps_its_order(links: Links, server: Server) -> None:
    async with (
        linked(links, server.url) as client,
        client.link.toxic(Latency(10, 10)),
        client.link.toxic(Latency(5, 5, direction="upstream")),
        raw(client.link) as connection,
    ):
        for number in range(100, 150):
            connection.send(f"ECHO {number}")
            await connection.writer.drain()
        expected = b"".join(b"$3\r\n%d\r\n" % number for number in range(100, 150))
        assert await connection.read(len(expected)) == expected


async def test_what_does_not_fit_through_arrives_with_the_heal(
    links: Links, server: Server, operator: Connection
) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(Bandwidth(1)):
            call = client.begin("EVAL", COUNT_AND_SAY_MUCH, "1", "n")
            await eventually(executed(operator))
            assert not call.done()
        assert len(await call) == LARGE_BYTES


async def test_what_fits_through_arrives_whole(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client, client.link.toxic(Bandwidth(3_000)):
        assert await client.connection.command("EVAL", COUNT_AND_SAY_MUCH, "1", "n") == b"x" * LARGE_BYTES


async def test_a_slow_drip_pauses_behind_each_piece(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(SlowDrip(5, pause_us=LONG_MS * 1_000)), raw(client.link) as connection:
            connection.send("PING")
            first = await asyncio.wait_for(connection.reader.read(100), 20)
            assert 0 < len(first) <= 5
        assert PONG.startswith(first)


async def test_the_rest_of_a_slow_drip_arrives_with_the_heal(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client, raw(client.link) as connection:
        async with client.link.toxic(SlowDrip(5, 2, pause_us=LONG_MS * 1_000)):
            connection.send("PING")
            first = await asyncio.wait_for(connection.reader.read(100), 20)
        assert first + await connection.read(len(PONG) - len(first)) == PONG


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_a_slow_drip_is_put_together_again(links: Links, server: Server, direction: Direction) -> None:
    async with linked(links, server.url) as client, client.link.toxic(SlowDrip(4, 3, 50, direction=direction)):
        data = bytes(range(256))
        await client.connection.command("SET", "k", data)
        assert await client.connection.command("GET", "k") == data


async def test_into_a_black_hole_on_the_way_back_falls_the_reply_only(
    links: Links, server: Server, operator: Connection
) -> None:
    async with linked(links, server.url, timeout_ms=300) as client:
        async with client.link.toxic(BlackHole()):
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("INCR", "n")
            assert await counted(operator) == 1
        assert await client.connection.command("INCR", "n") == 2


async def test_into_a_black_hole_on_the_way_there_falls_the_request(
    links: Links, server: Server, operator: Connection
) -> None:
    async with linked(links, server.url, timeout_ms=300) as client:
        async with client.link.toxic(BlackHole(direction="upstream")):
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("INCR", "n")
        assert await client.connection.command("PING") == b"PONG"
        assert await counted(operator) == 0


@pytest.mark.parametrize("direction", ["upstream", "downstream"])
async def test_a_connection_through_a_black_hole_stays_open_until_the_heal(
    links: Links, server: Server, operator: Connection, direction: Direction
) -> None:
    async with linked(links, server.url, timeout_ms=300) as client, raw(client.link) as connection:
        connection.send("CLIENT SETNAME hole", "PING")
        assert await connection.read(5 + len(PONG)) == b"+OK\r\n" + PONG
        async with client.link.toxic(BlackHole(direction=direction)):
            connection.send("PING")
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("PING")
            assert b"name=hole" in await operator.command("CLIENT", "LIST")
        assert await connection.story() == (b"", "closed")


@pytest.mark.parametrize(("direction", "times"), [("upstream", 0), ("downstream", 1)])
async def test_a_reset_takes_the_place_of_what_was_sent(
    links: Links, server: Server, operator: Connection, direction: Direction, times: int
) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(Reset(direction=direction)):
            async with raw(client.link) as connection:
                connection.send("INCR n")
                assert await connection.story() == (b"", "reset")
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("INCR", "n")
            assert await counted(operator) == 2 * times
        assert await client.connection.command("INCR", "n") == 2 * times + 1


async def test_a_limit_cuts_a_reply_behind_its_last_byte(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client, client.link.toxic(LimitBytes(10)):
        async with raw(client.link) as connection:
            connection.send("PING", "PING")
            assert await connection.story() == ((PONG + PONG)[:10], "closed")
        async with client.link.toxic(LimitBytes(len(PONG))), raw(client.link) as connection:
            connection.send("PING")
            assert await connection.story() == (PONG, "closed"), "it is not the byte beyond that closes it"
        # Each connection has the whole limit.
        assert await client.connection.command("PING") == b"PONG"
        with pytest.raises(BrokerUnavailable):
            await client.connection.command("PING")


async def test_a_limit_of_nothing_loses_the_reply_to_what_was_done(
    links: Links, server: Server, operator: Connection
) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(LimitBytes(0)):
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("INCR", "n")
        assert await counted(operator) == 1
        assert await client.connection.command("INCR", "n") == 2


async def test_a_limit_on_the_way_there_cuts_a_request_off(links: Links, server: Server, operator: Connection) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(LimitBytes(15, direction="upstream")), raw(client.link) as connection:
            connection.send("INCR n")
            assert await connection.story() == (b"", "closed")
        assert await counted(operator) == 0


async def test_while_refused_nobody_is_connected_and_nobody_gets_in(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client, raw(client.link) as connection:
        connection.send("PING")
        assert await connection.read(len(PONG)) == PONG
        async with client.link.toxic(Refused()):
            assert (await connection.story())[0] == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(client.link.host, client.link.port)
            with pytest.raises(BrokerUnavailable):
                await client.connection.command("PING")
        assert await client.connection.command("PING") == b"PONG"


async def test_refusals_may_overlap(links: Links, server: Server) -> None:
    async with linked(links, server.url) as client:
        async with client.link.toxic(Refused()):
            async with client.link.toxic(Refused()):
                pass
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(client.link.host, client.link.port)
        assert await client.connection.command("PING") == b"PONG"


async def test_a_fault_can_be_changed_while_it_is_in_force(links: Links, server: Server, operator: Connection) -> None:
    async with linked(links, server.url) as client, client.link.toxic(Latency(LONG_MS)) as dose:
        call = client.begin("INCR", "n")
        await eventually(executed(operator))
        await dose.change(Latency(1))
        assert await call == 1
        assert await client.connection.command("INCR", "n") == 2
        await dose.change(Latency(LONG_MS))
        call = client.begin("INCR", "n")
        await eventually(executed(operator, 3))
        assert not call.done()
        with pytest.raises(ConfigError, match="only the numbers"):
            await dose.change(Bandwidth(1))
        await dose.change(Latency(0))
        assert await call == 3


async def test_faults_add_up(links: Links, server: Server, operator: Connection) -> None:
    async with linked(links, server.url) as client, client.link.toxic(LimitBytes(3)), raw(client.link) as connection:
        async with client.link.toxic(Latency(LONG_MS)):
            connection.send("INCR n")
            await eventually(executed(operator))
        assert await connection.story() == (b":1\r", "closed")


async def test_a_fault_that_is_over_is_over_even_where_its_block_failed(links: Links, server: Server) -> None:
    class Trouble(Exception):
        pass

    async def in_trouble(link: Any) -> None:
        async with link.toxic(LimitBytes(0)):
            raise Trouble

    async with linked(links, server.url) as client:
        with pytest.raises(Trouble):
            await in_trouble(client.link)
        assert await client.connection.command("PING") == b"PONG"


async def test_who_asks_for_a_server_that_is_away_is_let_in_and_left_alone(links: Links) -> None:
    async with linked(links, f"redis://127.0.0.1:{lasting_port()}/0") as client:
        async with raw(client.link) as connection:
            assert await connection.story() == (b"", "closed")
        with pytest.raises(BrokerUnavailable):
            await client.connection.command("PING")


async def test_each_link_has_its_own_faults(links: Links, server: Server) -> None:
    async with (
        linked(links, server.url) as client,
        links.link("other->redis", server.url) as other,
        raw(other) as connection,
        client.link.toxic(Refused()),
    ):
        connection.send("PING")
        assert await connection.read(len(PONG)) == PONG


async def test_a_name_is_given_once(links: Links, server: Server) -> None:
    async with links.link("one->redis", server.url):
        with pytest.raises(ConfigError, match=r"name|exists"):
            async with links.link("one->redis", server.url):
                pass
    async with links.link("one->redis", server.url) as link:
        assert link.url == f"redis://{link.host}:{link.port}/0"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 101])
async def test_a_name_that_no_link_can_have_is_refused(links: Links, server: Server, name: str) -> None:
    with pytest.raises(ConfigError, match=r"name: must be made of letters, digits and . _ - > as in worker-1->redis"):
        async with links.link(name, server.url):
            pass


async def test_a_target_that_is_none_is_refused(links: Links) -> None:
    with pytest.raises(ConfigError, match="target: must name one host and its port"):
        async with links.link("one->redis", "redis:///0"):
            pass
