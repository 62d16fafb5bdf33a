"""The way of commands through a cluster whose nodes say, each, what a real one would say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from edgescale.broker.address import Node
from edgescale.broker.connection import Connection
from edgescale.broker.dial import ASKED_WITHIN_A_COMMAND
from edgescale.broker.slots import SlotMap, slot_of
from edgescale.errors import BrokerUnavailable, ConfigError
from tests.fake_nodes import FakeNode, everything, fake_nodes, slots
from tests.support import eventually

KEY = "edgescale:{p0}:dead"
SLOT = 15_882
TIMEOUT_MS = 800


@asynccontextmanager
async def connected(*seeds: FakeNode, timeout_ms: int = TIMEOUT_MS) -> AsyncIterator[Connection]:
    hosts = ",".join(f"{seed.node.host}:{seed.node.port}" for seed in seeds)
    connection = Connection(f"redis+cluster://{hosts}", timeout_ms=timeout_ms)
    try:
        yield connection
    finally:
        await connection.close()


def moved_to(node: Node, host: str | None = None) -> bytes:
    return f"-MOVED {SLOT} {node.host if host is None else host}:{node.port}\r\n".encode()


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XLEN", KEY), KEY),
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", KEY, ">"), KEY),
        (("XGROUP", "CREATE", KEY, "g", "0", "MKSTREAM"), KEY),
        (("XINFO", "CONSUMERS", KEY, "g"), KEY),
        (("EVALSHA", "abc", 2, KEY, "other", "arg"), KEY),
        ((b"GET", KEY.encode()), KEY),
    ],
)
def test_a_command_goes_by_its_first_key(command: tuple[str | bytes | int, ...], key: str) -> None:
    assert slot_of(command) == slot_of((), key) == SLOT


def test_a_slot_has_the_owner_of_its_range_and_none_between_ranges() -> None:
    one, two, three = (Node("h", port) for port in (1, 2, 3))
    rows = [[100, 200, [b"h", 2, b"id"], [b"h", 3, b"id"]], [0, 50, [b"h", 1, b"id"]], [300, 300, [b"h", 2, b"id"]]]
    told = SlotMap.parse(rows, Node("asked", 9))
    owners = {0: one, 50: one, 51: None, 99: None, 100: two, 200: two, 201: None, 300: two, 301: None, 16_383: None}
    assert {slot: told.owner(slot) for slot in owners} == owners
    assert (told.primaries, told.nodes) == ((one, two), (one, two, three))


@pytest.mark.parametrize("host", [b"", b"?", None])
def test_a_node_without_a_name_is_reached_where_it_was_asked(host: bytes | None) -> None:
    assert SlotMap.parse([[0, 1, [host, 7, b"id"]]], Node("asked", 9)).owner(0) == Node("asked", 7)


async def test_each_command_goes_to_the_owner_of_its_key() -> None:
    async with fake_nodes(2) as (one, two), connected(one) as connection:
        one.slots = two.slots = slots((0, SLOT - 1, [one.node]), (SLOT, 16_383, [two.node]))
        await connection.command("GET", KEY)
        await connection.command("GET", "edgescale:{p1}:dead")
        await connection.command("TIME", at=KEY)
        assert (two.heard, one.heard) == ([[b"GET", KEY.encode()], [b"TIME"]], [[b"GET", b"edgescale:{p1}:dead"]])
        assert one.maps_told + two.maps_told == 1


@pytest.mark.parametrize("host", [None, "", "?"])
async def test_a_command_that_a_node_sends_on_is_followed_and_later_ones_go_there_at_once(host: str | None) -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots, new.slots = everything(old.node), everything(new.node)
        old.answer = lambda _: moved_to(new.node, host)
        for _ in range(3):
            assert await connection.command("GET", KEY) == b"OK"
        assert (len(old.heard), len(new.heard)) == (1, 3)


async def test_a_read_that_waited_as_its_slot_went_is_followed_and_does_not_wait_again() -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots, new.slots = everything(old.node), everything(new.node)
        old.answer = lambda _: moved_to(new.node)
        await connection.command("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 900, "STREAMS", KEY, ">")
        await connection.command("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 900, "STREAMS", KEY, ">")
    unblocked, blocked = [b" ".join(command) for command in new.heard]
    assert unblocked == f"XREADGROUP GROUP g c COUNT 1 STREAMS {KEY} >".encode()
    assert blocked == f"XREADGROUP GROUP g c COUNT 1 BLOCK 900 STREAMS {KEY} >".encode()


async def test_a_key_that_has_gone_ahead_is_asked_for_at_the_target_with_leave() -> None:
    async with fake_nodes(2) as (source, target), connected(source) as connection:
        source.slots = everything(source.node)
        source.answer = lambda _: f"-ASK {SLOT} {target.node.host}:{target.node.port}\r\n".encode()
        for _ in range(2):
            await connection.command("GET", KEY)
        # The slot is the source's still, so it is asked first each time.
        assert len(source.heard) == 2
        assert target.heard == [[b"ASKING"], [b"GET", KEY.encode()]] * 2
        assert source.maps_told == 1


@pytest.mark.parametrize("reply", ["TRYAGAIN Multiple keys request", "CLUSTERDOWN The cluster is down"])
async def test_a_slot_that_cannot_be_served_now_is_away(reply: str) -> None:
    async with fake_nodes(1) as (node,), connected(node) as connection:
        node.slots = everything(node.node)
        node.answer = lambda _: f"-{reply}\r\n".encode()
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)
        node.answer = lambda _: b"+OK\r\n"
        assert await connection.command("GET", KEY) == b"OK"


async def test_nodes_that_send_a_command_to_and_fro_do_not_keep_it_for_ever() -> None:
    async with fake_nodes(2) as (one, two), connected(one) as connection:
        one.slots = two.slots = everything(one.node)
        one.answer, two.answer = (lambda _: moved_to(two.node)), (lambda _: moved_to(one.node))
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)
        assert len(one.heard) + len(two.heard) == 5


async def test_after_its_owner_vanished_a_key_is_found_at_the_replica_that_took_over() -> None:
    async with fake_nodes(3) as (old, new, other), connected(old) as connection:
        old.slots = slots((0, 9_000, [other.node]), (9_001, 16_383, [old.node, new.node]))
        await connection.command("GET", KEY)
        old.vanish()
        new.slots = other.slots = slots((0, 9_000, [other.node]), (9_001, 16_383, [new.node]))
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)
        assert await connection.command("GET", KEY) == b"OK"
        assert len(new.heard) == 1


async def test_a_node_that_fell_silent_is_not_asked_who_took_over() -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots = everything(old.node, new.node)
        await connection.command("GET", KEY)
        old.answer, old.slots = (lambda _: None), None
        new.slots = everything(new.node)
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)
        told = old.maps_told
        assert await connection.command("GET", KEY) == b"OK"
        assert old.maps_told == told


async def test_a_silent_seed_leaves_time_to_ask_the_next_one() -> None:
    async with fake_nodes(3) as (silent, mute, third), connected(silent, mute, third) as connection:
        silent.slots = mute.slots = None
        third.slots = everything(third.node)
        assert await connection.command("GET", KEY) == b"OK"


async def test_trouble_at_one_node_leaves_the_way_to_the_others_alone() -> None:
    async with fake_nodes(2) as (ill, well), connected(well) as connection:
        ill.slots = well.slots = slots((0, SLOT - 1, [well.node]), (SLOT, 16_383, [ill.node]))
        await connection.command("GET", KEY)
        ill.vanish()
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)
        told = well.maps_told
        for _ in range(5):
            assert await connection.command("GET", "edgescale:{p1}:dead") == b"OK"
        assert well.maps_told == told


async def test_all_who_miss_an_owner_at_once_ask_once() -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots, new.slots = everything(old.node), everything(new.node)
        await connection.command("GET", KEY)
        old.answer = lambda _: moved_to(new.node)
        await asyncio.gather(*(connection.command("GET", KEY) for _ in range(20)))
        assert (new.maps_told, len(new.heard)) == (1, 20)


async def test_readers_share_the_map_and_not_the_connections() -> None:
    async with fake_nodes(1) as (node,), connected(node) as connection:
        node.slots = everything(node.node)
        await connection.command("GET", KEY)
        readers = [connection.for_blocking(100) for _ in range(3)]
        for reader in readers:
            await reader.command("GET", KEY)
        assert node.maps_told == 1
        for reader in readers:
            await reader.close()
        assert await connection.command("GET", KEY) == b"OK", "the map's own connections are still there"


async def test_connections_to_a_node_that_left_are_closed() -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots, new.slots = everything(old.node), everything(new.node)
        await asyncio.gather(*(connection.command("GET", KEY) for _ in range(5)))
        assert old.links
        old.answer = lambda _: moved_to(new.node)
        await connection.command("GET", KEY)
        await connection.command("GET", KEY)
        await eventually(lambda: not old.links)


async def test_an_only_node_has_the_whole_time_of_a_command_to_tell_the_map() -> None:
    async with fake_nodes(1) as (node,), connected(node, timeout_ms=4_000) as connection:
        node.slots = None
        asked = asyncio.create_task(connection.command("GET", KEY))
        await eventually(lambda: node.maps_told)
        # Longer than its share would be if there were others to ask.
        await asyncio.sleep(4 / ASKED_WITHIN_A_COMMAND + 0.2)
        node.send_all(everything(node.node))
        assert (await asked, node.maps_told) == (b"OK", 1)


async def test_a_server_without_a_cluster_is_refused_with_the_remedy() -> None:
    async with fake_nodes(1) as (node,), connected(node) as connection:
        node.slots = b"-ERR This instance has cluster support disabled\r\n"
        with pytest.raises(ConfigError, match=r"is not a node of a cluster; .* redis://"):
            await connection.command("GET", KEY)


async def test_a_cluster_without_slots_is_away() -> None:
    async with fake_nodes(1) as (node,), connected(node) as connection:
        with pytest.raises(BrokerUnavailable):
            await connection.command("GET", KEY)


async def test_a_subscription_is_made_where_the_slot_is_and_ends_when_it_moves_on() -> None:
    async with fake_nodes(2) as (old, new), connected(old) as connection:
        old.slots, new.slots = everything(old.node), everything(new.node)
        old.answer = lambda _: moved_to(new.node)
        new.answer = lambda command: b"*3\r\n$10\r\nssubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(command[1]), command[1])
        async with connection.subscribed(KEY) as subscription:
            assert new.heard == [[b"SSUBSCRIBE", KEY.encode()]]
            new.send_all(b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\nr1\r\n")
            assert await subscription.next(quiet_ms=1_000) == b"r1"
            new.send_all(b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n")
            with pytest.raises(BrokerUnavailable):
                await subscription.next(quiet_ms=1_000)


async def test_a_server_that_turns_out_to_be_a_replica_is_connected_to_anew() -> None:
    async with fake_nodes(1) as (node,):
        connection = Connection(f"redis://{node.node.host}:{node.node.port}", timeout_ms=TIMEOUT_MS)
        node.answer = lambda _: b"-READONLY You can't write against a read only replica.\r\n"
        with pytest.raises(BrokerUnavailable):
            await connection.command("SET", KEY, "value")
        node.answer = lambda _: b"+OK\r\n"
        # The name may lead to another server by now.
        assert await connection.command("SET", KEY, "value") == b"OK"
        assert node.accepted == 2
        await connection.close()


async def test_credentials_and_addresses_stay_out_of_the_log() -> None:
    async with fake_nodes(1) as (node,):
        connection = Connection(f"redis+cluster://ann:secret@{node.node.host}:{node.node.port}", timeout_ms=TIMEOUT_MS)
        node.vanish()
        with capture_logs() as lines, pytest.raises(BrokerUnavailable) as away:
            await connection.command("GET", KEY)
        await connection.close()
        assert "secret" not in f"{lines} {away.value} {away.value.__cause__!r}"
