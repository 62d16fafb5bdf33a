"""The checkers against a toy of the whole system: no false alarm on any day, and every bug found by its promise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgescale.harness.checkers import judge
from edgescale.harness.history import History
from tests.support_history import Story, broken, outcomes
from tests.toy_system import day

# What is broken in the toy, what must find it, and within how many days.
BUGS = {
    "ack_first": ("P3 trimmed", 3),
    "deaf_after_wipe": ("P4 unheard", 5),
    "deaf_to_stop": ("P6 took_after_stop", 10),
    "early_end": ("P5 buried_early", 3),
    "early_reclaim": ("P4 stolen", 3),
    "late_reclaim": ("P4 not_taken_over", 3),
    "no_cap": ("P3 over_cap", 3),
    "no_dead_letter": ("P5 not_among_dead", 3),
    "no_dedupe": ("P2 queued_twice", 3),
    "no_delete": ("P1 entry_left", 3),
    "no_end": ("P5 too_many_tries", 3),
    "no_fence": ("P4 settled_by_loser", 60),
    "no_give_back": ("P6 left_behind", 20),
    "no_reclaim": ("P1 unfinished", 3),
    "no_recheck": ("P2 late", 5),
    "no_renewal": ("P4 no_cause", 3),
    "no_resubmit": ("P8 not_restored", 40),
    "slow_give_back": ("P6 not_handed_over", 30),
    "trim": ("P3 trimmed", 3),
    "two_answers": ("P2 two_results", 3),
}


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_a_sound_system_breaks_no_promise_whatever_befalls_it(seed: int, troubles: int) -> None:
    story = day(seed, troubles=troubles)

    assert broken(story) == set()
    assert set(outcomes(story).values()) == {"valid"}


@pytest.mark.parametrize("bug", BUGS)
def test_every_bug_is_found_by_its_promise(bug: str) -> None:
    rule, days = BUGS[bug]

    assert any(rule in broken(day(seed, bug, troubles=8)) for seed in range(days))


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_day_is_judged_the_same_after_it_was_written_down(seed: int) -> None:
    history = day(seed, "no_dedupe").history()

    assert judge(History.parse(history.lines())) == judge(history)


def test_the_same_seed_makes_the_same_day() -> None:
    def told(story: Story) -> str:
        return story.history().digest()

    assert told(day(7)) == told(day(7)) != told(day(8))
