"""Readers that wait at the Redis model: in which order they are served, and what ends their wait."""

import pytest

from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour
from tests.redis_world import Client, World

BOTH = pytest.mark.parametrize("flavour", [VALKEY_9, REDIS_7_0], ids=lambda flavour: flavour.name)


def grouped(flavour: Flavour = VALKEY_9) -> tuple[World, Client]:
    world = World(flavour=flavour)
    client = world.client()
    client.do("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
    return world, client


def wait(client: Client, consumer: str, block_ms: int = 0, count: int = 10) -> None:
    client.send("XREADGROUP", "GROUP", "g", consumer, "COUNT", count, "BLOCK", block_ms, "STREAMS", "s", ">")


@BOTH
def test_the_first_to_wait_is_the_first_to_be_served(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    readers = [world.client() for _ in range(3)]
    for number, reader in enumerate(readers):
        wait(reader, f"c{number}")
    for number in range(1, 4):
        client.do("XADD", "s", f"{number}-0", "f", "v")
    served = [reader.replies() for reader in readers]
    assert [reply[0][0][1][0][0] for reply in served] == [b"1-0", b"2-0", b"3-0"]


def test_entries_of_one_script_are_shared_out() -> None:
    world, client = grouped()
    first, second = world.client(), world.client()
    wait(first, "c1", count=1)
    wait(second, "c2", count=1)
    client.do("EVAL", "for i = 1, 2 do redis.call('XADD', 's', i .. '-0', 'f', 'v') end", 0)
    assert first.replies()[0][0][1][0][0] == b"1-0"
    assert second.replies()[0][0][1][0][0] == b"2-0"


@BOTH
def test_a_read_ends_with_its_time_and_not_later(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    reader = world.client()
    wait(reader, "c1", block_ms=1_000)
    world.sleep(999)
    assert reader.replies() == []
    world.sleep(1)
    assert reader.replies() == [None]
    client.do("XADD", "s", "1-0", "f", "v")
    assert reader.replies() == []
    assert client.do("XPENDING", "s", "g")[0] == 0


@BOTH
def test_a_read_that_was_served_does_not_end_again(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    reader = world.client()
    wait(reader, "c1", block_ms=1_000)
    client.do("XADD", "s", "1-0", "f", "v")
    assert len(reader.replies()) == 1
    world.sleep(5_000)
    assert reader.replies() == []


@BOTH
def test_nothing_is_given_to_a_reader_that_went_away(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    gone, reader = world.client(), world.client()
    wait(gone, "gone")
    wait(reader, "c1")
    gone.session.disconnect()
    client.do("XADD", "s", "1-0", "f", "v")
    assert gone.received() == b""
    assert len(reader.replies()) == 1
    assert client.do("XPENDING", "s", "g", "-", "+", 10)[0][1] == b"c1"


@BOTH
def test_what_is_sent_behind_a_read_waits_for_its_end(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    reader = world.client()
    wait(reader, "c1")
    reader.send("SET", "k", "v")
    assert client.do("EXISTS", "k") == 0
    client.do("XADD", "s", "1-0", "f", "v")
    assert reader.replies()[1:] == [b"OK"]


@pytest.mark.parametrize(
    ("flavour", "said"), [(VALKEY_9, "NOGROUP No such key"), (REDIS_7_0, "UNBLOCKED the stream key no longer exists")]
)
@pytest.mark.parametrize("event", ["DEL s", "FLUSHALL", "SET s v", "PEXPIREAT s 1"])
def test_a_group_reader_is_told_that_its_stream_has_gone(flavour: Flavour, said: str, event: str) -> None:
    world, client = grouped(flavour)
    reader, plain = world.client(), world.client()
    wait(reader, "c1")
    plain.send("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    client.do(*event.split())
    [reply] = reader.replies()
    assert str(reply).startswith("WRONGTYPE" if flavour is VALKEY_9 and event == "SET s v" else said)
    assert plain.replies() == []


@pytest.mark.parametrize(
    ("flavour", "said"), [(VALKEY_9, "NOGROUP No such key"), (REDIS_7_0, "NOGROUP the consumer group this client")]
)
def test_a_group_reader_is_told_that_its_group_has_gone(flavour: Flavour, said: str) -> None:
    world, client = grouped(flavour)
    reader = world.client()
    wait(reader, "c1")
    client.do("XGROUP", "DESTROY", "s", "g")
    assert str(reader.replies()[0]).startswith(said)


@BOTH
def test_what_a_blocked_reader_was_given_survives_a_restart(flavour: Flavour) -> None:
    world, client = grouped(flavour)
    reader = world.client()
    wait(reader, "c1")
    client.do("XADD", "s", "1-0", "f", "v")
    world.model.restart()
    assert world.client().do("XPENDING", "s", "g", "-", "+", 10)[0][:2] == [b"1-0", b"c1"]


def test_a_blocked_client_can_be_unblocked_by_another() -> None:
    world, client = grouped()
    reader = world.client()
    number = reader.do("CLIENT", "ID")
    assert client.do("CLIENT", "UNBLOCK", number) == 0
    wait(reader, "c1")
    assert client.do("CLIENT", "UNBLOCK", number) == 1
    assert reader.replies() == [None]
    wait(reader, "c1")
    assert client.do("CLIENT", "UNBLOCK", number, "ERROR") == 1
    assert str(reader.replies()[0]).startswith("UNBLOCKED client unblocked")


def test_a_reader_of_several_streams_is_served_by_the_first_that_grows() -> None:
    world, client = grouped()
    reader = world.client()
    reader.send("XREAD", "BLOCK", 0, "STREAMS", "s", "other", "$", "$")
    client.do("XADD", "other", "1-0", "f", "v")
    assert reader.replies()[0][0][0] == b"other"
    client.do("XADD", "s", "1-0", "f", "v")
    assert reader.replies() == []
