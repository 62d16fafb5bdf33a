"""P6: each test tells a history; broken ones break this rule and no other. The grace is 2 s, a read blocks for 1 s."""

import pytest

from tests.support_history import ONE, TWO, Story, broken


def stopping(story: Story | None = None) -> Story:
    """worker-1 works on r1 and is asked to stop."""
    story = (story or Story().cast()).after(9_000).submit("r1").accept("r1").deliver("r1")
    return story.nemesis("stop", ONE).tell(ONE, "stopping")


def done(story: Story, worker: str = ONE) -> Story:
    return story.settle("r1", worker).answer("r1").final("r1")


def test_a_worker_finishes_its_work_and_stops() -> None:
    story = stopping().after(1_000).settle("r1").answer("r1").tell(ONE, "stopped").final("r1")

    assert broken(story) == set()


def test_a_worker_hands_back_what_it_cannot_finish() -> None:
    story = stopping().after(2_000).give_back("r1").tell(ONE, "stopped").after(1_400).deliver("r1", TWO, how="reclaim")

    assert broken(done(story, TWO)) == set()


def test_what_was_handed_back_is_taken_at_once() -> None:
    story = stopping().after(2_000).give_back("r1").tell(ONE, "stopped").after(1_510).deliver("r1", TWO, how="reclaim")

    assert broken(done(story, TWO)) == {"P6 not_handed_over"}


def test_what_was_handed_back_waits_for_a_worker() -> None:
    story = stopping(Story().cast("ingestion-1#1", ONE)).give_back("r1").tell(ONE, "stopped").after(60_000)
    story.cast(TWO).after(1_400).deliver("r1", TWO, how="reclaim")

    assert broken(done(story, TWO)) == set()


def test_a_read_that_waited_at_the_server_may_still_bring_something() -> None:
    story = stopping().settle("r1").answer("r1").after(900).submit("r2").accept("r2").deliver("r2").settle("r2")

    assert broken(story.answer("r2").tell(ONE, "stopped").final("r1", "r2")) == set()


def test_who_is_asked_to_stop_takes_nothing_more() -> None:
    story = stopping().settle("r1").answer("r1").after(3_010).submit("r2").accept("r2").deliver("r2").settle("r2")

    assert broken(story.answer("r2").tell(ONE, "stopped").final("r1", "r2")) == {"P6 took_after_stop"}


def test_what_comes_while_redis_is_slow_comes_late() -> None:
    story = stopping().settle("r1").answer("r1").fault("slow", "redis").after(3_010).submit("r2").accept("r2")
    story.deliver("r2").settle("r2").answer("r2").heal().tell(ONE, "stopped")

    assert broken(story.final("r1", "r2")) == set()


def test_a_worker_stops_in_time() -> None:
    assert broken(done(stopping()).after(7_020).tell(ONE, "stopped")) == {"P6 stops_late"}
    assert broken(done(stopping()).after(6_900).tell(ONE, "stopped")) == set()


def test_a_worker_that_never_stops_is_found_at_the_end() -> None:
    assert broken(done(stopping()).after(7_020).tell("probe", "sample", lane="text", backlog=0)) == {"P6 stops_late"}


def test_a_worker_that_does_not_even_begin_to_stop_is_found() -> None:
    story = Story().cast().task("r1").nemesis("stop", "worker-1").after(7_020).final("r1")

    assert broken(story) == {"P6 stops_late"}


def test_a_worker_that_was_killed_need_not_stop() -> None:
    story = stopping().settle("r1").answer("r1").nemesis("crash", ONE).after(60_000).final("r1")

    assert broken(story) == set()


def test_a_drain_may_wait_for_redis() -> None:
    story = stopping().settle("r1").answer("r1").tell("redis", "away").after(60_000).tell("redis", "serving")

    assert broken(story.after(6_900).tell(ONE, "stopped").final("r1")) == set()


def test_who_is_asked_to_stop_twice_is_judged_from_the_first_time() -> None:
    """As seed 3945: Redis was away during the drain, and the second request came when it was back."""
    story = stopping().tell("redis", "away").after(2_000).tell("redis", "serving").after(500)
    story.nemesis("stop", ONE).tell(ONE, "stopping").tell(ONE, "stopped").deliver("r1", TWO, attempt=2)

    assert broken(done(story, TWO)) == set()


def test_redis_is_no_service_that_drains() -> None:
    story = Story().cast().task("r1").nemesis("stop", "redis").tell("redis", "serving").after(60_000).final("r1")

    assert broken(story) == set()


def test_who_stops_leaves_nothing_behind() -> None:
    story = stopping().tell(ONE, "stopped").after(3_100).deliver("r1", TWO, attempt=2)

    assert broken(done(story, TWO)) == {"P6 left_behind"}


def test_who_could_not_reach_redis_leaves_its_work_to_the_lease() -> None:
    story = stopping().fault("partition", "worker-1").after(2_000).tell(ONE, "stopped").heal().after(1_100)

    assert broken(done(story.deliver("r1", TWO, attempt=2), TWO)) == set()


def test_who_lost_its_work_leaves_nothing_behind() -> None:
    story = Story().cast().after(9_000).submit("r1").accept("r1").deliver("r1").nemesis("pause", ONE).after(3_100)
    story.deliver("r1", TWO, attempt=2).nemesis("resume", ONE).after(9_000).tell(ONE, "stopping").tell(ONE, "stopped")

    assert broken(done(story, TWO)) == set()


def test_a_refused_renewal_ends_a_delivery() -> None:
    story = stopping().renew("r1", phase="fail").tell(ONE, "stopped").after(3_010).deliver("r1", TWO, attempt=2)

    assert broken(done(story, TWO)) == set()


def test_a_settled_task_is_given_to_nobody() -> None:
    story = Story().cast().task("r1").after(2_100).deliver("r1", TWO, attempt=1, entry="other-entry")

    assert broken(story.final("r1")) == {"P6 done_again"}


def test_a_delivery_may_have_been_on_its_way_when_the_task_was_settled() -> None:
    story = Story().cast().task("r1").after(1_900).deliver("r1", TWO, attempt=1, entry="other-entry")

    assert broken(story.final("r1")) == set()


def test_a_sleeper_hears_late_of_what_it_was_given() -> None:
    story = Story().cast().submit("r1").accept("r1").nemesis("pause", TWO).deliver("r1").settle("r1").answer("r1")
    story.after(9_000).nemesis("resume", TWO).deliver("r1", TWO, attempt=1, entry="other-entry")

    assert broken(story.final("r1")) == set()


def test_a_task_whose_end_was_lost_is_given_to_somebody_again() -> None:
    story = Story(durability=9_000).cast().task("r1").tell("redis", "lost", what="suffix", since_ns=0).after(3_000)
    story.add("r1", why="restored").deliver("r1", TWO).settle("r1", TWO)

    assert broken(story.final("r1")) == set()


def test_a_task_is_settled_once() -> None:
    story = Story().cast().task("r1").settling("r1", TWO, entry="other-entry").settled("r1", TWO, entry="other-entry")

    assert broken(story.final("r1")) == {"P6 settled_twice"}


def test_a_settlement_that_is_repeated_is_the_same() -> None:
    story = Story().cast().task("r1").settling("r1", ONE).settled("r1", ONE)

    assert broken(story.final("r1")) == set()


@pytest.mark.parametrize(("reason", "rules"), [("", {"P6 attempt_counted"}), ("HANDLER_ERROR", set())])
def test_what_is_handed_back_although_nothing_failed_uses_up_no_attempt(reason: str, rules: set[str]) -> None:
    story = stopping().give_back("r1", deliveries=1, reason=reason).tell(ONE, "stopped")
    story.after(100).deliver("r1", TWO, attempt=2, how="reclaim").settle("r1", TWO).answer("r1").final("r1")

    assert {rule for rule in broken(story) if rule.startswith("P6")} == rules


@pytest.mark.parametrize(("not_before_ms", "rules"), [(0, {"P6 held_back"}), (5, set())])
def test_what_is_handed_back_although_nothing_failed_waits_only_where_it_is_not_due(
    not_before_ms: int, rules: set[str]
) -> None:
    story = Story().cast().after(9_000).submit("r1", not_before_ms=not_before_ms).accept("r1").deliver("r1")
    story.give_back("r1", reason="", delay_ms=100).after(110).deliver("r1", how="reclaim").settle("r1").answer("r1")

    assert {rule for rule in broken(story.final("r1")) if rule.startswith("P6")} == rules
