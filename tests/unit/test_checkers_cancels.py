"""Rules of P1, P2 and P6 on cancelled tasks; broken histories break these rules. A handler is told within 2 s."""

from typing import Any

from tests.support_history import ONE, TWO, Story, broken

CANCELLED: dict[str, Any] = {"state": "cancelled", "result_digest": None, "attempts": 0}


def queued() -> Story:
    return Story().cast().after(9_000).submit("r1").accept("r1")


def told(story: Story) -> Story:
    """Whoever waits hears of it, and it stays so."""
    return heard(story).final("r1", **CANCELLED)


def heard(story: Story) -> Story:
    ends: dict[str, Any] = {"reason": "TASK_FAILED", "state": "cancelled", "task_reason": "CANCELLED"}
    return story.end("client-1", "submit", "r1", "fail", **ends)


def running() -> Story:
    story = queued().deliver("r1")
    return story.begin(ONE, "handle", "r1", entry=story.entry("r1"), attempt=1, consumer=ONE)


def stopped(story: Story) -> Story:
    return told(interrupted(story))


def interrupted(story: Story) -> Story:
    return story.renew("r1", phase="fail").end(ONE, "handle", "r1", "fail", reason="CancelledError")


def test_a_queued_task_that_is_cancelled_is_done_with() -> None:
    assert broken(told(queued().cancel("r1"))) == set()


def test_a_task_may_be_cancelled_by_a_call_that_never_heard_of_it() -> None:
    story = queued().begin("client-2", "cancel", "r1").cancelled("r1")
    story.end("client-2", "cancel", "r1", "info", reason="DEADLINE_EXCEEDED")

    assert broken(told(story)) == set()


def test_nobody_else_cancels() -> None:
    assert broken(told(queued().cancelled("r1"))) == {"P1 cancelled_unasked"}
    assert broken(told(queued().cancelled("r1").begin("client-2", "cancel", "r2"))) >= {"P1 cancelled_unasked"}


def test_who_asks_for_it_later_did_not_ask_for_it() -> None:
    story = queued().cancelled("r1").begin("client-2", "cancel", "r1").end("client-2", "cancel", "r1", **CANCELLED)

    assert broken(told(story)) == {"P1 cancelled_unasked"}


def test_the_entry_goes_with_the_state() -> None:
    story = queued().begin("client-2", "cancel", "r1").store("r1", "cancelled").delete("r1")

    assert broken(told(story.end("client-2", "cancel", "r1", **CANCELLED))) == {"P1 cancelled_but_queued"}


def test_a_cancelled_task_has_no_other_end() -> None:
    story = running().begin("client-2", "cancel", "r1").store("r1").store("r1", "cancelled").delete("r1")
    story.end("client-2", "cancel", "r1", **CANCELLED)

    assert {"P2 two_results"} <= broken(stopped(story))


def test_what_had_ended_before_is_answered_as_it_was() -> None:
    story = Story().cast().task("r1").begin("client-2", "cancel", "r1")
    story.end("client-2", "cancel", "r1", state="succeeded", result_digest="result of r1", attempts=1)

    assert broken(story.final("r1")) == set()


def test_a_canceller_that_is_told_another_end_than_there_is_was_told_wrong() -> None:
    story = Story().cast().task("r1").begin("client-2", "cancel", "r1").end("client-2", "cancel", "r1", **CANCELLED)

    assert broken(story.final("r1")) == {"P2 two_results"}


def test_who_waits_for_a_cancelled_task_is_told_in_time() -> None:
    assert broken(told(queued().cancel("r1").after(4_900))) == set()
    assert broken(told(queued().cancel("r1").after(5_100))) == {"P2 late"}


def test_a_handler_is_told_in_time() -> None:
    assert broken(stopped(running().cancel("r1").after(1_900))) == set()
    assert broken(stopped(running().cancel("r1").after(2_100))) == {"P6 cancelled_but_running"}


def test_a_handler_that_never_ends_was_not_told() -> None:
    story = told(running().cancel("r1")).after(2_100).tell("probe", "sample", lane="text", backlog=0, pending=0)

    assert broken(story) == {"P6 cancelled_but_running"}


def test_a_worker_that_is_cut_off_hears_of_it_later() -> None:
    def story(pause_ms: int) -> Story:
        cut_off = heard(running().fault("cut", "worker-1").cancel("r1")).after(3_000).heal()
        return interrupted(cut_off.after(pause_ms)).final("r1", **CANCELLED)

    assert broken(story(6_900)) == set()
    assert broken(story(7_100)) == {"P6 cancelled_but_running"}


def test_a_worker_that_has_died_need_not_be_told() -> None:
    story = heard(running().cancel("r1")).nemesis("crash", ONE).cast("worker-1#2").after(9_000)

    assert broken(story.final("r1", **CANCELLED)) == set()


def test_what_was_on_its_way_may_begin_and_is_stopped() -> None:
    story = queued().cancel("r1").after(500).deliver("r1")
    story.begin(ONE, "handle", "r1", entry=story.entry("r1"), attempt=1, consumer=ONE).after(1_900)

    assert broken(stopped(story)) == set()


def test_what_was_confirmed_to_be_cancelled_never_starts() -> None:
    story = queued().begin("client-2", "cancel", "r1").store("r1", "cancelled")
    story.end("client-2", "cancel", "r1", **CANCELLED).after(2_100).deliver("r1", TWO)
    story.begin(TWO, "handle", "r1", entry=story.entry("r1"), attempt=1, consumer=TWO)
    story.end(TWO, "handle", "r1").settling("r1", TWO).delete("r1").settled("r1", TWO, status="superseded")

    assert broken(told(story)) == {"P1 cancelled_but_queued", "P6 cancelled_but_started", "P6 done_again"}


def test_a_task_whose_cancellation_redis_lost_has_a_second_life() -> None:
    story = queued().cancel("r1").tell("redis", "lost", what="all").accept("r1").deliver("r1").after(2_000)
    story.handle("r1").settle("r1").answer("r1")

    assert broken(story.final("r1")) == set()
