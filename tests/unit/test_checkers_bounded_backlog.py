"""P3: each test tells a history; broken ones break this rule and no other."""

from tests.support_history import Story, broken


def full(story: Story | None = None) -> Story:
    """Three tasks are open, and the lane takes no more."""
    story = story or Story().cast()
    for request_id in ("r1", "r2", "r3"):
        story.submit(request_id).accept(request_id)
    return story


def emptied(story: Story) -> Story:
    for request_id in ("r1", "r2", "r3"):
        story.deliver(request_id).settle(request_id).answer(request_id)
    return story.final("r1", "r2", "r3")


def test_a_lane_may_be_full() -> None:
    story = full().tell("probe", "sample", lane="text", backlog=3, pending=0, cap=3)

    assert broken(emptied(story)) == set()


def test_a_lane_does_not_go_over_its_cap() -> None:
    story = full().submit("r4").accept("r4").deliver("r4").settle("r4").answer("r4").final("r4")

    assert broken(emptied(story)) == {"P3 over_cap"}


def test_a_sample_over_the_cap_is_enough() -> None:
    story = full().tell("probe", "sample", lane="text", backlog=4, pending=0, cap=3)

    assert broken(emptied(story)) == {"P3 over_cap_sampled"}


def test_where_a_sample_does_not_tell_the_cap_the_header_does() -> None:
    assert broken(full().tell("probe", "sample", lane="text", backlog=4).final()) >= {"P3 over_cap_sampled"}


def test_what_the_nemesis_adds_asks_nobody_for_room() -> None:
    story = full().add("x1", why="injected").tell("probe", "sample", lane="text", backlog=4, cap=3)
    story.deliver("x1").settle("x1").final("x1")

    assert broken(emptied(story)) == set()


def test_who_is_refused_by_a_full_lane_is_rightly_refused() -> None:
    assert broken(emptied(full().submit("r4").refuse("r4"))) == set()


def test_a_lane_that_was_full_for_a_moment_of_the_call_may_refuse() -> None:
    story = Story().cast().submit("r4").task("r0")
    full(story).deliver("r1").settle("r1").answer("r1").refuse("r4")
    for request_id in ("r2", "r3"):
        story.deliver(request_id).settle(request_id).answer(request_id)

    assert broken(story.final("r0", "r1", "r2", "r3")) == set()


def test_nobody_is_refused_while_there_is_room() -> None:
    story = Story().cast().task("r1").task("r2").submit("r3").accept("r3").submit("r4").refuse("r4")

    assert broken(story.deliver("r3").settle("r3").answer("r3").final("r1", "r2", "r3")) == {"P3 false_refusal"}


def test_nobody_is_refused_once_there_is_room_again() -> None:
    story = emptied(full()).after(5).submit("r4").refuse("r4")

    assert broken(story) == {"P3 false_refusal"}


def test_a_wipe_makes_room() -> None:
    story = full().tell("redis", "lost", what="all").submit("r4").refuse("r4")
    for request_id in ("r1", "r2", "r3"):
        story.unclear(request_id)

    assert "P3 false_refusal" in broken(story)


def test_where_redis_was_not_watched_refusals_are_not_judged() -> None:
    story = Story().cast().submit("r1").refuse("r1").final()

    assert broken(story) == set()


def test_what_the_nemesis_adds_does_not_mean_that_redis_was_watched() -> None:
    story = Story().cast().submit("r1").add("poison", why="injected").refuse("r1").delete("poison").final()

    assert {rule for rule in broken(story) if rule.startswith("P3")} <= {"P3 trimmed"}


def test_each_partition_has_its_share_of_the_cap() -> None:
    story = Story(caps={"text": 4}, partitions=2).cast()
    for request_id in ("r1", "r2"):
        story.submit(request_id).add(request_id, partition=1)
    story.submit("r3").refuse("r3").submit("r4").add("r4", partition=1)

    assert {rule for rule in broken(story) if rule.startswith("P3")} == {"P3 over_cap"}


def test_a_partition_below_its_share_makes_nobody_full() -> None:
    story = Story(caps={"text": 4}, partitions=2).cast()
    for place, request_id in enumerate(("r1", "r2")):
        story.submit(request_id).add(request_id, partition=place)
    story.submit("r3").refuse("r3")

    assert {rule for rule in broken(story) if rule.startswith("P3")} == {"P3 false_refusal"}


def test_nothing_is_removed_before_it_is_settled() -> None:
    story = Story().cast().submit("r1").accept("r1").delete("r1").unclear("r1", "WAIT_EXPIRED")
    story.task("r2").final("r2").final("r1", state="expired", result_digest=None)

    assert broken(story) == {"P3 trimmed"}


def test_a_settlement_that_comes_after_the_removal_is_too_late() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").delete("r1").settling("r1").store("r1").settled("r1")

    assert broken(story.answer("r1").final("r1")) == {"P3 trimmed"}


def test_a_settlement_whose_answer_was_lost_removes_all_the_same() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settling("r1").delete("r1")
    story.end("worker-1#1", "settle", "r1", "info").answer("r1").final("r1")

    assert broken(story) == set()


def test_a_stored_end_removes_whatever_entry_the_task_still_has() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").store("r1").delete("r1").answer("r1").final("r1")

    assert broken(story) == set()


def test_what_redis_lost_was_not_trimmed() -> None:
    story = Story().cast().submit("r1").accept("r1").delete("r1", why="lost").tell("redis", "lost", what="all")

    assert broken(story.unclear("r1", "WAIT_EXPIRED").task("r2").final("r2")) == set()


def test_a_removal_that_does_not_tell_whose_entry_it_was_is_understood() -> None:
    story = full().deliver("r1").settling("r1").store("r1")
    story.tell("redis", "delete", lane="text", entry=story.entry("r1")).settled("r1").answer("r1")
    story.submit("r4").accept("r4")
    for request_id in ("r2", "r3", "r4"):
        story.deliver(request_id).settle(request_id).answer(request_id)

    assert broken(story.final("r1", "r2", "r3", "r4")) == set()
