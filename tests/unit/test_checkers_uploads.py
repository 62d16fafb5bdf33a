"""P7: each test tells a history; broken ones break this rule and no other."""

from typing import Any

import pytest

from tests.support_history import Story, broken, outcomes


def sent(story: Story, request_id: str = "u1", **fields: Any) -> Story:
    """The sender begins to send three bytes."""
    usual: dict[str, Any] = {
        "kind": "file",
        "lane": "file",
        "digest": f"of {request_id}",
        "sha256": "aa",
        "size_bytes": 3,
        "cut": False,
    }
    return story.begin("client-1", "upload", request_id, **(usual | fields))


def taken(story: Story, request_id: str = "u1", **fields: Any) -> Story:
    """The upload is accepted, handled, and answered."""
    story.accept(request_id, "file").deliver(request_id, lane="file").settling(request_id).store(request_id)
    story.delete(request_id, "file").settled(request_id)
    return story.end(
        "client-1", "upload", request_id, state="succeeded", result_digest=f"result of {request_id}", **fields
    )


def ended(story: Story, phase: Any, reason: str, request_id: str = "u1") -> Story:
    return story.end("client-1", "upload", request_id, phase, reason=reason)


def blob(story: Story, **fields: Any) -> Story:
    usual: dict[str, Any] = {"file_id": "f1", "sha256": "aa", "size_bytes": 3, "referenced": True, "complete": True}
    return story.tell("probe", "final", **(usual | fields))


def begun() -> Story:
    """Something else went well, so that there is something to judge."""
    return Story().cast().task("r1")


def test_what_was_sent_is_there() -> None:
    assert broken(blob(taken(sent(begun())).final("r1", "u1"))) == set()


def test_what_was_accepted_and_is_not_there_is_missing() -> None:
    assert broken(taken(sent(begun())).final("r1", "u1")) == {"P7 missing"}


def test_the_file_of_a_task_that_succeeded_is_there_even_where_its_sender_heard_nothing() -> None:
    def story() -> Story:
        told = ended(sent(begun()).add("u1", "file"), "info", "UNAVAILABLE").deliver("u1", lane="file")
        return told.settling("u1").store("u1").delete("u1", "file").settled("u1").final("r1", "u1")

    assert broken(story()) == {"P7 missing"}
    assert broken(blob(story())) == set()


@pytest.mark.parametrize("reason", ["FILE_MISSING", "FILE_CORRUPT"])
def test_a_task_whose_worker_did_not_find_its_file_lost_it_even_where_its_sender_heard_nothing(reason: str) -> None:
    story = ended(sent(begun()).add("u1", "file"), "info", "UNAVAILABLE").deliver("u1", lane="file")
    story.tell("redis", "store", "u1", state="failed", reason=reason).delete("u1", "file").final("r1")

    assert broken(story.tell("probe", "final", "u1", state="failed", attempts=1, reason=reason)) == {"P7 not_found"}


def test_a_file_whose_sender_stopped_waiting_is_there_all_the_same() -> None:
    story = sent(begun()).accept("u1", "file")
    ended(story, "info", "WAIT_EXPIRED").deliver("u1", lane="file").settling("u1").store("u1").delete("u1", "file")

    assert broken(story.settled("u1").final("r1", "u1")) == {"P7 missing"}


def test_what_is_visible_is_whole() -> None:
    story = taken(sent(begun())).final("r1", "u1")

    assert broken(blob(blob(story), file_id="f2", complete=False)) == {"P7 partial"}


def test_other_bytes_are_not_what_was_sent() -> None:
    story = blob(taken(sent(begun())).final("r1", "u1"))

    assert broken(blob(story, file_id="f2", sha256="bb")) == {"P7 altered"}


def test_another_length_is_not_what_was_sent() -> None:
    story = blob(taken(sent(begun())).final("r1", "u1"))

    assert broken(blob(story, file_id="f2", size_bytes=2)) == {"P7 altered"}


def test_a_sender_who_broke_off_leaves_nothing() -> None:
    story = ended(sent(begun(), cut=True), "info", "CANCELLED").final("r1")

    assert broken(story) == set()
    assert broken(blob(story, referenced=False)) == {"P7 cut_but_visible"}


def test_a_sender_who_broke_off_is_not_accepted() -> None:
    story = taken(sent(sent(begun(), "u2"), cut=True)).final("r1", "u1")
    ended(story, "info", "UNAVAILABLE", "u2")

    assert broken(blob(story)) == {"P7 cut_but_accepted"}


def test_a_refused_file_is_not_there() -> None:
    story = ended(sent(begun()), "fail", "TOO_MANY_REQUESTS").final("r1")

    assert broken(story) == set()
    assert broken(blob(story, referenced=False)) == {"P7 left_over"}


def test_where_nobody_knows_whether_it_was_accepted_a_file_may_be_left() -> None:
    story = ended(sent(begun()), "info", "CRASHED").final("r1")

    assert broken(blob(story, referenced=False)) == set()


def test_a_store_that_is_away_cannot_be_told_to_remove_a_file() -> None:
    for away, found in [("store", set()), ("ingestion-1", {"P7 left_over"})]:
        story = taken(sent(begun()).fault("away", away)).heal().after(60_000).final("r1", "u1")
        assert broken(blob(blob(story), file_id="f2", referenced=False)) == found


def test_a_file_may_outlive_the_record_of_its_task() -> None:
    story = taken(sent(Story(result_ttl_ms=1_000).cast())).after(1_000).task("r1").final("r1")

    assert broken(blob(story, referenced=False)) == set()


def test_a_file_is_not_left_beside_the_one_that_is_used() -> None:
    story = blob(taken(sent(begun())).final("r1", "u1"))

    assert broken(blob(story, file_id="f2", referenced=False)) == {"P7 left_over"}


def test_an_upload_holds_no_more_memory_than_it_may() -> None:
    story = begun().tell("probe", "memory", upload="u1", bytes_held=1_000)

    assert broken(story) == set()
    assert broken(story.tell("probe", "memory", upload="u1", bytes_held=1_001)) == {"P7 memory"}


def test_without_a_bound_memory_is_not_judged() -> None:
    story = Story(upload_bytes_held_max=0).cast().tell("probe", "memory", upload="u1", bytes_held=1_001)

    assert broken(story) == set()


def test_without_a_final_section_nothing_can_be_said_of_uploads() -> None:
    assert outcomes(taken(sent(begun())))["P7"] == "unknown"
    assert outcomes(begun())["P7"] == "valid"
