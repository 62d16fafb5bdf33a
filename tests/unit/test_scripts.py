"""Scripts touch those keys only that are declared in KEYS: on a cluster, any other may seem not to be there."""

import re
from collections import Counter
from importlib import resources

import pytest

from edgescale.harness.simulation.redis.declared import Undeclared
from tests.redis_grammar import NAMES, SCRIPTS, Dice, beat, lease, letters, settle, submit
from tests.redis_world import World

FOLDER = resources.files("edgescale.broker") / "scripts"
FILES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".lua"))
CALL = re.compile(r"redis\.p?call\(\s*'(\w+)'\s*,?\s*(?:'(?:GROUPS|CONSUMERS|CREATE|DELCONSUMER)'\s*,\s*)?([^,)]*)")
# SPUBLISH takes a channel, and TIME nothing.
KEYLESS = {"SPUBLISH", "TIME"}


def code_of(file: str) -> str:
    return re.sub(r"--[^\n]*", "", (FOLDER / file).read_text("utf-8"))


def test_every_script_is_among_those_that_are_looked_at() -> None:
    assert {f"{name}.lua" for name in NAMES} | {"_prelude.lua"} == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_no_key_is_put_together_within_a_script(file: str) -> None:
    calls = CALL.findall(code_of(file))
    assert calls or file == "_prelude.lua"
    names = {key.strip() for command, key in calls if command not in KEYLESS}
    assert [name for name in names if not re.fullmatch(r"[a-z_]+|KEYS\[[^\]]*\]", name)] == []


def test_no_script_touches_a_key_that_was_not_declared() -> None:
    """Any calls, as they are drawn for the differential test; the model raises what a server would let pass."""
    world = World()
    world.model.scripts.strict = True
    client = world.client()
    for script in SCRIPTS.values():
        client.do("SCRIPT", "LOAD", script.body)
    client.do("XGROUP", "CREATE", "s0", "g0", "0", "MKSTREAM")
    ran: Counter[object] = Counter()
    for seed in range(2_000):
        dice = Dice(seed)
        command = dice.pick([submit, settle, lease, lease, lease, letters, beat])(dice)
        if all(isinstance(word, bytes) for word in command):
            client.do(*command)
            ran[command[1]] += command[0] == b"EVALSHA"
    assert {name for name, script in SCRIPTS.items() if ran[script.sha.encode()] > 10} == set(NAMES)


def test_a_script_that_touches_another_key_is_noticed() -> None:
    world = World()
    world.model.scripts.strict = True
    with pytest.raises(Undeclared, match=r"b'k-2' with SET"):
        world.client().do("EVAL", "return redis.call('SET', KEYS[1] .. '-2', 'v')", 1, "k")
