"""Progress of read loops, on a clock of the test's own."""

import pytest

from edgescale.telemetry import progress as module
from edgescale.telemetry.progress import MARGIN_MS, Loops, Progress, Readiness

BOUND_MS = 1_000


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def get_running_loop(self) -> "Clock":
        return self

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(module, "asyncio", moved)
    return moved


def test_a_loop_stands_still_once_it_has_not_come_round_for_its_bound(clock: Clock) -> None:
    loop = Progress(BOUND_MS)
    clock.now_s += 1.0
    assert loop.stalled_ms() == 0
    clock.now_s += 0.5
    assert loop.stalled_ms() == 1_500
    loop.note()
    assert loop.stalled_ms() == 0


def test_a_wait_inside_the_process_is_no_standstill_and_no_round(clock: Clock) -> None:
    loop = Progress(BOUND_MS)
    clock.now_s += 0.7
    with loop.waiting():
        clock.now_s += 60
        assert loop.stalled_ms() == 0
    clock.now_s += 0.2
    assert loop.stalled_ms() == 0
    clock.now_s += 0.2
    assert loop.stalled_ms() == 1_100


def test_a_loop_that_fails_and_waits_in_turn_stands_still_while_it_waits_too(clock: Clock) -> None:
    loop = Progress(BOUND_MS)
    for _ in range(3):
        with loop.waiting():
            clock.now_s += 1
        clock.now_s += 0.5
    with loop.waiting():
        clock.now_s += 5
        assert loop.stalled_ms() == 1_500


def test_who_waits_for_a_slot_is_well_as_long_as_anybody_is_given_one(clock: Clock) -> None:
    turnover = Progress(10 * BOUND_MS)
    fetcher, reclaimer = Progress(BOUND_MS, turnover), Progress(BOUND_MS, turnover)
    with fetcher.waiting():
        for _ in range(5):
            with reclaimer.waiting():
                clock.now_s += 8
            assert fetcher.stalled_ms() == 0
        clock.now_s += 11
        assert fetcher.stalled_ms() == 11_000


def test_a_bound_is_the_rounds_length_and_the_commands_timeout_and_a_margin(clock: Clock) -> None:
    loops = Loops(timeout_ms=2_000)
    loops.add("fetcher", round_ms=1_000)
    loops.add("renewer", round_ms=500)
    clock.now_s += (2_500 + MARGIN_MS) / 1_000 + 0.1
    assert loops.stalled() == {"renewer": 3_100}
    assert Readiness.of(loops).sentence == "read loops stand still: renewer for 3100 ms"
