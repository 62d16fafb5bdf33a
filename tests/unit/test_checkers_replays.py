"""Replays of dead letters: a right one opens a task again, and excuses nothing else."""

from typing import Any

import pytest

from edgescale.harness.expand import plan_of
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.simulation.run import Run, simulate
from tests.support_history import ONE, TWO, Story, broken

DEAD: dict[str, Any] = {"state": "dead_lettered", "result_digest": None}


def buried(story: Story | None = None) -> Story:
    """r1 is tried three times, and dead-lettered."""
    story = (story or Story().cast()).submit("r1").accept("r1")
    for attempt in (1, 2, 3):
        story.deliver("r1", attempt=attempt).handle("r1", attempt=attempt, phase="fail")
        if attempt < 3:
            story.give_back("r1", deliveries=attempt)
    story.settle("r1", **DEAD)
    return story.refuse("r1", "TASK_FAILED", state="dead_lettered", task_reason="HANDLER_ERROR")


def replayed(story: Story, worker: str = TWO) -> Story:
    """r1 is replayed, and succeeds at once."""
    return story.replay("r1").deliver("r1", worker).handle("r1", worker).settle("r1", worker)


def test_a_replayed_task_may_run_again_and_come_to_another_end() -> None:
    story = replayed(buried()).fetch("r1").submit("r1").attach("r1").answer("r1")

    assert broken(story.final("r1")) == set()


def test_a_task_may_be_replayed_again_after_it_was_buried_again() -> None:
    story = buried().replay("r1")
    for attempt in (1, 2, 3):
        story.deliver("r1", attempt=attempt).handle("r1", attempt=attempt, phase="fail")
        if attempt < 3:
            story.give_back("r1", deliveries=attempt)
    story.settle("r1", **DEAD)

    assert broken(replayed(story).final("r1")) == set()


def test_one_that_is_put_back_behind_others_of_its_key_gets_its_entry_later() -> None:
    def waited(story: Story) -> Story:
        return story.tell("redis", "turn", "r1", lane="text", place="9-0").add("r1").deliver("r1").settle("r1")

    story = buried().tell("redis", "wait", "r1", lane="text", place="9-0", why="replayed")
    story = waited(story.tell("redis", "replay", "r1", lane="text", letter="0-1-0"))

    assert broken(story.final("r1")) == set()
    assert "P2 queued_twice" in broken(waited(buried()))


def test_without_a_replay_it_may_not() -> None:
    story = buried().add("r1").deliver("r1", TWO).handle("r1", TWO).after(2_000).settle("r1", TWO)

    assert {"P2 two_results", "P2 queued_twice", "P6 settled_twice"} <= broken(story.final("r1"))


def test_a_task_that_succeeded_may_not_be_replayed() -> None:
    story = Story().cast().task("r1").replay("r1").deliver("r1", TWO).settle("r1", TWO, result_digest="other")

    found = broken(story.final("r1", result_digest="other"))

    assert {"P2 queued_twice", "P6 settled_twice"} <= found


def test_a_task_that_is_open_may_not_be_replayed() -> None:
    story = buried().replay("r1").replay("r1").deliver("r1", TWO).handle("r1", TWO).settle("r1", TWO)

    assert "P2 queued_twice" in broken(story.final("r1"))


def test_a_replay_does_not_excuse_two_results_after_it() -> None:
    story = replayed(buried()).fetch("r1", result_digest="other")

    assert broken(story.final("r1")) == {"P2 two_results"}


def test_what_was_replayed_and_is_still_a_dead_letter_beside_its_result_is_found() -> None:
    assert broken(replayed(buried()).final("r1", dead=True)) == {"P5 dead_beside_other"}


def test_a_replayed_task_that_nobody_finishes_is_unfinished() -> None:
    story = buried().replay("r1").final("r1", state="queued", result_digest=None, attempts=0)

    assert {"P1 unfinished", "P1 entry_left"} <= broken(story)


def test_a_replay_that_redis_lost_may_be_made_again() -> None:
    story = buried(Story(durability=60_000).cast()).replay("r1")
    story.delete("r1", why="lost").tell("redis", "lost", what="suffix", since_ns=0)

    assert broken(replayed(story).final("r1")) == set()


def test_a_record_that_has_expired_may_be_made_anew() -> None:
    story = buried(Story(result_ttl_ms=1_000).cast()).after(1_000)
    story.submit("r1").accept("r1").deliver("r1").settle("r1").answer("r1").after(1_001)

    assert broken(replayed(story).fetch("r1").final("r1")) == set()


def test_who_asks_for_a_replayed_task_waits_for_its_next_end() -> None:
    story = buried().begin("client-2", "fetch", "r1").replay("r1").deliver("r1", TWO).handle("r1", TWO)
    for _ in range(4):
        story.after(2_000).renew("r1", TWO)
    story.settle("r1", TWO).end("client-2", "fetch", "r1", state="succeeded", result_digest="result of r1")

    assert broken(story.final("r1")) == set()


def test_the_next_end_of_a_replayed_task_must_not_come_late_either() -> None:
    story = buried().begin("client-2", "fetch", "r1").replay("r1").deliver("r1", TWO).handle("r1", TWO)
    story.settle("r1", TWO).after(6_000)
    story.end("client-2", "fetch", "r1", state="succeeded", result_digest="result of r1")

    assert broken(story.final("r1")) == {"P2 late"}


def test_a_replayed_entry_that_names_no_task_is_nobodys_invention() -> None:
    story = Story().cast().task("r2")
    story.add("entry-1", why="injected").deliver("entry-1").settle("entry-1", **DEAD, reason="UNDECODABLE")
    name = f"entry-{int(story.now_ms)}-0"
    story.replay(name).deliver(name, ONE).settle(name, ONE, **DEAD, reason="UNDECODABLE")
    story.final("r2").final(name, **DEAD, dead=True, reason="UNDECODABLE")

    assert broken(story) == set()


# In simulation.


def run_of(script: str, *faults: Fault, **settings: Any) -> Run:
    sent = Request(10, "client-1", "text", "r1", "ingestion-1", script)
    asked = Request(5_000, "client-2", "fetch", "r1", "ingestion-1", deadline_ms=5_000)
    options = {"attempts_max": 3, "lease_ms": 1_000, "worker_lanes": "text=3,heartbeat=8,file=3", **settings}
    return simulate(
        Plan(1, services={"ingestion": 1, "worker": 1}, settings=options, requests=(sent, asked), faults=faults)
    )


@pytest.mark.parametrize("replies_lost", [0, 3])
def test_the_nemesis_replays_what_was_buried_and_the_late_asker_is_answered(replies_lost: int) -> None:
    run = run_of("ill 3900 work 5", Fault(3_000, 1_500, "replay_dead", "redis", {"replies_lost": replies_lost}))

    assert run.good
    answers = [event.text("state") or event.text("task_reason") for event in run.history.named("submit", "fetch")]
    assert [answer for answer in answers if answer] == ["dead_lettered", "succeeded"]
    assert run.markers["replayed_well"] == 1
    assert run.history.named("replay")


def test_nothing_is_replayed_where_nothing_was_buried() -> None:
    run = run_of("work 5", Fault(3_000, 500, "replay_dead", "redis"))

    assert run.good
    assert run.history.named("replay") == []


def test_a_replay_while_redis_is_away_breaks_nothing() -> None:
    away = Fault(2_900, 4_000, "restart", "redis")
    run = run_of("fail 3", away, Fault(3_000, 500, "replay_dead", "redis"))

    assert run.good


@pytest.mark.parametrize("seed", range(3))
def test_replays_in_the_midst_of_everything_are_judged_rightly(seed: int) -> None:
    plan = plan_of(seed)
    faults = (*plan.faults, Fault(2_500, 2_000, "replay_dead", "redis", {"replies_lost": 1}))
    run = simulate(Plan(**{name: getattr(plan, name) for name in plan.__slots__} | {"faults": faults}))

    assert run.good
