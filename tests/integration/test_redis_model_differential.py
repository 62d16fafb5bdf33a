"""The Redis model answers as Redis and Valkey do: the same commands to both, every reply compared.

`TEST_SEQUENCES` sets how many sequences each server is put through: a quarter of them by a Hypothesis state machine,
which thinks of worse and shrinks what it finds, the rest by dice, which are quick. Both begin with `TEST_FIRST_SEED`,
so that long runs can be cut into slices and no two runs need be the same. What is compared: tests/redis_twins.py.
"""

import asyncio
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour, RedisModel
from edgescale.harness.simulation.redis.commands import FLAG_NAMES, CommandTable
from tests import redis_grammar as grammar
from tests.redis_found import FOUND
from tests.redis_twins import SESSIONS, UNORDERED, RealSide, Twins, Word
from tests.redis_wire import Frame
from tests.servers import own_names, own_server

SEQUENCES = int(os.environ.get("TEST_SEQUENCES", "200"))
FIRST_SEED = int(os.environ.get("TEST_FIRST_SEED", "0"))
BY_MACHINE = max(SEQUENCES // 4, 1)
BY_DICE = SEQUENCES - BY_MACHINE
STEPS = 24
NUMBERS = st.integers(0, SESSIONS - 1)
FLAVOURS = {"valkey": VALKEY_9, "redis": REDIS_7_0}
pytestmark = pytest.mark.timeout(120 + SEQUENCES)
# Their confirmations come in place of replies; within a transaction that is not modelled.
NOT_IN_TRANSACTIONS = {kind + verb + b"SUBSCRIBE" for kind in (b"", b"P", b"S") for verb in (b"", b"UN")}
UNBLOCK = [b"CLIENT", b"UNBLOCK"]
MID_SCAN = [[b"-1"], [b"007"]]
ALL_KEYS = [*grammar.KEYS, *grammar.AGENTS, b"t2", b"agents", b"dead", b"buried", b"mark-0"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A real server and the flavour that the model takes for it."""

    real: RealSide
    flavour: Flavour
    start_again: Callable[[], None]

    def twins(self, title: str) -> Twins:
        """Both, empty; the last connection speaks RESP3, and all our scripts are known."""
        twins = Twins(self.real, self.flavour)
        twins.trace.append(title)
        twins.step(SESSIONS - 1, [b"HELLO", b"3"], *grammar.load_scripts())
        return twins


def started(name: str, data_dir: Path) -> Iterator[Pair]:
    with asyncio.Runner() as runner:
        server = own_server(name, data_dir)

        def start_again() -> None:
            runner.run(server.kill())
            runner.run(server.start())

        start_again()
        real = RealSide(urlsplit(server.url).port or 0)
        yield Pair(real, FLAVOURS[name], start_again)
        real.close()
        runner.run(server.stop())


@pytest.fixture(scope="module", params=own_names())
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A server of this module's own, which tests may configure."""
    yield from started(request.param, tmp_path_factory.mktemp(request.param))


def playable(twins: Twins, number: int, commands: Sequence[grammar.Command]) -> bool:
    """Whether the model is known to have this, and the twins can compare it."""
    within = commands[0] == [b"MULTI"] or twins.model.sessions[number].queued is not None
    if within and any(words[0] in NOT_IN_TRANSACTIONS for words in commands):
        return False
    # What is left of a scan depends on how the server's table is laid out.
    if any(words[0] == b"SCAN" and words[1:2] in MID_SCAN for words in commands):
        return False
    # Replies in any order are compared as such for a single command only.
    return len(commands) == 1 or all(words[0] not in UNORDERED for words in commands)


def play(twins: Twins, number: int, *commands: grammar.Command) -> None:
    """Commands on one of the connections, sent at once."""
    if playable(twins, number, commands):
        twins.step(number, *commands)


def roll(twins: Twins, dice: grammar.Dice, steps: int) -> None:
    """So many commands, each on one of the connections."""
    for _ in range(steps):
        play(twins, dice.number(0, SESSIONS - 1), grammar.any_command(dice))


def play_short_wait(twins: Twins, number: int, words: grammar.Command) -> None:
    """A read whose time runs out if there is nothing for it."""
    if twins.free(number):
        # Not compared before the time is up: on a loaded machine it may be up at once.
        twins.send(number, words)
        twins.let_time_pass(grammar.SHORT_MS / 1000)


def play_crowd(twins: Twins, crowd: grammar.Crowd) -> None:
    """Several connections wait, and the last one gives them cause to wake up."""
    for number, words in enumerate(crowd.waits):
        if twins.free(number):
            twins.step(number, words)
    for words in crowd.causes:
        if twins.free(SESSIONS - 1):
            twins.step(SESSIONS - 1, words)


def play_pause(twins: Twins, steps: Sequence[tuple[int, list[grammar.Command]]]) -> None:
    """Writes are held back, and then carried out."""
    twins.control(b"CLIENT", b"PAUSE", b"100000000", b"WRITE")
    for number, commands in steps:
        # Redis 7.0 crashes when it is told to unblock whom a pause holds. Source: replyToBlockedClientTimedOut.
        crashes = not twins.model.model.flavour.modern and any(words[:2] == UNBLOCK for words in commands)
        if twins.model.sessions[number].blocked is None and not crashes:
            play(twins, number, *commands)
    twins.control(b"CLIENT", b"UNPAUSE")


def look_at_everything(twins: Twins) -> None:
    """Compare all that is stored, as far as it shows."""
    looks: list[list[Word]] = []
    for key in ALL_KEYS:
        looks += [
            [b"TYPE", key],
            [b"HGETALL", key],
            [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            [b"GET", key],
            [b"XRANGE", key, b"-", b"+"],
            [b"XINFO", b"STREAM", key],
            [b"XINFO", b"GROUPS", key],
        ]
        for name in (b"g0", b"g1"):
            looks += [[b"XINFO", b"CONSUMERS", key, name], [b"XPENDING", key, name, b"-", b"+", b"100"]]
    number = next((number for number in range(SESSIONS) if twins.free(number)), None)
    if number is not None:
        twins.step(number, [b"RESET"], *looks)
        twins.step(number, *[[b"PTTL", key] for key in ALL_KEYS])


def run_sequence(pair: Pair, seed: int) -> None:
    """One sequence by the dice; every fourth is about the counts of one stream."""
    dice = grammar.Dice(seed)
    twins = pair.twins(f"seed {seed}")
    twins.step(0, *grammar.beginning(dice))
    for _ in range(STEPS):
        number = dice.number(0, SESSIONS - 1)
        if seed % 4 == 0:
            play(twins, number, grammar.counted(dice))
        elif dice.number(0, 99) == 0:
            play_short_wait(twins, number, grammar.short_wait(dice))
        elif dice.number(0, 39) == 0:
            play_crowd(twins, grammar.crowd(dice))
        elif dice.number(0, 79) == 0:
            play_pause(twins, grammar.pause(dice))
        elif dice.number(0, 14) == 0:
            play(twins, number, *grammar.several(dice))
        else:
            play(twins, number, grammar.any_command(dice))
    look_at_everything(twins)


def test_any_sequence_of_commands_is_answered_as_the_server_answers_it(pair: Pair) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + BY_DICE):
        run_sequence(pair, seed)


@pytest.mark.parametrize("lines", FOUND, ids=range(len(FOUND)))
def test_what_once_differed_differs_no_more(pair: Pair, lines: str) -> None:
    twins = pair.twins("found")
    for line in filter(str.strip, lines.splitlines()):
        number, *words = shlex.split(line)
        twins.step(int(number), [word.encode() for word in words])


class Machine(RuleBasedStateMachine):
    """Both servers, under whatever Hypothesis thinks of; made for a pair by `machine`."""

    pair: ClassVar[Pair]
    sequences: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.twins = self.pair.twins("machine")

    def teardown(self) -> None:
        look_at_everything(self.twins)
        type(self).sequences += 1

    @initialize(commands=grammar.drawn(grammar.beginning))
    def beginning(self, commands: list[grammar.Command]) -> None:
        self.twins.step(0, *commands)

    @rule(number=NUMBERS, words=grammar.drawn(grammar.short_wait))
    def short_wait(self, number: int, words: grammar.Command) -> None:
        play_short_wait(self.twins, number, words)

    @rule(crowd=grammar.drawn(grammar.crowd))
    def crowd(self, crowd: grammar.Crowd) -> None:
        play_crowd(self.twins, crowd)

    @rule(steps=grammar.drawn(grammar.pause))
    def pause(self, steps: list[tuple[int, list[grammar.Command]]]) -> None:
        play_pause(self.twins, steps)

    @rule(number=NUMBERS, commands=grammar.drawn(grammar.several))
    def several(self, number: int, commands: list[grammar.Command]) -> None:
        play(self.twins, number, *commands)


def machine(pair: Pair) -> type[Machine]:
    """The state machine for a server, with one rule more for each family of commands."""

    def rule_of(family: Callable[[grammar.Chooser], grammar.Command]) -> Callable[..., None]:
        def run(self: Machine, number: int, words: grammar.Command) -> None:
            play(self.twins, number, words)

        return rule(number=NUMBERS, words=grammar.drawn(family))(run)

    rules = {family.__name__: rule_of(family) for family in grammar.FAMILIES}
    made = type("PairMachine", (Machine,), {"pair": pair, "sequences": 0, **rules})
    return hypothesis.seed(FIRST_SEED)(made)


def test_no_state_machine_tells_the_model_from_the_server(pair: Pair) -> None:
    made = machine(pair)
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=BY_MACHINE,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert made.sequences >= BY_MACHINE


@dataclass(frozen=True, slots=True)
class State:
    """A state in which a server refuses commands: how it gets there and back."""

    name: str
    enter: list[list[bytes]]
    leave: list[list[bytes]]
    enter_model: Callable[[RedisModel], None]


STATES = [
    State(
        "out of memory",
        [[b"CONFIG", b"SET", b"maxmemory", b"1"]],
        [[b"CONFIG", b"SET", b"maxmemory", b"0"]],
        lambda model: model.faults.change(maxmemory_bytes=1),
    ),
    State(
        "replica", [[b"REPLICAOF", b"127.0.0.1", b"1"]], [[b"REPLICAOF", b"NO", b"ONE"]], lambda model: model.demote()
    ),
    State(
        "replica without master",
        [[b"CONFIG", b"SET", b"replica-serve-stale-data", b"no"], [b"REPLICAOF", b"127.0.0.1", b"1"]],
        [[b"REPLICAOF", b"NO", b"ONE"], [b"CONFIG", b"SET", b"replica-serve-stale-data", b"yes"]],
        lambda model: model.demote(master_down=True),
    ),
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_server_that_cannot_serve_refuses_the_same_in_the_same_words(pair: Pair, state: State) -> None:
    for seed in range(max(SEQUENCES // 20, 1)):
        dice = grammar.Dice(seed)
        twins = pair.twins(f"{state.name}, seed {seed}")
        twins.step(0, *grammar.beginning(dice))
        roll(twins, dice, STEPS // 2)
        try:
            for words in state.enter:
                pair.real.ask(*words)
            state.enter_model(twins.model.model)
            twins.compare()
            roll(twins, dice, STEPS)
        finally:
            for words in state.leave:
                pair.real.ask(*words)


def test_a_server_that_is_busy_with_a_script_refuses_in_the_same_words(pair: Pair) -> None:
    dice = grammar.Dice(1)
    twins = pair.twins("busy")
    pair.real.ask(b"CONFIG", b"SET", b"busy-reply-threshold", b"1")
    pair.real.send(0, b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
    try:
        while pair.real.ask(b"PING").sign != "-":
            pass
        twins.model.model.faults.change(busy=True)
        for _ in range(STEPS):
            words = grammar.any_command(dice)
            twins.step(dice.number(1, 3), words)
    finally:
        pair.real.ask(b"SCRIPT", b"KILL")
        pair.real.ask(b"CONFIG", b"SET", b"busy-reply-threshold", b"5000")


def test_a_pause_holds_writes_back_and_then_carries_them_out(pair: Pair) -> None:
    twins = pair.twins("pause")
    twins.step(0, [b"CLIENT", b"PAUSE", b"600", b"WRITE"])
    twins.step(1, [b"SET", b"k0", b"1"], [b"GET", b"k0"])
    twins.step(2, [b"GET", b"k0"])
    twins.step(0, [b"PUBLISH", b"n0", b"held back, too"])
    assert twins.model.sessions[1].blocked is not None
    twins.let_time_pass(0.7)
    twins.step(2, [b"GET", b"k0"])


def test_what_a_restart_finds_is_what_the_server_would_find(pair: Pair) -> None:
    for seed in range(max(SEQUENCES // 50, 1)):
        dice = grammar.Dice(seed)
        twins = pair.twins(f"restart, seed {seed}")
        twins.step(0, *grammar.beginning(dice))
        roll(twins, dice, STEPS * 2)
        twins.restart(pair.start_again)
        look_at_everything(twins)
        roll(twins, dice, STEPS)


def flags_of(reply: Frame) -> tuple[int, set[str]]:
    """Arity and flags from one entry of COMMAND INFO."""
    return int(reply.value[1].value), {flag.value.decode() for flag in reply.value[2].value}


def test_arities_and_flags_are_those_of_the_server(pair: Pair) -> None:
    for command in CommandTable(modern=pair.flavour.modern):
        parent, _, child = command.name.partition("|")
        [entry] = pair.real.ask(b"COMMAND", b"INFO", parent.encode()).value
        if child:
            names = {each.value[0].value.decode(): each for each in entry.value[9].value}
            entry = names[command.name]
        arity, flags = flags_of(entry)
        modelled = {name for name, flag in FLAG_NAMES.items() if command.flags & flag}
        assert (command.name, arity, flags & FLAG_NAMES.keys()) == (command.name, command.arity, modelled)
