"""The waits between attempts: jittered, within their bounds, and never long."""

from hypothesis import given
from hypothesis import strategies as st

from edgescale.broker.reconnect import BASE_MS, CAP_MS, Backoff
from tests.support import SeededChance


@given(
    seed=st.integers(0, 2**32),
    base_ms=st.floats(0.1, 1_000),
    growth=st.floats(1, 1_000),
    waits=st.integers(1, 40),
    resets=st.sets(st.integers(0, 39)),
)
def test_every_wait_is_in_the_upper_half_of_its_bound(
    seed: int, base_ms: float, growth: float, waits: int, resets: set[int]
) -> None:
    cap_ms = base_ms * growth
    backoff = Backoff(SeededChance(seed), base_ms=base_ms, cap_ms=cap_ms)
    bound_ms = base_ms
    for number in range(waits):
        if number in resets:
            backoff.reset()
            bound_ms = base_ms
        wait_ms = backoff.next_ms()
        assert bound_ms / 2 <= wait_ms <= bound_ms <= cap_ms
        bound_ms = min(bound_ms * 2, cap_ms)


@given(st.integers(0, 2**32))
def test_two_services_do_not_come_back_in_step(seed: int) -> None:
    one, other = Backoff(SeededChance(seed)), Backoff(SeededChance(seed + 1))
    assert [one.next_ms() for _ in range(8)] != [other.next_ms() for _ in range(8)]


@given(st.integers(0, 2**32))
def test_the_first_seconds_hold_many_attempts_but_no_storm(seed: int) -> None:
    backoff = Backoff(SeededChance(seed))
    elapsed_ms, attempts = 0.0, 0
    while elapsed_ms < 5_000:
        elapsed_ms += backoff.next_ms()
        attempts += 1
    assert 8 <= attempts <= 20
    assert BASE_MS < CAP_MS
