"""Calm time: bounds count only while nothing disturbs."""

from hypothesis import given
from hypothesis import strategies as st

from edgescale.harness.checkers.spans import FOREVER, Span, Unrest

SPANS = st.lists(st.builds(lambda start, length: Span(start, start + length), st.integers(0, 60), st.integers(0, 15)))


def test_without_disturbance_the_bound_is_the_bound() -> None:
    assert Unrest([]).deadline(10, 5) == 15
    assert Unrest([Span(0, 9), Span(15, 20)]).deadline(10, 5) == 15


def test_the_bound_begins_anew_after_each_disturbance() -> None:
    unrest = Unrest([Span(12, 13), Span(16, 20), Span(40, 50)])

    assert unrest.deadline(10, 5) == 25
    assert unrest.deadline(18, 5) == 25
    assert unrest.deadline(10, 30) == 80


def test_what_never_heals_is_never_judged() -> None:
    assert Unrest([Span(12)]).deadline(10, 5) == FOREVER
    assert Unrest([Span(12)]).deadline(10, 2) == 12


def test_a_moment_is_a_disturbance_too() -> None:
    unrest = Unrest([Span(12, 12)])

    assert unrest.deadline(10, 5) == 17
    assert unrest.meets(Span(12, 12))
    assert not unrest.meets(Span(0, 11))
    assert not unrest.meets(Span(13, 20))


@given(SPANS, st.integers(0, 80), st.integers(1, 20))
def test_the_deadline_is_the_end_of_the_first_calm_time(spans: list[Span], start: int, bound: int) -> None:
    # Calm from `begin` on: no disturbance from there to one bound later, its last moment not included.
    calm = (
        begin
        for begin in [start, *sorted(span.end_ns for span in spans if span.end_ns >= start)]
        if not any(span.end_ns > begin and span.start_ns < begin + bound for span in spans)
        and not any(span.start_ns <= begin <= span.end_ns and span.end_ns > begin for span in spans)
    )

    assert Unrest(spans).deadline(start, bound) == next(calm) + bound


@given(SPANS, st.builds(lambda start, length: Span(start, start + length), st.integers(0, 80), st.integers(0, 9)))
def test_a_time_is_disturbed_when_any_disturbance_meets_it(spans: list[Span], asked: Span) -> None:
    assert Unrest(spans).meets(asked) == any(span.meets(asked) for span in spans)
