"""The Redis model answers as Redis and Valkey do: the same commands to both, every reply compared.

`TEST_SEQUENCES` sets how many sequences each server is put through; see tests/redis_twins.py for what is compared.
"""

import asyncio
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9, Flavour
from tests import redis_grammar as grammar
from tests.redis_twins import SESSIONS, RealSide, Twins, Word
from tests.servers import own_names, own_server

SEQUENCES = int(os.environ.get("TEST_SEQUENCES", "150"))
STEPS = 24
FLAVOURS = {"valkey": VALKEY_9, "redis": REDIS_7_0}
SHORT_MS = 20
TRANSACTION_BREAKERS = {b"SUBSCRIBE", b"SSUBSCRIBE", b"PSUBSCRIBE"}


@pytest.fixture(scope="module", params=own_names())
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RealSide, Flavour]]:
    """A server of this module's own, which tests may configure, and the flavour that the model takes for it."""
    with asyncio.Runner() as runner:
        server = own_server(request.param, tmp_path_factory.mktemp(request.param))
        runner.run(server.start())
        side = RealSide(urlsplit(server.url).port or 0)
        yield side, FLAVOURS[request.param]
        side.close()
        runner.run(server.stop())


def play(twins: Twins, number: int, words: list[Word]) -> None:
    """One step, unless the model is known not to have it."""
    if words[0] in TRANSACTION_BREAKERS and twins.model.sessions[number].queued is not None:
        return
    twins.step(number, words)


def play_short_wait(twins: Twins, number: int, chooser: grammar.Chooser) -> None:
    """A read whose time runs out if there is nothing for it."""
    if twins.free(number):
        twins.step(number, grammar.blocking(chooser, for_ms=b"%d" % SHORT_MS))
        twins.let_time_pass(SHORT_MS / 1000)


def run_sequence(real: tuple[RealSide, Flavour], seed: int) -> None:
    """One sequence by the dice."""
    dice = grammar.Dice(seed)
    twins = Twins(*real)
    twins.trace.append(f"seed {seed}")
    # The last connection speaks RESP3.
    twins.step(SESSIONS - 1, [b"HELLO", b"3"], *grammar.load_scripts())
    for _ in range(STEPS):
        number = dice.number(0, SESSIONS - 1)
        if dice.number(0, 99) == 0:
            play_short_wait(twins, number, dice)
        else:
            play(twins, number, grammar.any_command(dice))


def test_any_sequence_of_commands_is_answered_as_the_server_answers_it(real: tuple[RealSide, Flavour]) -> None:
    for seed in range(SEQUENCES):
        run_sequence(real, seed)
