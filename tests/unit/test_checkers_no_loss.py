"""P1: each test tells a history; broken ones break this rule and no other."""

import pytest

from tests.support_history import ONE, TWO, Story, broken, outcomes


def lossy(durability: int | str = "none") -> Story:
    """r1 is accepted, and then Redis loses what was written since 1 ms."""
    story = Story(durability=durability).cast().submit("r1", respond_async=True).accept("r1")
    story.answer("r1", state="queued", result_digest=None)
    return story.after(100).delete("r1", why="lost").tell("redis", "lost", what="suffix", since_ns=1_000_000)


def test_what_was_accepted_and_settled_is_well() -> None:
    story = Story().cast().task("r1").task("r2", TWO).final("r1", "r2")

    assert broken(story) == set()
    assert set(outcomes(story).values()) == {"valid"}


@pytest.mark.parametrize("state", ["failed", "dead_lettered", "expired"])
def test_every_terminal_state_is_an_end(state: str) -> None:
    story = Story(attempts_max=1).cast().submit("r1", expires_ms=1 if state == "expired" else 0).accept("r1")
    story.deliver("r1").settle("r1", state=state, result_digest=None)
    story.refuse("r1", "TASK_FAILED", state=state, task_reason="X")
    story.final("r1", state=state, result_digest=None, dead=state == "dead_lettered")

    assert broken(story) == set()


def test_an_accepted_task_that_is_gone_is_lost() -> None:
    assert broken(Story().cast().task("r1").task("r2").final("r2")) == {"P1 lost"}


def test_a_task_whose_caller_stopped_waiting_is_accepted_all_the_same() -> None:
    story = Story().cast().submit("r1").unclear("r1", "WAIT_EXPIRED").task("r2").final("r2")

    assert broken(story) == {"P1 lost"}


def test_a_task_that_only_ingestion_knows_to_be_accepted_is_accepted() -> None:
    story = Story().cast().submit("r1").accept("r1").unclear("r1", "CRASHED").task("r2")
    story.deliver("r1").settle("r1").final("r2")

    assert broken(story) == {"P1 lost"}


def test_an_unknown_outcome_may_have_happened_or_not() -> None:
    story = Story().cast().fault("slow", "ingestion-1").submit("r1").add("r1").unclear("r1").submit("r2").unclear("r2")
    story.heal().task("r3").deliver("r1").settle("r1").final("r1", "r3")

    assert broken(story) == set()


def test_what_redis_may_lose_may_be_lost() -> None:
    assert broken(lossy(durability=1_000).task("r2").final("r2")) == set()


def test_without_a_window_nothing_may_be_lost() -> None:
    assert broken(lossy().task("r2").final("r2")) == {"P1 lost"}


def test_a_loss_reaches_no_further_than_the_window() -> None:
    assert broken(lossy(durability=50).task("r2").final("r2")) == {"P1 lost"}


def test_what_was_synced_may_not_be_lost() -> None:
    story = Story(durability=1_000).cast().submit("r1", respond_async=True).accept("r1")
    story.answer("r1", state="queued", result_digest=None)
    story.after(100).delete("r1", why="lost").tell("redis", "lost", what="suffix", since_ns=story.now_ms * 1_000_000)

    assert broken(story.task("r2").final("r2")) == {"P1 lost"}


def test_a_wipe_takes_everything_that_came_before_it() -> None:
    story = Story().cast().task("r1").after(5_000).tell("redis", "lost", what="all").task("r2").final("r2")

    assert broken(story) == set()


def test_a_wipe_takes_nothing_that_came_after_it() -> None:
    story = Story().cast().tell("redis", "lost", what="all").task("r1").task("r2").final("r2")

    assert broken(story) == {"P1 lost"}


def test_lost_groups_take_no_task_with_them() -> None:
    story = Story().cast().task("r1").tell("redis", "lost", what="groups").task("r2").final("r2")

    assert broken(story) == {"P1 lost"}


def test_a_settled_task_expires() -> None:
    story = Story(result_ttl_ms=1_000).cast().task("r1").after(1_000).task("r2").final("r2")

    assert broken(story) == set()


def test_an_open_task_does_not_expire() -> None:
    story = Story(result_ttl_ms=1_000).cast().submit("r1").accept("r1").deliver("r1").unclear("r1", "WAIT_EXPIRED")
    story.renew("r1").after(1_000).delete("r1", why="lost").task("r2").final("r2")

    assert broken(story) == {"P1 lost"}


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_task_that_is_open_after_the_drain_is_not_done(state: str) -> None:
    story = Story().cast().submit("r1").accept("r1").unclear("r1", "WAIT_EXPIRED").task("r2")
    story.deliver("r1").delete("r1", why="lost").final("r2").final("r1", state=state, result_digest=None)

    assert broken(story) == {"P1 unfinished"}


def test_a_task_whose_entry_somebody_took_away_stays_open_as_nobody_asks_for_it() -> None:
    story = Story().cast().submit("r1").accept("r1").unclear("r1", "WAIT_EXPIRED").task("r2")
    story.delete("r1", why="lost").tell("redis", "lost", what="entries")
    open_still = story.final("r2").final("r1", state="queued", result_digest=None)

    assert broken(open_still) == set()


def test_it_stays_open_again_where_redis_forgot_that_it_was_submitted_again() -> None:
    story = Story(durability=10_000).cast().submit("r1").accept("r1").task("r2")
    story.delete("r1", why="lost").tell("redis", "lost", what="entries").after(100)
    since_ns = int(story.now_ms * 1_000_000)
    story.add("r1").deliver("r1").settle("r1").answer("r1")
    story.tell("redis", "lost", what="suffix", since_ns=since_ns).final("r2")

    assert "P1 unfinished" not in broken(story.final("r1", state="queued", result_digest=None))


def test_one_task_has_one_end() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settling("r1", state="failed", result_digest=None)
    story.delete("r1").settled("r1", status="lost").unclear("r1", "WAIT_EXPIRED")
    story.final("r1", state="expired", result_digest=None).final("r1", state="failed", result_digest=None)

    # Two ends are two answers as well, so P2 is broken with P1.
    assert broken(story) == {"P1 two_ends", "P2 two_results"}


def test_a_refused_request_is_not_executed() -> None:
    story = Story().cast().submit("r1").refuse("r1", "TOO_MANY_REQUESTS")
    story.task("r2").add("r1").deliver("r1").settle("r1").final("r1", "r2")

    assert broken(story) == {"P1 refused_but_done"}


def test_a_refusal_that_follows_an_acceptance_refuses_nothing() -> None:
    story = (
        Story()
        .cast()
        .task("r1")
        .submit("r1", "client-2", digest="other")
        .refuse("r1", "REQUEST_ID_CONFLICT", "client-2")
    )

    assert broken(story.final("r1")) == set()


def test_nothing_is_done_that_nobody_asked_for() -> None:
    story = Story().cast().task("r1").add("r2").deliver("r2").settle("r2").final("r1", "r2")

    assert broken(story) == {"P1 invented"}


def test_a_caller_without_an_id_who_heard_nothing_may_be_whose_it_is() -> None:
    story = Story().cast().fault("slow", "ingestion-1").submit("").unclear("").heal()
    story.task("r1").add("r2").deliver("r2").settle("r2").final("r1", "r2")

    assert broken(story) == set()


def test_what_the_nemesis_made_up_is_not_invented() -> None:
    story = Story().cast().task("r1").add("entry-9-0", why="injected").deliver("entry-9-0")
    story.settle("entry-9-0", state="dead_lettered", result_digest=None, reason="UNDECODABLE")
    story.final("r1").final("entry-9-0", state="dead_lettered", result_digest=None, dead=True)

    assert broken(story) == set()


def test_a_lane_that_holds_something_after_the_drain_is_not_drained() -> None:
    story = Story().cast().task("r1").final("r1").tell("probe", "final", lane="text", backlog=0, pending=1)

    assert broken(story) == {"P1 backlog_left"}


def test_an_entry_that_was_never_removed_is_found_by_its_identity() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settling("r1").store("r1").settled("r1").answer("r1")

    assert broken(story.final("r1")) == {"P1 entry_left"}


def test_a_wipe_removes_entries() -> None:
    story = Story().cast().submit("r1").add("r1").unclear("r1", "CRASHED").tell("redis", "lost", what="all").task("r2")

    assert broken(story.final("r2")) == set()


def test_without_a_final_section_nothing_can_be_said() -> None:
    assert outcomes(Story().cast().task("r1"))["P1"] == "unknown"


def test_a_final_section_that_passes_over_the_lanes_says_too_little() -> None:
    story = Story(caps={}).cast().task("r1").final("r1")

    assert (broken(story), outcomes(story)["P1"]) == (set(), "unknown")


def test_where_nothing_was_accepted_nothing_can_be_said() -> None:
    story = Story().cast().submit("r1").refuse("r1", "TOO_MANY_REQUESTS").final()

    assert (broken(story), outcomes(story)["P1"]) == (set(), "unknown")


def test_operations_that_nobody_knows_are_passed_over() -> None:
    story = Story().cast().tell("client-1", "sing", "r9", colour="blue").task("r1").begin(ONE, "dance", "r1")

    assert broken(story.final("r1")) == set()
