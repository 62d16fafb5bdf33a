"""Where the terms forgive no loss: what somebody was told of must stay, what Redis alone knew may go."""

from tests.support_history import ONE, TWO, Story, broken

OTHER = {"result_digest": "another result"}


def failed_over(story: Story, since_ms: float) -> Story:
    """A replica takes over that has nothing from this moment on."""
    return story.tell("redis", "lost", what="suffix", since_ns=int(since_ms * 1_000_000))


def restored(story: Story) -> Story:
    """The entry is there again, as it was before it was settled."""
    return story.tell("redis", "add", "r1", lane="text", entry=story.entry("r1"), why="restored")


def taken(attempt: int = 1) -> Story:
    return Story().cast().submit("r1").accept("r1").deliver("r1", attempt=attempt)


def test_a_result_that_nobody_was_told_of_may_be_lost_and_made_anew() -> None:
    story = taken()
    since_ms = story.now_ms
    story.settling("r1").store("r1").delete("r1")
    restored(failed_over(story, since_ms)).deliver("r1", TWO, attempt=2)
    story.settling("r1", TWO, **OTHER).store("r1", **OTHER).delete("r1").settled("r1", TWO, **OTHER)
    assert broken(story.answer("r1", **OTHER).final("r1", **OTHER)) == set()


def test_a_result_that_a_caller_was_told_of_must_not_be_followed_by_another_one() -> None:
    story = taken()
    since_ms = story.now_ms
    story.settling("r1").store("r1").delete("r1").fetch("r1")
    restored(failed_over(story, since_ms)).deliver("r1", TWO, attempt=2)
    story.settling("r1", TWO, **OTHER).store("r1", **OTHER).delete("r1").settled("r1", TWO, **OTHER)
    assert "P2 two_results" in broken(story.answer("r1", **OTHER).final("r1", **OTHER))


def test_a_result_that_its_worker_was_told_of_must_not_be_followed_by_another_one() -> None:
    story = taken()
    since_ms = story.now_ms
    story.settle("r1")
    restored(failed_over(story, since_ms)).deliver("r1", TWO, attempt=2)
    story.settling("r1", TWO, **OTHER).store("r1", **OTHER).delete("r1").settled("r1", TWO, **OTHER)
    found = broken(story.answer("r1", **OTHER).final("r1", **OTHER))
    assert {"P2 two_results", "P6 settled_twice"} <= found


def test_what_was_written_before_the_replica_fell_behind_is_no_part_of_what_it_may_lose() -> None:
    story = taken().settling("r1").store("r1").delete("r1")
    since_ms = story.now_ms
    restored(failed_over(story, since_ms)).deliver("r1", TWO, attempt=2)
    story.settling("r1", TWO, **OTHER).store("r1", **OTHER).delete("r1").settled("r1", TWO, **OTHER)
    assert "P2 two_results" in broken(story.answer("r1", **OTHER).final("r1", **OTHER))


def test_an_entry_that_nobody_was_told_of_may_be_lost_and_added_again() -> None:
    story = Story().cast().submit("r1")
    since_ms = story.now_ms
    story.add("r1").delete("r1", why="lost")
    failed_over(story, since_ms).after(2).accept("r1").deliver("r1").settle("r1").answer("r1")
    assert broken(story.final("r1")) == set()


def test_an_entry_that_was_accepted_must_not_be_added_again() -> None:
    story = Story().cast().submit("r1")
    since_ms = story.now_ms
    story.accept("r1").delete("r1", why="lost")
    failed_over(story, since_ms).after(2).accept("r1").deliver("r1").settle("r1").answer("r1")
    assert broken(story.final("r1")) == {"P2 queued_twice"}


def test_a_task_that_was_accepted_must_be_there_in_the_end() -> None:
    story = Story().cast().submit("r1", respond_async=True)
    since_ms = story.now_ms
    story.accept("r1").answer("r1", state="queued", result_digest=None).delete("r1", why="lost")
    assert broken(failed_over(story, since_ms).task("r2").final("r2")) == {"P1 lost"}


def test_a_wipe_on_purpose_takes_what_was_told_all_the_same() -> None:
    story = taken().settle("r1").answer("r1").tell("redis", "lost", what="all")
    assert broken(story.task("r2").final("r2")) == set()


def test_the_window_is_counted_from_the_end_of_the_server_however_long_it_was_down() -> None:
    story = Story(durability=1_000).cast().task("r1").tell("redis", "away").after(5_000)
    failed_over(story, 0).tell("redis", "serving")
    assert broken(story.task("r2").final("r2")) == set()
    early = Story(durability=1_000).cast().task("r1").after(1_100).tell("redis", "away").after(5_000)
    failed_over(early, 0).tell("redis", "serving")
    assert broken(early.task("r2", ONE).final("r2")) == {"P1 lost"}
