"""P5: each test tells a history; broken ones break this rule and no other. Three tries are allowed."""

from typing import Any

import pytest

from tests.support_history import ONE, TWO, Story, broken, outcomes

DEAD: dict[str, Any] = {"state": "dead_lettered", "result_digest": None}


def tried(times: int, story: Story | None = None) -> Story:
    """r1 was tried so often, and failed each time but may be the last."""
    story = (story or Story().cast()).submit("r1").accept("r1")
    for attempt in range(1, times + 1):
        story.deliver("r1", attempt=attempt).handle("r1", attempt=attempt, phase="fail")
        if attempt < times:
            story.give_back("r1", deliveries=attempt, delay_ms=0)
    return story


def buried(story: Story, **final: object) -> Story:
    story.settle("r1", **DEAD).refuse("r1", "TASK_FAILED", state="dead_lettered", task_reason="HANDLER_ERROR")
    return story.final("r1", **({**DEAD, "attempts": 3, "dead": True} | final))


def test_a_task_is_tried_three_times_and_buried() -> None:
    assert broken(buried(tried(3))) == set()


def test_a_task_may_succeed_at_its_last_try() -> None:
    assert broken(tried(3).settle("r1").answer("r1").final("r1", attempts=3)) == set()


def test_no_task_is_tried_a_fourth_time() -> None:
    assert broken(buried(tried(3).handle("r1", attempt=3, phase="fail"))) == {"P5 too_many_tries"}


def test_a_try_beyond_the_last_is_seen_by_its_number() -> None:
    story = tried(3).settling("r1", **DEAD).end(ONE, "settle", "r1", "info").after(3_010)
    story.deliver("r1", TWO, attempt=4).handle("r1", TWO, attempt=4)

    assert broken(story.settle("r1", TWO).answer("r1").final("r1", attempts=4)) == {"P5 too_many_tries"}


def test_few_tries_with_too_high_numbers_are_too_many() -> None:
    story = (
        Story().cast().submit("r1").accept("r1").nemesis("crash", TWO).deliver("r1", attempt=4).handle("r1", attempt=4)
    )

    assert broken(story.settle("r1").answer("r1").final("r1", attempts=4)) == {"P5 too_many_tries"}


def test_a_hand_back_that_was_refused_does_not_hide_that_the_next_one_counts_no_try() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1", attempt=1).handle("r1", attempt=1, phase="fail")
    story.begin(ONE, "give_back", "r1", entry=story.entry("r1"), consumer=ONE, attempt=1, deliveries=1)
    story.after(3_010).deliver("r1", attempt=2).handle("r1", attempt=2, phase="fail").end(
        ONE, "give_back", "r1", "fail"
    )
    story.give_back("r1", attempt=2, deliveries=1, delay_ms=0)
    for attempt in (2, 3):
        story.deliver("r1", TWO, attempt=attempt).handle("r1", TWO, attempt=attempt, phase="fail")
        if attempt < 3:
            story.give_back("r1", TWO, attempt=2, deliveries=2, delay_ms=0)

    assert "P5 too_many_tries" not in broken(story.settle("r1", TWO, **DEAD).final("r1", **DEAD, attempts=3, dead=True))


def test_a_delivery_beyond_the_last_may_bury_the_task_untried() -> None:
    story = tried(2).give_back("r1", deliveries=2, delay_ms=0).deliver("r1", attempt=3).nemesis("crash", ONE)
    story.after(3_500).deliver("r1", TWO, attempt=4).settle("r1", TWO, **DEAD)
    story.refuse("r1", "TASK_FAILED", state="dead_lettered").final("r1", **DEAD, attempts=4, dead=True)

    assert broken(story) == set()


def test_what_a_draining_worker_hands_back_was_no_try() -> None:
    story = tried(2).give_back("r1", deliveries=2, delay_ms=0).deliver("r1", attempt=3)
    story.handle("r1", attempt=3, phase="info").give_back("r1", deliveries=2, delay_ms=0)
    story.deliver("r1", TWO, attempt=3).handle("r1", TWO, attempt=3, phase="fail").settle("r1", TWO, **DEAD)
    story.refuse("r1", "TASK_FAILED", state="dead_lettered").final("r1", **DEAD, attempts=3, dead=True)

    assert broken(story) == set()


def test_where_redis_forgot_the_tries_they_begin_anew() -> None:
    story = tried(3).tell("redis", "lost", what="groups").deliver("r1", TWO).handle("r1", TWO).settle("r1", TWO)

    assert broken(story.answer("r1").final("r1")) == set()


def test_what_was_given_before_redis_forgot_and_is_heard_of_later_counts_no_more() -> None:
    story = Story().cast().submit("r1").add("r1").fault("black_hole", "worker-2").tell("redis", "lost", what="groups")
    for attempt in (1, 2):
        story.deliver("r1", attempt=attempt).handle("r1", attempt=attempt, phase="fail")
        story.give_back("r1", deliveries=attempt, delay_ms=0)
    story.heal().deliver("r1", TWO).handle("r1", TWO, phase="fail")
    story.deliver("r1", attempt=3).handle("r1", attempt=3).settle("r1")

    assert "P5 too_many_tries" not in broken(story.answer("r1").final("r1"))


def test_tries_are_counted_anew_after_redis_forgot_them() -> None:
    story = Story().cast().submit("r1").add("r1").tell("redis", "lost", what="groups").after(10_000)
    for attempt in (1, 2, 3, 3):
        story.deliver("r1", attempt=attempt).handle("r1", attempt=attempt, phase="fail")

    assert "P5 too_many_tries" in broken(story.settle("r1").answer("r1").final("r1"))


def test_after_the_last_try_nothing_is_handed_back() -> None:
    story = tried(3).give_back("r1", deliveries=3, delay_ms=0).deliver("r1", TWO, attempt=4)
    story.settle("r1", TWO, **DEAD).refuse("r1", "TASK_FAILED", state="dead_lettered")

    assert broken(story.final("r1", **DEAD, attempts=4, dead=True)) == {"P5 not_buried"}


def test_no_task_is_buried_before_its_last_try() -> None:
    assert broken(buried(tried(2))) == {"P5 buried_early"}
    assert broken(buried(tried(3), attempts=2)) == {"P5 buried_early"}


@pytest.mark.parametrize("told_by", ["settle", "final", "nemesis", "add"])
def test_what_does_not_decode_is_buried_at_once(told_by: str) -> None:
    story = Story().cast()
    if told_by == "nemesis":
        story.tell("nemesis", "garbage", "r1")
    story.submit("r1").add("r1", why="injected" if told_by == "add" else "").unclear("r1", "CRASHED").deliver("r1")
    story.settle("r1", **DEAD, reason="UNDECODABLE" if told_by == "settle" else "X").task("r2").final("r2")
    story.final("r1", **DEAD, reason="UNDECODABLE" if told_by == "final" else "X", dead=True)

    assert broken(story) == set()


def test_what_is_dead_lettered_is_among_the_dead_letters() -> None:
    assert broken(buried(tried(3), dead=False)) == {"P5 not_among_dead"}


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_what_is_among_the_dead_letters_ended_so(state: str) -> None:
    digest = "result of r1" if state == "succeeded" else None
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settle("r1", state=state, result_digest=digest)
    story.unclear("r1", "CRASHED").final("r1", state=state, result_digest=digest, dead=True)

    assert broken(story) == {"P5 dead_beside_other"}


def test_a_dead_letter_may_outlive_the_record_of_its_task() -> None:
    story = tried(3, Story(result_ttl_ms=1_000).cast()).settle("r1", **DEAD)
    story.refuse("r1", "TASK_FAILED", state="dead_lettered").after(1_000)
    story.submit("r1").accept("r1").deliver("r1").settle("r1").answer("r1").final("r1", dead=True)

    assert broken(story) == set()


def test_a_dead_letter_without_a_record_is_no_contradiction() -> None:
    story = Story(result_ttl_ms=1_000).cast().task("r2").after(1_000)

    assert broken(buried(tried(3, story)).final("r2", state="", result_digest=None, dead=True)) == set()


def test_without_a_final_section_nothing_can_be_said() -> None:
    assert outcomes(tried(1).settle("r1"))["P5"] == "unknown"


def test_tries_that_a_failover_forgot_were_tries() -> None:
    """As seeds 9307 and 9542: the last try is over when the replica takes over, and that one has an earlier count."""

    def over(tries: int) -> Story:
        lost = tried(tries).tell("redis", "lost", what="suffix", since_ns=0)
        return buried(lost.after(100).deliver("r1", attempt=2, how="reclaim"), attempts=2)

    assert "P5 buried_early" not in broken(over(3))
    assert "P5 buried_early" in broken(over(2))
