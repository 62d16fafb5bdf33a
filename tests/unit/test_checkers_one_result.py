"""P2: each test tells a history; broken ones break this rule and no other."""

from tests.support_history import ONE, TWO, Story, broken, outcomes


def stored() -> Story:
    """r1 has a result, and its caller has not heard of it yet."""
    return Story().cast().submit("r1", via="ingestion-1").accept("r1").deliver("r1").settle("r1")


def test_all_paths_to_a_result_lead_to_the_same() -> None:
    story = Story().cast().submit("r1", "client-2").task("r1").attach("r1")
    story.answer("r1", "client-2", repeated=True).fetch("r1").final("r1")

    assert broken(story) == set()


def test_two_callers_are_not_told_two_results() -> None:
    story = Story().cast().submit("r1", "client-2").task("r1").answer("r1", "client-2", result_digest="other")

    assert broken(story.final("r1")) == {"P2 two_results"}


def test_a_read_result_does_not_change() -> None:
    assert broken(Story().cast().task("r1").fetch("r1", result_digest="other").final("r1")) == {"P2 two_results"}


def test_the_stored_result_is_the_one_that_callers_were_told() -> None:
    assert broken(Story().cast().task("r1").final("r1", result_digest="other")) == {"P2 two_results"}


def test_the_result_is_the_one_that_its_worker_settled() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settling("r1").store("r1").delete("r1")

    assert broken(story.settled("r1", result_digest="other").answer("r1").final("r1")) == {"P2 two_results"}


def test_success_and_failure_are_two_results() -> None:
    story = Story().cast().submit("r1", "client-2").task("r1")
    story.refuse("r1", "TASK_FAILED", "client-2", state="failed", task_reason="BAD")

    assert broken(story.final("r1")) == {"P2 two_results"}


def test_an_open_task_is_no_result() -> None:
    story = Story().cast().submit("r1").accept("r1").fetch("r1", state="running", result_digest=None)

    assert broken(story.deliver("r1").settle("r1").answer("r1").final("r1")) == set()


def test_a_result_that_redis_lost_may_be_followed_by_another() -> None:
    story = Story(durability=1_000).cast().task("r1").tell("redis", "lost", what="suffix", since_ns=0)
    story.add("r1", why="restored").deliver("r1").settle("r1", state="failed", result_digest=None)

    assert broken(story.final("r1", state="failed", result_digest=None)) == set()


def test_a_result_that_was_safe_may_not_be_followed_by_another() -> None:
    story = Story(durability=1_000).cast().task("r1").after(1_000).tell("redis", "lost", what="suffix", since_ns=0)
    story.submit("r1", "client-2").answer("r1", "client-2", result_digest="other").final("r1", result_digest="other")

    assert broken(story) == {"P2 two_results"}


def test_a_result_that_expired_may_be_followed_by_another() -> None:
    story = Story(result_ttl_ms=1_000).cast().task("r1").after(1_000).submit("r1", digest="new").accept("r1")
    story.deliver("r1").settle("r1", result_digest="new").store("r1", result_digest="new")

    assert broken(story.answer("r1", result_digest="new").final("r1", result_digest="new")) == set()


def test_a_result_that_was_followed_by_another_does_not_come_back() -> None:
    story = Story().cast().task("r1").tell("redis", "lost", what="all").submit("r1").accept("r1").deliver("r1")
    story.settling("r1", result_digest="new").store("r1", result_digest="new").delete("r1")
    story.settled("r1", result_digest="new").answer("r1", result_digest="new").fetch("r1")

    assert broken(story.final("r1", result_digest="new")) == {"P2 two_results"}


def test_one_id_does_not_stand_for_two_contents() -> None:
    story = Story().cast().task("r1").submit("r1", digest="other").attach("r1").answer("r1")

    assert broken(story.final("r1")) == {"P2 two_contents", "P2 others_result"}


def test_even_where_redis_forgot_the_first_content_its_sender_is_not_given_the_result_of_another() -> None:
    story = Story().cast().submit("r1").accept("r1").tell("redis", "lost", what="all").delete("r1", why="lost")
    story.submit("r1", "client-2", digest="other").accept("r1").deliver("r1").settle("r1").answer("r1")

    assert broken(story.answer("r1", "client-2").final("r1")) == {"P2 others_result"}


def test_other_content_is_refused() -> None:
    story = Story().cast().task("r1").submit("r1", digest="other").refuse("r1", "REQUEST_ID_CONFLICT")

    assert broken(story.final("r1")) == set()


def test_the_same_content_is_not_refused_as_other_content() -> None:
    story = Story().cast().task("r1").submit("r1").refuse("r1", "REQUEST_ID_CONFLICT")

    assert broken(story.final("r1")) == {"P2 false_conflict"}


def test_a_request_has_one_entry() -> None:
    story = Story().cast().submit("r1").add("r1").delete("r1", why="lost").accept("r1").deliver("r1").settle("r1")

    assert broken(story.answer("r1").final("r1")) == {"P2 queued_twice"}


def test_a_lost_entry_is_followed_by_another() -> None:
    story = Story().cast().submit("r1").accept("r1").delete("r1", why="lost").tell("redis", "lost", what="all")
    story.add("r1").tell("ingestion-1#1", "resubmit", "r1", lane="text", entry=story.entry("r1"))

    assert broken(story.deliver("r1").settle("r1").answer("r1").final("r1")) == set()


def test_a_call_ends_once() -> None:
    assert broken(Story().cast().task("r1").answer("r1").final("r1")) == {"P2 answered_twice"}


def test_a_call_ends() -> None:
    assert broken(Story().cast().task("r1").begin("client-2", "fetch", "r1").final("r1")) == {"P2 never_answered"}


def test_who_dies_need_not_be_answered() -> None:
    story = Story().cast().task("r1").begin("client-2", "fetch", "r1").nemesis("crash", "client-2")

    assert broken(story.final("r1")) == set()


def test_a_stored_result_reaches_its_waiter_in_time() -> None:
    assert broken(stored().after(4_990).answer("r1").final("r1")) == set()
    assert broken(stored().after(5_010).answer("r1").final("r1")) == {"P2 late"}


def test_a_caller_who_gives_up_was_not_told_in_time_either() -> None:
    assert broken(stored().after(5_010).unclear("r1", "WAIT_EXPIRED").final("r1")) == {"P2 late"}


def test_time_in_which_something_was_disturbed_does_not_count() -> None:
    story = stored().after(4_000).fault("slow", "redis").after(4_000).heal().after(4_990).answer("r1").final("r1")
    late = stored().after(4_000).fault("slow", "redis").after(4_000).heal().after(5_010).answer("r1").final("r1")

    assert broken(story) == set()
    assert broken(late) == {"P2 late"}


def test_a_disturbed_worker_is_no_excuse_for_a_late_answer() -> None:
    story = stored().after(4_000).fault("slow", "worker-1").after(4_000).heal().answer("r1").final("r1")

    assert broken(story) == {"P2 late"}


def test_a_disturbed_stranger_is_no_excuse_where_the_way_is_known() -> None:
    story = stored().after(4_000).fault("slow", "ingestion-2").after(4_000).heal().answer("r1").final("r1")

    assert broken(story) == {"P2 late"}


def test_the_dead_answer_nobody() -> None:
    story = stored().nemesis("crash", "ingestion-1#1").after(9_000).unclear("r1", "CRASHED").final("r1")

    assert broken(story) == set()


def test_who_calls_a_machine_that_is_gone_waits_in_vain_even_for_its_replacement() -> None:
    def story(*, calls_when_it_is_back: bool) -> Story:
        gone = Story().cast().task("r1").nemesis("crash", "ingestion-1#1").after(100)
        back = gone.tell("ingestion-1#2", "ready") if calls_when_it_is_back else gone
        asked = back.after(100).begin("client-2", "fetch", "r1", via="ingestion-1")
        later = asked if calls_when_it_is_back else asked.after(100).tell("ingestion-1#2", "ready")
        return later.after(9_000).end("client-2", "fetch", "r1", "info", reason="DEADLINE_EXCEEDED").final("r1")

    assert broken(story(calls_when_it_is_back=False)) == set()
    assert broken(story(calls_when_it_is_back=True)) == {"P2 late"}


def test_redis_dying_is_no_excuse_once_it_is_back() -> None:
    story = stored().nemesis("crash", "redis").tell("redis", "serving").after(6_000).answer("r1").final("r1")

    assert broken(story) == {"P2 late"}


def test_who_asks_for_a_result_that_is_there_gets_it_in_time() -> None:
    story = Story().cast().task("r1").after(50_000).begin("client-2", "fetch", "r1", wait_ms=9_000).after(6_000)
    story.end("client-2", "fetch", "r1", state="succeeded", result_digest="result of r1", attempts=1)

    assert broken(story.final("r1")) == {"P2 late"}


def test_who_still_sends_a_file_waits_for_nothing() -> None:
    story = Story().cast().begin("client-2", "upload", "r1", digest="of r1", sha256="aa", size_bytes=3).task("r1")
    story.after(9_000).attach("r1").end("client-2", "upload", "r1", state="succeeded", result_digest="result of r1")
    story.final("r1").tell("probe", "final", file_id="f1", sha256="aa", size_bytes=3, referenced=True, complete=True)

    assert broken(story) == set()


def test_without_a_terminal_answer_nothing_can_be_said() -> None:
    assert outcomes(Story().cast().submit("r1").unclear("r1", "CRASHED").final())["P2"] == "unknown"


def test_two_workers_agree() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1", ONE).nemesis("pause", ONE).after(3_100)
    story.deliver("r1", TWO, attempt=2).settle("r1", TWO).nemesis("resume", ONE)
    story.settling("r1", ONE, result_digest="other").settled("r1", ONE, result_digest="other", status="superseded")

    assert broken(story.answer("r1", attempts=2).final("r1", attempts=2)) == set()
