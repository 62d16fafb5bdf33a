"""P8: each test tells a history; broken ones break this rule and no other. Recovery may take 5 s."""

from typing import Any

import pytest

from tests.support_history import ONE, TWO, Story, broken, outcomes


def queued(story: Story) -> Story:
    return story.submit("r1").accept("r1")


def done(story: Story) -> Story:
    return story.settle("r1").answer("r1").final("r1")


def waiting(**fields: Any) -> Story:
    """A caller waits for r1 when Redis loses everything."""
    story = Story().cast().task("r2").submit("r1", via="ingestion-1", **fields).accept("r1")
    return story.delete("r1", why="lost").tell("redis", "lost", what="all")


def test_an_entry_is_fetched_in_time() -> None:
    assert broken(done(queued(Story().cast().after(9_000)).after(4_990).deliver("r1"))) == set()
    assert broken(done(queued(Story().cast().after(9_000)).after(5_010).deliver("r1"))) == {"P8 not_fetched"}


def test_an_entry_that_nobody_fetches_is_found_at_the_end() -> None:
    story = queued(Story().cast().after(9_000)).after(5_010).nemesis("crash", "client-1").task("r2").final("r2")

    assert {rule for rule in broken(story) if rule.startswith("P8")} == {"P8 not_fetched"}


def test_an_entry_waits_while_redis_is_away_and_no_longer() -> None:
    story = Story().cast().tell("redis", "away").after(60_000).tell("redis", "serving")

    assert broken(done(queued(story).after(4_990).deliver("r1"))) == set()


def test_after_an_outage_an_entry_is_fetched_in_time() -> None:
    story = Story().cast().tell("redis", "away").after(60_000).tell("redis", "serving").after(3_000)

    assert broken(done(queued(story).after(5_010).deliver("r1"))) == {"P8 not_fetched"}


def test_an_entry_may_be_given_to_a_read_that_was_abandoned_in_an_outage() -> None:
    story = Story().cast().tell("redis", "away").after(60_000).tell("redis", "serving").after(900)

    assert broken(done(queued(story).after(8_400).deliver("r1", attempt=2))) == set()


def test_an_entry_may_be_given_to_a_sleeper_whose_read_waits_at_the_server() -> None:
    story = queued(Story().cast().after(9_000).nemesis("pause", TWO).after(900)).after(8_400).deliver("r1", attempt=2)

    assert broken(done(story)) == set()


def test_an_entry_waits_for_a_worker() -> None:
    story = queued(Story().cast("ingestion-1#1")).after(60_000).cast(ONE).after(4_900).deliver("r1")

    assert broken(done(story)) == set()


def test_an_entry_that_may_have_been_given_to_the_dead_waits_for_the_lease() -> None:
    story = queued(Story().cast().after(9_000)).nemesis("crash", TWO).after(11_400).deliver("r1", attempt=2)
    late = queued(Story().cast().after(9_000)).nemesis("crash", TWO).after(11_520).deliver("r1", attempt=2)

    assert broken(done(story)) == set()
    assert broken(done(late)) == {"P8 not_fetched"}


def test_an_entry_that_redis_lost_is_fetched_by_nobody() -> None:
    story = queued(Story().cast()).delete("r1", why="lost").tell("redis", "lost", what="all").unclear("r1", "CRASHED")

    assert broken(story.after(60_000).task("r2").final("r2")) == set()


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "BROKER_UNAVAILABLE", "STORE_UNAVAILABLE", "NOT_SERVING"])
def test_where_nothing_is_disturbed_everything_is_available(reason: str) -> None:
    story = Story().cast().after(9_000).task("r2").submit("r1").unclear("r1", reason).final("r2")

    assert broken(story) == {"P8 not_available"}


@pytest.mark.parametrize(
    ("patience_ms", "used_ms", "rules"),
    [
        (990, 0, set()),
        (1_060, 0, {"P8 not_available"}),
        (1_060, 1_020, set()),
        (5_000, 1_020, {"P8 not_available"}),
    ],
)
def test_who_leaves_no_time_for_a_round_trip_may_be_told_that_nobody_answered(
    patience_ms: int, used_ms: int, rules: set[str]
) -> None:
    story = Story().cast().after(9_000).task("r2")
    story.submit("r1", deadline_ns=int((story.now_ms + patience_ms) * 1_000_000))
    story.after(used_ms).unclear("r1", "BROKER_UNAVAILABLE")

    assert broken(story.final("r2")) == rules


def test_soon_after_an_outage_a_service_may_be_unavailable() -> None:
    story = Story().cast().after(9_000).tell("redis", "away").tell("redis", "serving").task("r2")
    soon = story.after(4_900).submit("r1").unclear("r1")

    assert broken(soon.final("r2")) == set()
    assert broken(soon.after(200).submit("r3").unclear("r3")) == {"P8 not_available"}


def test_a_service_that_has_just_begun_may_be_unavailable() -> None:
    story = Story().after(9_000).cast().after(1_000).submit("r1").unclear("r1").task("r2").final("r2")

    assert broken(story) == set()


def test_a_dead_service_is_unavailable() -> None:
    story = Story().cast().after(9_000).task("r2").nemesis("crash", "ingestion-1#1").after(9_000)
    story.submit("r1", via="ingestion-1").unclear("r1").final("r2")

    assert broken(story) == set()


def test_a_service_is_available_whatever_befalls_another() -> None:
    story = Story().cast().after(9_000).task("r2").nemesis("crash", "ingestion-2#1").fault("slow", "worker-1")
    story.submit("r1", via="ingestion-1").unclear("r1").heal().final("r2")

    assert broken(story) == {"P8 not_available"}


def test_a_task_that_redis_lost_is_submitted_again_for_its_waiter() -> None:
    story = waiting().after(4_000).add("r1")
    story.tell("ingestion-1#1", "resubmit", "r1", lane="text", entry=story.entry("r1")).deliver("r1").settle("r1")

    assert broken(story.answer("r1").final("r1", "r2")) == set()


def test_who_waits_where_nobody_ever_heard_of_it_is_not_waited_for() -> None:
    """The same id was accepted through another door, and has been answered there."""
    story = Story().cast().task("r2").after(9_000).submit("r1", "client-2", via="ingestion-2").task("r1")
    story.tell("redis", "lost", what="all").after(10_020).unclear("r1", "DEADLINE_EXCEEDED", "client-2")

    assert "P8 not_restored" not in broken(story.final("r2"))


def test_a_waiter_is_not_left_with_nothing() -> None:
    story = waiting().after(10_020).unclear("r1", "WAIT_EXPIRED").final("r2")

    assert broken(story) == {"P8 not_restored"}


def test_a_waiter_who_soon_gives_up_has_not_waited_long_enough() -> None:
    assert broken(waiting().after(9_900).unclear("r1", "WAIT_EXPIRED").final("r2")) == set()


def test_who_does_not_wait_loses_the_task() -> None:
    story = waiting(respond_async=True).after(10_020).unclear("r1", "CRASHED").final("r2")

    assert broken(story) == set()


def test_a_dead_service_restores_nothing() -> None:
    story = waiting().nemesis("crash", "ingestion-1#1").after(10_020).unclear("r1", "CRASHED").final("r2")

    assert broken(story) == set()


def passed_over(times: int, every_ms: int) -> Story:
    """worker-1 takes one task after the other while worker-2 has room and takes none."""
    story = Story().cast().task("a", TWO).after(9_000)
    for number in range(times):
        story.task(f"r{number}").after(every_ms)
    return story.final("a", *(f"r{number}" for number in range(times)))


def test_no_worker_is_passed_over_for_ever() -> None:
    assert broken(passed_over(22, 300)) == {"P8 asleep"}


def test_a_worker_may_be_passed_over_for_a_while() -> None:
    assert broken(passed_over(12, 900)) == set()
    assert broken(passed_over(40, 50)) == set()


def test_a_worker_that_takes_its_turn_sleeps_not() -> None:
    story = Story().cast().after(9_000)
    for number in range(60):
        story.task(f"r{number}", TWO if number % 15 == 0 else ONE).after(300)

    assert broken(story.final(*(f"r{number}" for number in range(60)))) == set()


def test_a_worker_with_its_hands_full_is_rightly_passed_over() -> None:
    story = Story(caps={"text": 9}).cast().after(9_000)
    for request_id in ("b1", "b2", "b3"):
        story.submit(request_id).accept(request_id).deliver(request_id, TWO)
    for number in range(30):
        story.task(f"r{number}").after(300)
    for request_id in ("b1", "b2", "b3"):
        story.settle(request_id, TWO).answer(request_id)

    assert broken(story.final("b1", "b2", "b3", *(f"r{number}" for number in range(30)))) == set()


@pytest.mark.parametrize("trouble", ["pause", "crash"])
def test_the_dead_and_the_sleepers_are_rightly_passed_over(trouble: str) -> None:
    story = Story().cast().after(9_000).nemesis(trouble, TWO)
    for number in range(30):
        story.task(f"r{number}").after(300)

    assert broken(story.final(*(f"r{number}" for number in range(30)))) == set()


def test_a_worker_that_is_cut_off_is_rightly_passed_over() -> None:
    story = Story().cast().after(9_000).fault("partition", "worker-2")
    for number in range(30):
        story.task(f"r{number}").after(300)

    assert broken(story.heal().final(*(f"r{number}" for number in range(30)))) == set()


def test_a_run_without_trouble_is_judged_as_well() -> None:
    assert outcomes(Story().cast().task("r1").final("r1"))["P8"] == "valid"
