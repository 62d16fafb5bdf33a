"""Swim lanes: every event has its row, bars end where they must, nothing lies upon anything else."""

from collections import Counter

import pytest

from edgescale.harness.history import NS_PER_MS
from edgescale.harness.report.lane_bars import Bar
from edgescale.harness.report.lane_rows import ROWS_MAX, rows_of
from edgescale.harness.report.lanes import BANDS_MAX, CLIENTS, LANES_MAX, OTHERS, REQUESTS_MAX, Lanes, lanes
from edgescale.harness.report.lanes_drawn import _by_lane, _tracked
from tests.support_history import ONE, TWO, Story


def taken_over() -> Story:
    """worker-1 is killed with r1; worker-2 takes it over under a fault, and settles it."""
    story = Story().cast().submit("r1").accept("r1").deliver("r1").begin(ONE, "handle", "r1")
    story.renew("r1").renew("r1").after(400).nemesis("crash", ONE).after(3_000).fault("slow", "worker-2,redis")
    return story.deliver("r1", TWO, attempt=2).handle("r1", TWO).settle("r1", TWO).heal().answer("r1").final("r1")


def picture(story: Story, *request_ids: str, marked: tuple[int, ...] = ()) -> Lanes:
    return lanes(story.history(), request_ids or ("r1",), marked)


def bars(of: Lanes, kind: str) -> list[Bar]:
    return [bar for bar in of.bars if bar.kind == kind]


def test_lanes_go_from_the_outside_to_the_inside() -> None:
    assert list(picture(taken_over()).names) == ["client-1", "ingestion-1", "redis", "worker-1", "worker-2", "nemesis"]


def test_every_event_has_a_row_but_renewals_that_were_granted_and_the_end() -> None:
    of = picture(taken_over())
    shown = Counter(row.event.operation for row in of.rows if row.event)

    assert shown["submit"] == shown["handle"] - 1 == 2
    assert shown["crash"] == shown["fault"] == 1
    assert not shown["renew"] + shown["final"]
    assert [row.pause.split() for row in of.rows if row.pause] == [["405", "ms", "later"], ["3.00", "s", "later"]]


def test_a_marked_event_has_a_row_whatever_it_is() -> None:
    story = taken_over()
    renewal = next(event for event in story.history().named("renew"))
    final = next(event for event in story.history().named("final"))

    of = picture(story, marked=(renewal.index, final.index))

    assert [row.event for row in of.rows if row.marked] == [renewal, final]


def test_a_refused_renewal_has_a_row() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").renew("r1", phase="fail")

    assert [row.event.phase for row in picture(story).rows if row.event and row.event.operation == "renew"] == [
        "invoke",
        "fail",
    ]


def test_a_delivery_ends_with_its_settling_or_with_its_worker() -> None:
    of = picture(taken_over())
    at = {
        (row.event.actor, row.event.operation, row.event.phase): place for place, row in enumerate(of.rows) if row.event
    }
    first, second = bars(of, "delivery")

    assert (first.start, first.end) == (at[ONE, "deliver", "ok"] + 0.5, at["nemesis", "crash", "ok"] + 0.5)
    assert (second.start, second.end) == (at[TWO, "deliver", "ok"] + 0.5, at[TWO, "settle", "ok"] + 0.5)
    assert "lost with its worker" in first.text
    assert "settled (settled)" in second.text


def test_a_call_that_died_with_its_worker_ends_there_and_one_without_an_end_at_the_end() -> None:
    story = taken_over().submit("r1", "client-2")
    of = picture(story)
    crash = next(place for place, row in enumerate(of.rows) if row.event and row.event.operation == "crash")
    died, _ = bars(of, "handle")
    *_, unanswered = bars(of, "submit")

    assert (died.end, died.outcome) == (crash + 0.5, "open")
    assert (unanswered.end, unanswered.outcome) == (len(of.rows), "open")


def test_a_disturbance_lies_over_the_lanes_of_those_who_suffer() -> None:
    of = picture(taken_over())
    killed, slow = of.bands

    assert [of.names[lane] for lane in killed.lanes] == ["worker-1"]
    assert [of.names[lane] for lane in slow.lanes] == ["redis", "worker-2"]
    assert 0 < killed.start < slow.start < slow.end <= len(of.rows)


def test_a_disturbance_of_others_is_not_shown() -> None:
    story = Story().cast().fault("slow", "worker-9").task("r1").heal()

    assert list(picture(story).bands) == []
    assert "nemesis" not in picture(story).names


def test_nothing_lies_upon_anything_else() -> None:
    story = taken_over().cancel("r1")
    for client in range(3):
        story.submit("r1", f"client-{client + 5}")
    items = [items for items in _by_lane(picture(story, "r1")) if items]

    assert len(items) > 4
    for lane in items:
        tracks: dict[int, float] = {}
        spans = {id(item): (start, end) for start, end, item in lane}
        for track, item in _tracked(lane):
            start, end = spans[id(item)]
            assert tracks.get(track, -1) < start
            tracks[track] = end


@pytest.mark.parametrize(("clients", "shared"), [(4, False), (5, True)])
def test_many_clients_share_a_lane(clients: int, *, shared: bool) -> None:
    story = Story().cast()
    for number in range(clients):
        story.fetch("r1", f"client-{number}")

    assert (CLIENTS in picture(story).names) == shared


def test_many_actors_share_the_last_lane() -> None:
    story = Story().submit("r1").accept("r1")
    for number in range(30):
        story.tell(f"worker-{number}#1", "effect", "r1", attempt=1)
    of = picture(story.nemesis("crash", "worker-3#1").answer("r1"))

    assert len(of.names) <= LANES_MAX
    assert of.names[-2:] == ["nemesis", OTHERS]
    assert {of.names[lane] for lane in of.lane_of.values()} == set(of.names)


def test_of_many_requests_the_first_are_shown_and_the_others_counted() -> None:
    story = Story().cast()
    for number in range(9):
        story.task(f"r{number}")
    of = picture(story, *(f"r{number}" for number in range(9)))

    assert of.requests_left_out == 9 - REQUESTS_MAX
    assert {row.event.request_id for row in of.rows if row.event} == {"r0", "r1", "r2", "r3"}


def test_a_long_story_is_cut_and_says_so() -> None:
    story = Story().cast().submit("r1").accept("r1")
    for number in range(2_000):
        story.after(number % 50).tell(f"worker-{number % 2}#1", "effect", "r1", attempt=1)
    events = story.history().about("r1")

    assert len(picture(story).rows) <= ROWS_MAX
    everything = rows_of(events, [event.index for event in events], ())
    assert len(everything) == ROWS_MAX
    assert everything[-1].pause == f"and {len(events) - ROWS_MAX + 1:,} more events"


def test_of_many_disturbances_the_first_are_drawn_and_the_others_counted() -> None:
    story = Story().cast().submit("r1").accept("r1")
    for _ in range(BANDS_MAX + 3):
        story.fault("slow", "redis").heal()
    of = picture(story.answer("r1"))

    assert (len(of.bands), of.bands_left_out) == (BANDS_MAX, 3)


def test_of_nothing_nothing_is_drawn() -> None:
    assert picture(Story().cast(), "stranger") == Lanes([], [], [], [], {}, 0, 0)


def test_the_rows_are_in_the_order_of_time() -> None:
    times = [row.event.time_ns // NS_PER_MS for row in picture(taken_over()).rows if row.event]

    assert times == sorted(times)
