"""The Redis model answers as Redis and Valkey do: the same commands to both, every reply compared.

`TEST_SEQUENCES` sets how many sequences each server is put through; see tests/redis_twins.py for what is compared.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour, RedisModel
from edgescale.harness.simulation.redis.commands import FLAG_NAMES, CommandTable
from tests import redis_grammar as grammar
from tests.redis_twins import SESSIONS, UNORDERED, RealSide, Twins, Word
from tests.redis_wire import Frame
from tests.servers import own_names, own_server

SEQUENCES = int(os.environ.get("TEST_SEQUENCES", "200"))
STEPS = 24
FLAVOURS = {"valkey": VALKEY_9, "redis": REDIS_7_0}
SHORT_MS = 20
# Their confirmations come in place of replies; within a transaction that is not modelled.
NOT_IN_TRANSACTIONS = {kind + verb + b"SUBSCRIBE" for kind in (b"", b"P", b"S") for verb in (b"", b"UN")}
ALL_KEYS = [*grammar.KEYS, *grammar.AGENTS, b"t2", b"agents", b"dead"]


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


def playable(twins: Twins, number: int, commands: list[grammar.Command]) -> bool:
    """Whether the model is known to have this, and the twins can compare it."""
    within = commands[0] == [b"MULTI"] or twins.model.sessions[number].queued is not None
    if within and any(words[0] in NOT_IN_TRANSACTIONS for words in commands):
        return False
    # Replies in any order are compared as such for a single command only.
    return len(commands) == 1 or all(words[0] not in UNORDERED for words in commands)


def play(twins: Twins, chooser: grammar.Chooser, family: Callable[[grammar.Chooser], grammar.Command]) -> None:
    """One command on one of the connections."""
    number, words = chooser.number(0, SESSIONS - 1), family(chooser)
    if playable(twins, number, [words]):
        twins.step(number, words)


def play_several(twins: Twins, chooser: grammar.Chooser) -> None:
    """Several commands on one of the connections, sent at once."""
    number, commands = chooser.number(0, SESSIONS - 1), grammar.several(chooser)
    if playable(twins, number, commands):
        twins.step(number, *commands)


def play_short_wait(twins: Twins, chooser: grammar.Chooser) -> None:
    """A read whose time runs out if there is nothing for it."""
    number = chooser.number(0, SESSIONS - 1)
    if twins.free(number):
        # Not compared before the time is up: on a loaded machine it may be up at once.
        twins.send(number, grammar.blocking(chooser, for_ms=b"%d" % SHORT_MS))
        twins.let_time_pass(SHORT_MS / 1000)


def play_crowd(twins: Twins, chooser: grammar.Chooser) -> None:
    """Several connections wait, and another one gives them cause to wake up."""
    *waiting, last = range(SESSIONS)
    for number in waiting:
        if twins.free(number):
            twins.step(number, grammar.blocking(chooser))
    for _ in range(6):
        if twins.free(last):
            twins.step(last, grammar.cause(chooser))


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
        if seed % 4 == 0:
            play(twins, dice, grammar.counted)
        elif dice.number(0, 99) == 0:
            play_short_wait(twins, dice)
        elif dice.number(0, 39) == 0:
            play_crowd(twins, dice)
        elif dice.number(0, 14) == 0:
            play_several(twins, dice)
        else:
            play(twins, dice, grammar.any_command)
    look_at_everything(twins)


def test_any_sequence_of_commands_is_answered_as_the_server_answers_it(pair: Pair) -> None:
    for seed in range(SEQUENCES):
        run_sequence(pair, seed)


class Machine(RuleBasedStateMachine):
    """Both servers, under whatever Hypothesis thinks of; made for a pair by `machine`."""

    pair: ClassVar[Pair]

    def __init__(self) -> None:
        super().__init__()
        self.twins = self.pair.twins("machine")

    def teardown(self) -> None:
        look_at_everything(self.twins)

    @initialize(data=st.data())
    def beginning(self, data: st.DataObject) -> None:
        self.twins.step(0, *grammar.beginning(grammar.Drawn(data)))

    @rule(data=st.data())
    def short_wait(self, data: st.DataObject) -> None:
        play_short_wait(self.twins, grammar.Drawn(data))

    @rule(data=st.data())
    def crowd(self, data: st.DataObject) -> None:
        play_crowd(self.twins, grammar.Drawn(data))

    @rule(data=st.data())
    def several(self, data: st.DataObject) -> None:
        play_several(self.twins, grammar.Drawn(data))


def machine(pair: Pair) -> type[Machine]:
    """The state machine for a server, with one rule more for each family of commands."""

    def rule_of(family: Callable[[grammar.Chooser], grammar.Command]) -> Callable[..., None]:
        def run(self: Machine, data: st.DataObject) -> None:
            play(self.twins, grammar.Drawn(data), family)

        return rule(data=st.data())(run)

    rules = {family.__name__: rule_of(family) for family in grammar.FAMILIES}
    return type("PairMachine", (Machine,), {"pair": pair, **rules})


def test_no_state_machine_tells_the_model_from_the_server(pair: Pair) -> None:
    run_state_machine_as_test(
        machine(pair),
        settings=settings(
            max_examples=max(SEQUENCES // 10, 1),
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


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
        lambda model: model.faults.change(out_of_memory=True),
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
        for _ in range(STEPS // 2):
            play(twins, dice, grammar.any_command)
        try:
            for words in state.enter:
                pair.real.ask(*words)
            state.enter_model(twins.model.model)
            twins.compare()
            for _ in range(STEPS):
                play(twins, dice, grammar.any_command)
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
        for _ in range(STEPS * 2):
            play(twins, dice, grammar.any_command)
        twins.restart(pair.start_again)
        look_at_everything(twins)
        for _ in range(STEPS):
            play(twins, dice, grammar.any_command)


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
