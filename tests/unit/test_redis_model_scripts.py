"""Lua within the Redis model: a sandbox without clock, files and randomness; and the model as a whole is determined."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgescale.errors import ConfigError
from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour, hashes
from tests.redis_world import World

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "name", ["os", "io", "print", "dofile", "loadfile", "load", "loadstring", "require", "debug", "python", "getfenv"]
)
def test_scripts_find_nothing_of_the_machine(name: str) -> None:
    reply = World().client().do("EVAL", f"return {name}", 0)
    assert f"Script attempted to access nonexistent global variable '{name}'" in reply


def test_scripts_cannot_draw_lots() -> None:
    assert "attempt to call field 'random'" in World().client().do("EVAL", "return math.random()", 0)


@pytest.mark.parametrize("attempt", ["x = 1", "string.sub = 1", "redis.call = 1", "_G.x = 1", "KEYS = {}"])
def test_scripts_cannot_leave_anything_behind(attempt: str) -> None:
    assert "Attempt to modify a readonly table" in World().client().do("EVAL", attempt, 0)


def test_what_a_script_did_before_it_failed_stays_done() -> None:
    client = World().client()
    reply = client.do("EVAL", "redis.call('SET', 'k', 'v'); redis.call('NONSENSE')", 0)
    assert reply.startswith("ERR Unknown")
    assert client.do("GET", "k") == b"v"


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 20_000])
def test_neither_arguments_nor_replies_of_a_script_are_limited_by_luas_stack(count: int) -> None:
    client = World().client()
    client.do("HSET", "h", *range(2 * count))
    body = "return {#KEYS, #ARGV, ARGV[#ARGV], #redis.call('HGETALL', 'h'), redis.call('HGETALL', 'h')}"
    keys, args = [f"k{number}" for number in range(count)], range(count)
    assert client.do("EVAL", body, count, *keys, *args) == [
        count,
        count,
        b"%d" % (count - 1),
        2 * count,
        [b"%d" % number for number in range(2 * count)],
    ]


def test_time_stands_still_within_a_script() -> None:
    client = World().client()
    body = "local a, b = redis.call('TIME'), redis.call('TIME'); return {a[1] == b[1], a[2] == b[2]}"
    assert client.do("EVAL", body, 0) == [1, 1]


def test_a_defect_of_the_model_is_not_taken_for_an_error_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("defect")

    monkeypatch.setattr(hashes, "_writable", broken)
    client = World().client()
    with pytest.raises(KeyError):
        client.do("EVAL", "return redis.pcall('HSET', 'h', 'f', 'v')", 0)


def test_without_lupa_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lupa.lua51", None)
    with pytest.raises(ConfigError, match=r"pip install edgescale\[harness\]"):
        World()


@pytest.mark.parametrize("flavour", [VALKEY_9, REDIS_7_0], ids=lambda flavour: flavour.name)
def test_a_script_out_of_memory_is_refused_before_its_first_write_unless_it_allows_for_it(flavour: Flavour) -> None:
    world = World(flavour=flavour)
    client = world.client()
    world.model.faults.change(out_of_memory=True)
    write = "redis.call('SET', 'k', 'v'); return redis.call('GET', 'k')"
    assert client.do("EVAL", f"#!lua\n{write}", 0).startswith("OOM")
    assert client.do("EVAL", write, 0).startswith("OOM")
    assert client.do("DBSIZE") == 0
    assert client.do("EVAL", f"#!lua flags=allow-oom\n{write}", 0) == b"v"
    assert client.do("EVAL", "#!lua flags=no-writes\nreturn redis.call('GET', 'k')", 0) == b"v"


SEQUENCE = """
import sys, types
tests = sys.modules["tests"] = types.ModuleType("tests")
tests.__path__ = [sys.argv[1]]
from tests import redis_grammar as grammar
from tests.redis_twins import Ref
from tests.redis_world import World
import hashlib
digest = hashlib.sha256()
for seed in range(20):
    world, dice = World(), grammar.Dice(seed)
    clients = [world.client() for _ in range(3)]
    for command in grammar.load_scripts():
        clients[0].do_raw(*command)
    for _ in range(60):
        words = [b"7-7" if isinstance(word, Ref) else word for word in grammar.any_command(dice)]
        client = clients[dice.number(0, 2)]
        client.send(*words)
        world.sleep(dice.number(0, 50))
        for each in clients:
            digest.update(each.received())
print(digest.hexdigest())
"""


def test_the_same_inputs_have_the_same_outputs_in_every_process() -> None:
    digests = set()
    for hash_seed in ("1", "2", "3"):
        command = [sys.executable, "-c", SEQUENCE, str(TESTS)]
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS.parent / "src")}
        done = subprocess.run(  # noqa: S603 - our own program
            command, env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1
