"""What a nemesis does to the Redis model: restarts, losses of power, failovers, refusals, pauses, clock steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour
from edgescale.harness.simulation.redis import recovery as recovery_module
from tests.redis_world import START_US, Client, World

SECOND_MS = 1_000


def with_work(client: Client) -> None:
    """A task that a worker holds, and a record that expires."""
    client.do("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
    client.run("submit", ["t", "s", "w", "c"], ["g", "id", "text", "text", "d", "", "", 10, "box", "envelope"])
    client.do("XREADGROUP", "GROUP", "g", "c1", "STREAMS", "s", ">")
    client.do("SET", "k", "v", "PX", 10_000)


def seen(client: Client) -> list[object]:
    looks = ["XRANGE s - +", "XPENDING s g - + 10", "XINFO GROUPS s", "HGETALL t", "PTTL k", "KEYS *", "ZRANGE z 0 -1"]
    return [client.do(*look.split()) for look in looks]


def test_a_restart_closes_connections_and_keeps_what_the_file_holds() -> None:
    world = World()
    client = world.client()
    with_work(client)
    before = seen(client)
    world.model.restart()
    assert client.closed
    assert seen(world.client()) == before


def test_a_restarted_server_knows_no_scripts_and_no_listeners() -> None:
    world = World()
    listener, client = world.client(), world.client()
    listener.do_raw("SUBSCRIBE", "c")
    sha = client.do("SCRIPT", "LOAD", "return 1")
    assert client.do("PUBLISH", "c", "m") == 1
    world.model.restart()
    client = world.client()
    assert client.do("EVALSHA", sha, 0).startswith("NOSCRIPT")
    assert client.do("PUBLISH", "c", "m") == 0
    assert client.do("EVAL", "return 1", 0) == 1


def test_nobody_connects_to_a_server_that_is_down() -> None:
    world = World()
    client = world.client()
    world.model.stop()
    with pytest.raises(ConnectionRefusedError):
        world.client()
    client.send("PING")
    assert client.received() == b""
    world.model.start()
    assert world.client().do("PING") == b"PONG"


def test_a_server_that_kept_nothing_is_empty() -> None:
    world = World()
    with_work(world.client())
    world.model.restart(keep="nothing")
    assert world.client().do("DBSIZE") == 0
    world.model.restart()
    assert world.client().do("DBSIZE") == 0


def test_a_loss_of_power_takes_what_was_not_synced_yet() -> None:
    world = World()
    client = world.client()
    for number in range(5):
        client.do("SET", f"k{number}", "v")
        world.sleep(300)
    # Synced at one second: what was written at 0, 300, 600 and 900 ms.
    world.model.power_loss()
    assert world.client().do("KEYS", "*") == [b"k0", b"k1", b"k2", b"k3"]


def test_a_write_in_the_very_moment_of_a_sync_is_not_in_it() -> None:
    world = World()
    world.sleep(SECOND_MS)
    world.client().do("SET", "k", "v")
    world.model.power_loss()
    assert world.client().do("DBSIZE") == 0


@pytest.mark.parametrize(("policy", "kept"), [("always", 2), ("everysec", 1), ("no", 0)])
def test_how_much_a_loss_of_power_takes_is_a_matter_of_configuration(policy: str, kept: int) -> None:
    world = World()
    client = world.client()
    assert client.do("CONFIG", "SET", "appendfsync", policy) == b"OK"
    client.do("SET", "early", "v")
    world.sleep(1.5 * SECOND_MS)
    client.do("SET", "late", "v")
    world.model.power_loss()
    assert world.client().do("DBSIZE") == kept


@given(st.lists(st.integers(0, 700), min_size=1, max_size=8), st.integers(0, 3_000))
def test_a_loss_of_power_takes_a_script_as_a_whole_or_not_at_all(pauses: list[int], until_ms: int) -> None:
    world = World()
    client = world.client()
    client.do("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
    for number, pause_ms in enumerate(pauses):
        world.sleep(pause_ms)
        client.run("submit", [f"t{number}", "s"], ["g", f"id{number}", "text", "text", "d", "", 100, "", "envelope"])
    world.sleep(until_ms)
    world.model.power_loss()
    client = world.client()
    entries = client.do("XRANGE", "s", "-", "+")
    assert len(entries) == len(client.do("KEYS", "t*"))
    assert [fields[1] for _, fields in entries] == [f"id{number}".encode() for number in range(len(entries))]


def test_what_was_lost_once_does_not_come_back() -> None:
    world = World()
    world.client().do("SET", "lost", "v")
    world.model.power_loss()
    world.sleep(5 * SECOND_MS)
    world.model.restart()
    assert world.client().do("DBSIZE") == 0


def test_waitaof_answers_once_a_loss_of_power_takes_nothing() -> None:
    world = World()
    client = world.client()
    world.sleep(400)
    client.do("SET", "k", "v")
    client.send("WAITAOF", 1, 0, 0)
    assert client.replies() == []
    world.sleep(599)
    assert client.replies() == []
    world.sleep(2)
    assert client.replies() == [[1, 0]]
    world.model.power_loss()
    assert world.client().do("GET", "k") == b"v"


def test_waitaof_tells_the_truth_when_its_time_is_up() -> None:
    world = World()
    client = world.client()
    client.do("SET", "k", "v")
    client.send("WAITAOF", 1, 0, 100)
    world.sleep(101)
    assert client.replies() == [[0, 0]]
    assert client.do("CONFIG", "SET", "appendonly", "no") == b"OK"
    assert "appendonly is disabled" in client.do("WAITAOF", 1, 0, 100)


def test_a_failover_takes_what_the_replica_did_not_have() -> None:
    world = World(replicas=1, replica_lag_ms=200)
    client = world.client()
    client.do("SET", "early", "v")
    world.sleep(150)
    client.do("SET", "late", "v")
    world.sleep(100)
    world.model.failover()
    assert client.closed
    assert world.client().do("KEYS", "*") == [b"early"]


def test_what_a_replica_acknowledged_survives_a_failover() -> None:
    world = World(replicas=1, replica_lag_ms=200)
    client = world.client()
    client.do("SET", "k", "v")
    client.send("WAIT", 1, 0)
    world.sleep(199)
    assert client.replies() == []
    world.sleep(2)
    assert client.replies() == [1]
    world.model.failover()
    assert world.client().do("GET", "k") == b"v"


def test_a_replica_that_is_cut_off_acknowledges_nothing_and_does_not_have_it() -> None:
    world = World(replicas=1, replica_lag_ms=50)
    client = world.client()
    client.do("SET", "early", "v")
    world.sleep(100)
    world.model.cut_off_replica()
    client.do("SET", "late", "v")
    client.send("WAIT", 1, 300)
    world.sleep(299)
    assert client.replies() == []
    world.sleep(2)
    assert client.replies() == [0]
    world.model.failover()
    assert world.client().do("KEYS", "*") == [b"early"]


def test_a_replica_that_joins_again_acknowledges_what_it_missed() -> None:
    world = World(replicas=1, replica_lag_ms=50)
    client = world.client()
    world.model.cut_off_replica()
    client.do("SET", "k", "v")
    client.send("WAIT", 1, 0)
    world.sleep(200)
    world.model.join_replica()
    world.sleep(49)
    assert client.replies() == []
    world.sleep(2)
    assert client.replies() == [1]
    world.model.failover()
    assert world.client().do("GET", "k") == b"v"


def test_what_was_on_its_way_when_the_server_ended_does_not_arrive_while_it_is_down() -> None:
    world = World(replicas=1, replica_lag_ms=50)
    world.client().do("SET", "k", "v")
    world.model.stop()
    world.sleep(2 * SECOND_MS)
    world.model.start(keep="replicated")
    assert world.client().do("DBSIZE") == 0


def test_what_was_not_synced_when_the_power_went_is_not_synced_while_it_is_off() -> None:
    world = World()
    world.client().do("SET", "k", "v")
    world.model.stop()
    world.sleep(5 * SECOND_MS)
    world.model.start(keep="synced")
    assert world.client().do("DBSIZE") == 0


@pytest.mark.parametrize(("flavour", "reader"), [(VALKEY_9, 1), (REDIS_7_0, 0)], ids=["valkey", "redis"])
def test_whoever_wrote_nothing_is_told_at_once_that_all_have_it_since_redis_7_2(flavour: Flavour, reader: int) -> None:
    world = World(flavour=flavour, replicas=1, replica_lag_ms=50)
    writer, other = world.client(), world.client()
    writer.do("SET", "k", "v")
    assert other.do("GET", "k") == b"v"
    other.send("WAIT", 1, 10)
    world.sleep(11)
    assert other.replies() == [reader]
    other.do("SET", "fence", "")
    other.send("WAIT", 1, 10)
    world.sleep(11)
    assert other.replies() == [0]


def test_wait_does_not_wait_for_replicas_that_do_not_exist_longer_than_told() -> None:
    world = World(replicas=1, replica_lag_ms=10)
    client = world.client()
    client.do("SET", "k", "v")
    client.send("WAIT", 2, 500)
    world.sleep(400)
    assert client.replies() == []
    world.sleep(200)
    assert client.replies() == [1]


def test_a_server_that_loads_its_data_says_so_until_it_has() -> None:
    world = World()
    world.client().do("SET", "k", "v")
    world.model.restart(loading_ms=500)
    client = world.client()
    assert client.do("GET", "k") == "LOADING Valkey is loading the dataset in memory"
    assert "\nloading:1\r" in client.do("INFO").decode()
    world.sleep(499)
    assert client.do("PING").startswith("LOADING")
    world.sleep(1)
    assert client.do("GET", "k") == b"v"
    assert "\nloading:0\r" in client.do("INFO").decode()


def test_every_start_is_another_process() -> None:
    world = World()
    line = world.client().do("INFO", "server").decode().splitlines()[4]
    world.model.restart()
    assert line.startswith("process_id:")
    assert line not in world.client().do("INFO", "server").decode()


def test_a_clock_set_back_makes_no_older_ids() -> None:
    world = World()
    client = world.client()
    first = client.do("XADD", "s", "*", "f", "v")
    world.model.step_clock(-60_000_000)
    second = client.do("XADD", "s", "*", "f", "v")
    assert first == b"%d-0" % (START_US // 1000)
    assert second == b"%d-1" % (START_US // 1000)
    assert int(client.do("TIME")[0]) == START_US // 1_000_000 - 60


def test_a_clock_set_forward_ends_lives_early() -> None:
    world = World()
    client = world.client()
    client.do("SET", "k", "v", "PX", 10_000)
    world.model.step_clock(10_000_000)
    assert client.do("GET", "k") == b"v"
    world.sleep(1)
    assert client.do("GET", "k") is None
    world.model.step_clock(-60_000_000)
    assert client.do("GET", "k") is None


def test_what_expired_stays_away_after_a_restart() -> None:
    world = World()
    client = world.client()
    client.do("SET", "k", "v", "PX", 100)
    world.sleep(200)
    assert client.do("DBSIZE") == 0
    world.model.restart()
    assert world.client().do("EXISTS", "k") == 0


def test_a_flush_is_remembered() -> None:
    world = World()
    with_work(world.client())
    world.model.flush_all()
    assert world.client().do("DBSIZE") == 0
    world.model.restart()
    assert world.client().do("DBSIZE") == 0


def test_memory_runs_out_where_the_limit_is() -> None:
    world = World()
    client = world.client()
    with_work(client)
    client.do("ZADD", "z", 1, "m")
    client.do("HSET", "h", "f", "v")
    used = int(client.do("INFO", "memory").split(b"used_memory:")[1].split()[0])
    client.do("CONFIG", "SET", "maxmemory", used + 10_000)
    accepted = 0
    while client.do("SET", f"filler{accepted}", "x" * 1_000) == b"OK":
        accepted += 1
    assert accepted == 10
    assert client.do("SET", "more", "v") == "OOM command not allowed when used memory > 'maxmemory'."
    assert client.do("DEL", "filler0") == 1
    assert client.do("SET", "more", "v") == b"OK"


def test_a_pause_of_everything_holds_everything_back_in_order() -> None:
    world = World()
    one, other = world.client(), world.client()
    one.do("CLIENT", "PAUSE", 100)
    one.send("PING")
    other.send("SET", "k", "v")
    one.send("GET", "k")
    world.sleep(99)
    assert (one.replies(), other.replies()) == ([], [])
    world.sleep(2)
    # Each client is served to the end of what it sent before the next one is.
    assert (one.replies(), other.replies()) == ([b"PONG", None], [b"OK"])
    assert one.do("CLIENT", "PAUSE", 100, "WRITE") == b"OK"
    assert one.do("GET", "k") == b"v"
    assert one.do("CLIENT", "UNPAUSE") == b"OK"
    assert one.do("SET", "k", "v") == b"OK"


def test_a_client_that_goes_away_during_a_pause_does_nothing_after_it() -> None:
    world = World()
    one, other = world.client(), world.client()
    one.do("CLIENT", "PAUSE", 100)
    other.send("SET", "k", "v")
    other.session.disconnect()
    world.sleep(101)
    assert one.do("DBSIZE") == 0


def test_sessions_can_be_killed_by_choice() -> None:
    world = World()
    listener, client = world.client(), world.client()
    listener.do_raw("SSUBSCRIBE", "c")
    assert world.model.kill_sessions(lambda session: session.listens) == 1
    assert (listener.closed, client.closed) == (True, False)
    assert client.do("SPUBLISH", "c", "m") == 0


def test_a_master_that_becomes_a_replica_sends_its_waiters_away() -> None:
    world = World()
    reader, client = world.client(), world.client()
    reader.send("XREAD", "BLOCK", 0, "STREAMS", "s", "$")
    world.model.demote()
    assert reader.received().startswith(b"-UNBLOCKED force unblock")
    assert reader.closed
    assert client.do("SET", "k", "v").startswith("READONLY")
    assert client.do("GET", "k") is None
    world.model.promote()
    assert client.do("SET", "k", "v") == b"OK"


def test_without_a_file_nothing_is_kept_and_a_new_one_begins_with_what_is_there() -> None:
    world = World()
    client = world.client()
    client.do("SET", "before", "v")
    client.do("CONFIG", "SET", "appendonly", "no")
    world.model.restart()
    client = world.client()
    assert client.do("DBSIZE") == 0
    client.do("SET", "unwritten", "v")
    client.do("CONFIG", "SET", "appendonly", "yes")
    client.do("SET", "written", "v")
    world.model.restart()
    assert world.client().do("KEYS", "*") == [b"unwritten", b"written"]


def test_folding_the_log_changes_nothing_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "_UNITS_MAX", 10)
    world = World(replicas=1, replica_lag_ms=50)
    client = world.client()
    with_work(client)
    for number in range(100):
        client.do("XADD", "s", "*", "f", number)
        client.do("XREADGROUP", "GROUP", "g", "c1", "STREAMS", "s", ">")
        client.do("XACK", "s", "g", client.do("XRANGE", "s", "-", "+")[number][0])
        client.do("ZADD", "z", number, "m")
        world.sleep(100)
    assert world.model.log.length < 100
    before = seen(client)
    world.model.restart()
    assert seen(world.client()) == before


def test_folding_the_log_wakes_nobody_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_module, "_UNITS_MAX", 10)
    world = World()
    client, reader = world.client(), world.client()
    client.do("XGROUP", "CREATE", "s", "g", 0, "MKSTREAM")
    client.do("XADD", "s", "1-0", "f", "v")
    client.do("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")
    reader.send("XREADGROUP", "GROUP", "g", "c", "BLOCK", 0, "STREAMS", "s", ">")
    world.sleep(SECOND_MS)
    for number in range(100):
        client.do("SET", "k", number)
    assert world.model.log.dropped > 0
    # A reader that is woken in vain was seen just now.
    assert client.do("XINFO", "CONSUMERS", "s", "g")[0][5] == SECOND_MS
