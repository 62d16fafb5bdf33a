"""P4: each test tells a history; broken ones break this rule and no other.

The lease is 3 s, the sweep 0.5 s, and a second more is allowed: what is left at 4.5 s was left for too long.
"""

from typing import Any

import pytest

from edgescale.harness.checkers.entries import Entries
from tests.support_history import ONE, TWO, Story, broken


def held(story: Story | None = None) -> Story:
    """worker-1 works on r1, undisturbed for a while."""
    return (story or Story().cast()).after(9_000).submit("r1").accept("r1").deliver("r1")


def done(story: Story, worker: str = TWO) -> Story:
    return story.settle("r1", worker).answer("r1").final("r1")


def test_the_dead_are_relieved_in_time() -> None:
    assert broken(done(held().nemesis("crash", ONE).after(4_490).deliver("r1", TWO, attempt=2))) == set()


def test_the_dead_are_not_relieved_too_late() -> None:
    story = held().nemesis("crash", ONE).after(4_520).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == {"P4 not_taken_over"}


def test_a_crash_may_name_the_node_without_its_incarnation() -> None:
    story = held().nemesis("crash", "worker-1").after(4_520).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == {"P4 not_taken_over"}


def test_the_next_incarnation_did_not_die() -> None:
    story = Story().cast().nemesis("crash", ONE).nemesis("start", "worker-1#2").cast("worker-1#2").after(9_000)
    story.submit("r1").accept("r1").deliver("r1", "worker-1#2").renew("r1", "worker-1#2")
    story.after(2_000).renew("r1", "worker-1#2").after(2_600)

    assert broken(done(story, "worker-1#2")) == set()


def test_who_sleeps_for_long_is_relieved_in_time() -> None:
    story = held().nemesis("pause", ONE).after(4_490).deliver("r1", TWO, attempt=2)
    late = held().nemesis("pause", ONE).after(4_520).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == set()
    assert broken(done(late)) == {"P4 not_taken_over"}


def test_who_sleeps_for_a_moment_keeps_its_work() -> None:
    story = held().renew("r1").nemesis("pause", ONE).after(1_000).nemesis("resume", ONE).renew("r1").after(4_000)

    assert broken(done(story, ONE)) == set()


def test_nobody_can_relieve_the_dead_while_redis_is_away() -> None:
    story = held().nemesis("crash", ONE).tell("redis", "away").after(60_000).tell("redis", "serving")
    late = held().nemesis("crash", ONE).tell("redis", "away").after(60_000).tell("redis", "serving")

    # After an outage workers may take five seconds to recover.
    assert broken(done(story.after(6_490).deliver("r1", TWO, attempt=2))) == set()
    assert broken(done(late.after(6_520).deliver("r1", TWO, attempt=2))) == {"P4 not_taken_over"}


def test_nobody_can_relieve_the_dead_without_a_free_slot() -> None:
    # worker-2 has four slots; one is kept by its blocked read.
    story = Story(caps={"text": 9}).cast()
    for request_id in ("b1", "b2", "b3"):
        story.submit(request_id).accept(request_id).deliver(request_id, TWO)
    held(story).nemesis("crash", ONE)
    for _ in range(4):
        story.after(2_000)
        for request_id in ("b1", "b2", "b3"):
            story.renew(request_id, TWO)
    story.settle("b1", TWO).answer("b1").settle("b2", TWO).answer("b2").after(4_400).deliver("r1", TWO, attempt=2)
    story.settle("b3", TWO).answer("b3").final("b1", "b2", "b3")

    assert broken(done(story)) == set()


def test_who_got_it_back_unheard_and_renews_it_relieves_the_dead() -> None:
    story = held().nemesis("pause", ONE).after(3_200).deliver("r1", TWO, attempt=2).nemesis("crash", TWO)
    story.nemesis("resume", ONE).after(3_500).renew("r1", ONE).after(2_000).renew("r1", ONE).after(2_000)

    assert broken(done(story, ONE)) == set()


def test_nobody_can_relieve_the_dead_where_nobody_lives() -> None:
    story = held().nemesis("crash", TWO).nemesis("crash", ONE).after(60_000).cast("worker-2#2").after(4_400)

    assert broken(done(story.deliver("r1", "worker-2#2", attempt=2), "worker-2#2")) == set()


def test_a_worker_of_another_lane_relieves_nobody() -> None:
    story = Story(slots={}).cast("ingestion-1#1").tell(ONE, "ready", slots="text=4").tell(TWO, "ready", slots="file=4")
    held(story).nemesis("crash", ONE).after(60_000).tell("worker-3#1", "ready", slots="text=4").after(4_000)

    assert broken(done(story.deliver("r1", "worker-3#1", attempt=2), "worker-3#1")) == set()


def test_a_zombie_may_settle_what_nobody_took_over() -> None:
    story = held().nemesis("pause", ONE).after(2_000).nemesis("resume", ONE).after(9_000)

    assert broken(done(story, ONE)) == set()


def test_what_is_to_be_tried_again_is_tried_in_time() -> None:
    story = held().give_back("r1", deliveries=1, delay_ms=2_000).after(3_490).deliver("r1", TWO, attempt=2)
    late = held().give_back("r1", deliveries=1, delay_ms=2_000).after(3_520).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == set()
    assert broken(done(late)) == {"P4 not_retried"}


def test_what_is_to_be_tried_again_may_be_claimed_by_one_who_dies_with_it() -> None:
    story = held().give_back("r1", deliveries=1, delay_ms=0).after(200).nemesis("crash", ONE).after(4_490)
    late = held().give_back("r1", deliveries=1, delay_ms=0).after(200).nemesis("crash", ONE).after(4_520)

    assert broken(done(story.deliver("r1", TWO, attempt=3))) == set()
    assert broken(done(late.deliver("r1", TWO, attempt=3))) == {"P4 not_retried"}


def test_soon_after_an_outage_a_retry_may_be_late() -> None:
    story = Story().cast().after(9_000).tell("redis", "away").tell("redis", "serving").submit("r1").accept("r1")
    story.deliver("r1").give_back("r1", deliveries=1, delay_ms=0)

    assert broken(done(story.after(6_480).deliver("r1", TWO, attempt=2))) == set()


def test_a_renewed_lease_is_not_taken() -> None:
    story = held().after(1_000).renew("r1").after(2_900).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == {"P4 stolen"}


def test_not_even_a_sleeper_loses_a_lease_that_runs() -> None:
    story = held().renew("r1").nemesis("pause", ONE).after(2_900).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == {"P4 stolen"}


def test_what_was_handed_back_and_found_again_comes_with_the_count_that_it_was_left() -> None:
    """As seed 2437: who found again what it had claimed and handed back has it before the next one, not after."""
    story = Story().cast().after(9_000).submit("r1").accept("r1").deliver("r1").give_back("r1", ONE, deliveries=1)
    story.deliver("r1", TWO, attempt=2).give_back("r1", TWO, deliveries=1)
    story.after(500).deliver("r1", TWO, attempt=1, how="unheard").give_back("r1", TWO, deliveries=0)
    story.after(300).deliver("r1", ONE, attempt=1, how="reclaim")

    assert broken(done(story, ONE)) == set()


def test_a_fresh_delivery_is_not_taken() -> None:
    assert broken(done(held().after(900).deliver("r1", TWO, attempt=2))) == {"P4 stolen"}


def test_a_delivery_that_was_heard_of_late_may_have_run_out() -> None:
    story = Story().cast().after(9_000).submit("r1").accept("r1").nemesis("pause", ONE).after(2_900)
    story.nemesis("resume", ONE).deliver("r1").after(100).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == set()


def test_when_the_clock_of_redis_jumps_leases_run_out() -> None:
    story = held().after(1_000).renew("r1").fault("clock_jump", "redis").heal().after(900)

    assert broken(done(story.deliver("r1", TWO, attempt=2))) == set()


def test_when_redis_forgets_a_renewal_the_lease_runs_out() -> None:
    story = held().after(2_900).renew("r1").tell("redis", "lost", what="suffix", since_ns=0).after(100)

    assert broken(done(story.deliver("r1", TWO, attempt=2))) == set()


def test_a_worker_that_lives_and_is_not_disturbed_loses_nothing() -> None:
    assert broken(done(held().after(3_010).deliver("r1", TWO, attempt=2))) == {"P4 no_cause"}


def test_a_worker_that_was_cut_off_could_not_renew() -> None:
    story = held().fault("partition", "worker-1").after(3_010).deliver("r1", TWO, attempt=2).heal()

    assert broken(done(story)) == set()


def test_an_outage_before_the_last_renewal_is_no_cause() -> None:
    story = held().fault("partition", "worker-1").heal().after(500).renew("r1").after(3_010)

    assert broken(done(story.deliver("r1", TWO, attempt=2))) == {"P4 no_cause"}


def test_the_trouble_of_another_worker_is_no_cause() -> None:
    story = held().fault("partition", "worker-3").after(3_010).deliver("r1", TWO, attempt=2).heal()

    assert broken(done(story)) == {"P4 no_cause"}


def test_a_delivery_that_nobody_heard_of_may_stand_between() -> None:
    story = held().after(3_000).nemesis("pause", "worker-3#1").after(3_010).deliver("r1", TWO, attempt=3)

    assert broken(done(story)) == set()


def test_who_claimed_what_was_handed_back_uncounted_may_come_upon_it_again() -> None:
    """Found by seed 1863: after a failed read, a worker's own work looks like what it has not heard of."""

    def story(how: str) -> Story:
        back = held().give_back("r1", deliveries=0).after(500).deliver("r1", TWO, attempt=1, how="reclaim")
        return done(back.after(100).deliver("r1", TWO, attempt=1, how=how))

    assert broken(story("unheard")) == set()
    assert broken(story("reclaim")) == {"P4 no_cause"}
    assert broken(done(held().after(100).deliver("r1", ONE, attempt=1, how="unheard"), ONE)) == {"P4 no_cause"}


def test_no_delivery_goes_unheard_where_nothing_is_disturbed() -> None:
    assert broken(done(held().after(6_010).deliver("r1", TWO, attempt=3))) == {"P4 unheard"}
    story = Story().cast().after(9_000).submit("r1").accept("r1").after(3_010).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == {"P4 unheard"}


def test_a_read_of_the_dead_may_have_waited_at_the_server() -> None:
    story = Story().cast().nemesis("crash", ONE).after(2_900).submit("r1").accept("r1").after(3_010)

    assert broken(done(story.deliver("r1", TWO, attempt=2))) == set()


def test_an_outcome_that_could_not_be_stored_is_a_cause() -> None:
    story = held().settling("r1").end(ONE, "settle", "r1", "info").after(3_010).deliver("r1", TWO, attempt=2)

    assert broken(done(story)) == set()


def test_an_entry_is_not_read_twice() -> None:
    assert broken(done(held().after(100).deliver("r1", TWO, attempt=1))) == {"P4 no_cause"}


def test_lost_groups_make_entries_new_again() -> None:
    story = held().tell("redis", "lost", what="groups").after(100).deliver("r1", TWO, attempt=1)

    assert broken(done(story)) == set()


def asleep() -> Story:
    """worker-1 slept until worker-2 had r1, and is awake again."""
    return held().nemesis("pause", ONE).after(3_100).deliver("r1", TWO, attempt=2).nemesis("resume", ONE)


def test_who_lost_an_entry_is_told_so() -> None:
    story = asleep().settling("r1", ONE).settled("r1", ONE, status="lost")

    assert broken(done(story)) == set()


def test_who_lost_an_entry_settles_nothing() -> None:
    story = asleep().settle("r1", ONE).settling("r1", TWO).settled("r1", TWO, status="superseded")

    assert broken(story.answer("r1").final("r1")) == {"P4 settled_by_loser"}


def test_who_got_an_entry_settles_it_even_if_it_was_asked_before() -> None:
    story = held().settling("r1", ONE).nemesis("pause", ONE).after(3_100).deliver("r1", TWO, attempt=2)
    story.nemesis("resume", ONE).store("r1").delete("r1").settled("r1", ONE).answer("r1").final("r1")

    assert broken(story) == {"P4 settled_by_loser"}


def test_who_may_have_got_it_back_unheard_may_settle_it() -> None:
    story = asleep().nemesis("crash", TWO).after(4_000).settle("r1", ONE).answer("r1").final("r1")

    assert broken(story) == set()


def test_who_got_it_back_settles_it() -> None:
    story = asleep().nemesis("crash", TWO).after(4_000).deliver("r1", ONE, attempt=3)

    assert broken(done(story, ONE)) == set()


@pytest.mark.parametrize(("waited_ms", "rules"), [(1_900, {"P4 retried_early"}), (2_000, set())])
def test_a_retry_comes_no_sooner_than_it_should(waited_ms: int, rules: set[str]) -> None:
    story = held().give_back("r1", deliveries=1, delay_ms=2_000, reason="NOT_YET").after(waited_ms)
    story.deliver("r1", TWO, attempt=2, how="reclaim").settle("r1", TWO).answer("r1")

    assert broken(story.final("r1")) == rules


@pytest.mark.parametrize("excuse", ["groups", "clock"])
def test_a_retry_may_come_sooner_where_a_group_was_lost_or_the_clock_of_redis_was_set(excuse: str) -> None:
    story = held().give_back("r1", deliveries=1, delay_ms=2_000, reason="NOT_YET")
    if excuse == "groups":
        story.tell("redis", "lost", what="groups")
    else:
        story.fault("clock_of_redis", "redis").heal()
    story.after(1_000).deliver("r1", TWO, attempt=2, how="reclaim").settle("r1", TWO).answer("r1")

    assert "P4 retried_early" not in broken(story.final("r1"))


def test_a_return_that_was_held_up_makes_the_count_fall_late() -> None:
    """As seed 9434: an outage holds it up, and meanwhile its own worker takes the entry over and hands it back, too."""
    story = Story().cast().after(9_000).submit("r1").accept("r1").deliver("r1")
    held_up: dict[str, Any] = {
        "entry": story.entry("r1"),
        "consumer": ONE,
        "attempt": 1,
        "deliveries": 0,
        "delay_ms": 0,
    }
    first = story.begin(ONE, "give_back", "r1", **held_up).last_call
    story.after(3_100).deliver("r1", ONE, attempt=2, how="reclaim")
    story.give_back("r1", ONE, attempt=2, deliveries=1, delay_ms=1_000)
    story.tell(ONE, "give_back", "r1", "ok", first, **held_up)
    done(story.after(1_100).deliver("r1", ONE, attempt=1, how="reclaim"), ONE)

    [entry] = story.history().view(Entries)
    assert [delivery.attempt for delivery in entry.deliveries] == [1, 2, 1]
    assert broken(story) == set()
