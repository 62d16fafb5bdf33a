"""Seeing what the Redis model does and holds, without being one of its clients."""

from edgescale.harness.simulation.redis import look
from edgescale.harness.simulation.redis.durability import Unit
from tests.redis_world import Client, World


def watched() -> tuple[World, Client, list[Unit]]:
    world = World()
    units: list[Unit] = []
    world.model.log.watch = units.append
    return world, world.client(), units


def test_each_change_is_told_as_the_command_that_repeats_it() -> None:
    _, client, units = watched()
    entry = client.do("xadd", "s", "*", "f", "v")
    client.do("xgroup", "create", "s", "g", 0)
    client.do("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    client.do("XDEL", "s", entry)
    client.do("HSET", "h", "f", "v")
    client.do("UNLINK", "h", "none")
    client.do("FLUSHALL")
    assert [unit[0][0] for unit in units] == [b"XADD", b"XGROUP", b"XCLAIM", b"XDEL", b"HSET", b"DEL", b"FLUSHALL"]
    assert units[0] == [(b"XADD", b"s", entry, b"f", b"v")]
    assert units[1] == [(b"XGROUP", b"CREATE", b"s", b"g", b"0")]
    assert units[5] == [(b"DEL", b"h")]


def test_what_a_script_changes_is_told_at_once() -> None:
    _, client, units = watched()
    client.run("submit", ["t", "s", "w", "c"], ["g", "id", "text", "text", "d", "", "", 10, "box", "envelope"])
    assert [[words[:2] for words in unit] for unit in units] == [[(b"XADD", b"s"), (b"HSET", b"t")]]


def test_what_changes_nothing_is_not_told() -> None:
    _, client, units = watched()
    for line in ("DEL none", "HGETALL h", "XADD s NOMKSTREAM * f v", "XTRIM s MAXLEN 0", "XADD s 0-0 f v", "PING"):
        client.do(*line.split())
    assert units == []


def test_what_a_waiting_reader_is_given_is_told() -> None:
    world, client, units = watched()
    client.do("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
    world.client().send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    entry = client.do("XADD", "s", "*", "f", "v")
    assert [unit[0][0] for unit in units[1:]] == [b"XADD", b"XCLAIM"]
    assert units[-1][0][:6] == (b"XCLAIM", b"s", b"g", b"c", b"0", entry)


def test_it_is_told_before_anyone_gets_a_reply() -> None:
    world = World()
    client = world.client()
    seen: list[bytes] = []
    world.model.log.watch = lambda _unit: seen.append(client.received())
    assert client.do("SET", "k", "v") == b"OK"
    assert seen == [b""]


def test_an_expiry_is_told_as_a_removal() -> None:
    world, client, units = watched()
    client.do("SET", "k", "v", "PX", 100)
    world.sleep(101)
    client.do("GET", "k")
    assert units[1:] == [[(b"DEL", b"k")]]


def test_what_expires_goes_even_if_nobody_asks_for_it() -> None:
    world, client, units = watched()
    for number in range(100):
        client.do("SET", f"k{number}", "v", "PX", 1_000 if number % 2 else 100_000)
    units.clear()
    world.sleep(1_001)
    client.do("PING")
    assert units == [[(b"DEL", b"k%d" % number) for number in range(1, 100, 2)]]
    assert len(world.model.keyspace.values) == 50


def test_a_key_that_lives_on_is_not_taken_for_one_that_expired() -> None:
    world, client, units = watched()
    client.do("SET", "k", "v", "PX", 1_000)
    client.do("PERSIST", "k")
    client.do("SET", "other", "v", "PX", 1_000)
    client.do("PEXPIRE", "other", 100_000)
    units.clear()
    world.sleep(5_000)
    client.do("PING")
    assert (units, client.do("EXISTS", "k", "other")) == ([], 2)


def test_a_server_that_is_paused_or_no_master_lets_nothing_expire_by_itself() -> None:
    world, client, units = watched()
    client.do("SET", "k", "v", "PX", 1_000)
    units.clear()
    world.model.demote()
    world.sleep(5_000)
    client.do("PING")
    assert units == []
    world.model.promote()
    client.do("CLIENT", "PAUSE", 5_000, "WRITE")
    world.sleep(4_000)
    client.do("PING")
    assert units == []
    world.sleep(2_000)
    client.do("PING")
    assert units == [[(b"DEL", b"k")]]


def test_replaying_the_log_tells_nobody() -> None:
    world, client, units = watched()
    client.do("SET", "k", "v", "PX", 100)
    client.do("XADD", "s", "*", "f", "v")
    units.clear()
    world.model.stop()
    world.sleep(200)
    world.model.start()
    assert units == []
    world.model.flush_all()
    assert units == [[(b"FLUSHALL",)]]


def test_looking_shows_what_is_there() -> None:
    world = World()
    client = world.client()
    entries = [client.do("XADD", "s", "*", "f", number, "f", "v") for number in range(3)]
    client.do("XGROUP", "CREATE", "s", "g", 0)
    client.do("XREADGROUP", "GROUP", "g", "c", "COUNT", 2, "STREAMS", "s", ">")
    client.do("HSET", "h", "f", "v", "a", "")
    client.do("SET", "k", "v")
    model = world.model
    assert look.keys(model) == [b"h", b"k", b"s"]
    assert look.stream_ids(model, b"s") == entries
    assert look.stream_fields(model, b"s", entries[0]) == {b"f": b"v"}
    assert look.stream_fields(model, b"s", b"1-1") is None
    assert look.pending(model, b"s", b"g") == 2
    assert look.hash_fields(model, b"h") == {b"f": b"v", b"a": b""}


def test_what_is_not_there_looks_empty() -> None:
    world = World()
    world.client().do("SET", "k", "v")
    for key in (b"none", b"k"):
        assert look.stream_ids(world.model, key) == []
        assert look.stream_fields(world.model, key, b"1-1") is None
        assert look.pending(world.model, key, b"g") == 0
        assert look.hash_fields(world.model, key) == {}


def test_looking_neither_counts_nor_expires_anything() -> None:
    world, client, units = watched()
    client.do("HSET", "h", "f", "v")
    client.do("PEXPIRE", "h", 100)
    units.clear()
    world.sleep(100)
    assert look.keys(world.model) == [b"h"]
    world.sleep(1)
    calls = dict(world.model.calls)
    assert look.keys(world.model) == []
    assert look.hash_fields(world.model, b"h") == {}
    assert (world.model.calls, units, len(world.model.keyspace.values)) == (calls, [], 1)


def test_what_looking_gives_may_be_changed() -> None:
    world = World()
    client = world.client()
    client.do("HSET", "h", "f", "v")
    look.hash_fields(world.model, b"h").clear()
    assert client.do("HLEN", "h") == 1
