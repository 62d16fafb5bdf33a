"""What the report plots: events in buckets of time, latencies from the intended start, the backlog of lanes."""

import pytest

from edgescale.harness.history import NS_PER_MS, History
from edgescale.harness.report import shapes, units
from edgescale.harness.report.plotted import left_out, plots
from edgescale.harness.report.series import BUCKETS_MAX, Times, backlogs, buckets, latencies, rates
from tests.support_history import Story

S = 1_000_000_000


def plain(text: str) -> str:
    """With spaces of the usual kind."""
    return text.replace(units.NBSP, " ")


def until(story: Story, end_ms: float) -> History:
    """The history, with something at its end, so that its buckets are known."""
    return story.at(end_ms).tell("probe", "note").history()


def sampled(story: Story, lane: str, backlog: int, pending: int = 0, cap: int | None = 3) -> Story:
    return story.tell("probe", "sample", lane=lane, backlog=backlog, pending=pending, cap=cap)


@pytest.mark.parametrize(
    ("end_ms", "width_ms", "count"),
    [(0, 1, 1), (50, 1, 50), (120, 1, 120), (121, 2, 61), (12_243, 200, 62), (3_600_000, 50_000, 72)],
)
def test_buckets_are_round_and_never_too_many(end_ms: float, width_ms: int, count: int) -> None:
    split = until(Story(tick_ms=0), end_ms).view(buckets)

    assert (split.width_ns, split.count) == (width_ms * NS_PER_MS, count)
    assert split.count <= BUCKETS_MAX
    assert split.of(int(end_ms * NS_PER_MS)) == split.count - 1


def test_an_answer_counts_where_it_was_meant_to_be_asked_for_and_from_then_on() -> None:
    story = Story(tick_ms=0).at(300).submit("late", intended_ns=100 * NS_PER_MS).at(1_000).answer("late")
    story.at(2_000).submit("prompt").at(2_040).answer("prompt")
    [latency] = until(story, 12_000).view(latencies)

    assert latency.operation == "submit"
    assert {bucket: of.slowest_ns // NS_PER_MS for bucket, of in latency.buckets.items()} == {1: 900, 20: 40}
    assert latency.whole == Times(2, 40 * NS_PER_MS, 900 * NS_PER_MS, 900 * NS_PER_MS)


def test_only_answers_have_a_latency_and_what_was_to_wait_has_none() -> None:
    story = Story().submit("refused").refuse("refused").submit("lost").unclear("lost").submit("open")
    story.submit("later", not_before_ms=1).after(9_000).answer("later")
    story.submit("failed").refuse("failed", "TASK_FAILED", state="dead_lettered")

    [latency] = story.history().view(latencies)

    assert latency.whole.count == 1


def test_who_does_not_wait_is_plotted_apart_and_who_submits_comes_first() -> None:
    story = Story().fetch("r1").submit("r1", respond_async=True).answer("r1", state="queued").submit("r2").answer("r2")

    assert [latency.operation for latency in story.history().view(latencies)] == [
        "submit",
        "submit, not waiting",
        "fetch",
    ]


def test_percentiles_are_by_nearest_rank() -> None:
    assert Times.of(list(range(1, 101))) == Times(100, 50, 99, 100)
    assert Times.of([7, 3]) == Times(2, 3, 7, 7)
    assert Times.of([5]) == Times(1, 5, 5, 5)


def test_calls_count_where_they_begin_and_where_they_end() -> None:
    story = Story(tick_ms=0).submit("a").submit("b").submit("c").submit("d").submit("open")
    story.at(150).answer("a").refuse("b").at(250).unclear("c").refuse("d", "TASK_EXPIRED", state="expired")
    counts = until(story, 12_000).view(rates)

    assert (counts.begun[0], sum(counts.begun)) == (5, 5)
    ended = {name: [at for at, count in enumerate(values) if count] for name, values in counts.ended.items()}
    assert ended == {"answered": [1], "failed": [2], "refused": [1], "unclear": [2]}
    assert counts.never_ended == 1


def test_a_lane_shows_the_highest_of_its_samples_and_its_cap() -> None:
    story = Story(tick_ms=0)
    sampled(sampled(sampled(story, "text", 2, 1), "text", 3, 2).at(500), "text", 1, cap=None)
    sampled(story, "file", 0)
    history = until(story, 12_000)
    text, file = history.view(backlogs)

    assert (text.lane, text.cap, text.highest) == ("text", 3, 3)
    assert (dict(text.backlog), dict(text.pending)) == ({0: 3, 5: 1}, {0: 2, 5: 0})
    assert file.highest == 0
    assert [plot.title for plot in plots(history)] == ["calls per second", "lane text"]
    assert left_out(history) == "Nothing was ever queued in file."


def test_lanes_beyond_those_that_are_plotted_are_counted() -> None:
    story = Story(tick_ms=0)
    for number in range(20):
        sampled(story, f"lane-{number}", number + 1)
    history = until(story, 12_000)

    assert [plot.title for plot in plots(history)][1] == "lane lane-19"
    assert left_out(history) == "12 emptier lanes not shown."


def test_a_cap_is_drawn_where_it_is_near_and_told_where_it_is_far() -> None:
    story = sampled(sampled(Story(tick_ms=0), "near", 2, cap=8), "far", 2, cap=9)
    far, near = sorted(plots(until(story, 12_000))[1:], key=lambda plot: plot.title)

    assert [text for _, text in near.across] == ["cap 8"]
    assert (list(far.across), "cap 9, far above" in far.whole) == ([], True)


def test_a_run_in_which_nothing_happened_can_be_plotted() -> None:
    assert [plot.title for plot in plots(Story().history())] == ["calls per second"]


def test_a_sample_stands_until_the_next_one_unless_that_is_long_in_coming() -> None:
    assert dict(shapes.carried({0: 4, 2: 5, 4: 6, 14: 1})) == {0: 4, 1: 4, 2: 5, 3: 5, 4: 6, 14: 1}
    assert dict(shapes.carried({})) == {}


def test_a_line_of_steps_breaks_where_nothing_is_known() -> None:
    assert 'd="M0 10H1V20H3M7 5H8"' in shapes.steps("x", {0: 10, 1: 20, 2: 20, 7: 5})


def test_stacks_add_up() -> None:
    assert shapes.stacked([[1, 2], [3, 4]], 2) == [[1, 2], [4, 6]]
    assert shapes.stacked([], 2) == []


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0 µs"),
        (830_400, "830 µs"),
        (1_234_000, "1.23 ms"),
        (12_340_000, "12.3 ms"),
        (999_000_000, "999 ms"),
        (5 * S, "5 s"),
        (4_210_000_000, "4.21 s"),
        (125 * S, "2 min 05 s"),
        (3_725 * S, "1 h 02 min"),
    ],
)
def test_times_are_told_in_three_digits(time_ns: int, text: str) -> None:
    assert plain(units.duration(time_ns)) == text


def test_moments_and_labels_are_told_as_on_a_clock() -> None:
    assert [plain(units.moment(time_ns)) for time_ns in (3_853_000_000, 724_250_000_000)] == ["3.853 s", "12:04.250"]
    assert units.clock_step(410 * S, 8) == 60 * S
    assert [units.tick(at * S, 60 * S, 410 * S) for at in (0, 60, 360)] == ["0:00", "1:00", "6:00"]
    assert [plain(units.tick(at * S, 2 * S, 12 * S)) for at in (0, 2)] == ["0 s", "2 s"]
    assert units.clock_step(100_000 * S, 8) == 5 * 3_600 * S
