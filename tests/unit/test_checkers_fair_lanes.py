"""P11: each test tells a history; broken ones break this rule and no other. Text weighs 2, file and heartbeat 1."""

import pytest

from tests.support_history import ONE, TWO, Story, broken

LANES = {"text": 4, "file": 4, "heartbeat": 4}


def story(slots_max: int = 2) -> Story:
    return Story(slots=LANES, slots_max=slots_max, weights={"text": 2}).cast()


def waits(told: Story, lane: str, actor: str = ONE) -> Story:
    return told.begin(actor, "line", lane, lane=lane)


def permits(told: Story, *lanes: str, actor: str = ONE) -> Story:
    for lane in lanes:
        told.tell(actor, "permit", lane=lane)
    return told


@pytest.mark.parametrize(
    ("lane", "others", "rules"),
    [
        ("file", ["text", "text", "text", "heartbeat", "heartbeat"], set()),
        ("file", ["text", "text", "text", "heartbeat", "heartbeat", "text"], {"P11 passed_over"}),
        ("text", ["file", "heartbeat"], set()),
        ("text", ["file", "heartbeat", "file"], {"P11 passed_over"}),
    ],
)
def test_a_lane_that_waits_is_passed_over_as_often_as_the_weights_say_and_no_more(
    lane: str, others: list[str], rules: set[str]
) -> None:
    told = permits(waits(story(), lane), *others, lane)

    assert broken(told.end(ONE, "line", lane).final()) == rules


def test_a_lane_that_is_never_served_is_passed_over_too() -> None:
    assert broken(permits(waits(story(), "text"), *["file"] * 3).final()) == {"P11 passed_over"}


def test_each_permit_of_its_own_begins_the_count_anew() -> None:
    told = waits(waits(story(), "text"), "text")
    told = permits(told, "file", "heartbeat", "text", "file", "heartbeat", "text")

    assert broken(told.final()) == set()


def test_what_others_are_given_while_a_lane_does_not_wait_is_not_counted() -> None:
    told = permits(story(), *["file"] * 9)
    told = permits(waits(told, "text"), "file", "heartbeat", "text").end(ONE, "line", "text")

    assert broken(permits(told, *["file"] * 9).final()) == set()


def test_each_worker_has_a_line_of_its_own() -> None:
    told = permits(waits(story(), "text"), "file", "file", actor=TWO)

    assert broken(permits(told, "file", "heartbeat", "text").end(ONE, "line", "text").final()) == set()


def test_a_request_that_was_withdrawn_is_not_judged() -> None:
    told = permits(waits(story(), "text"), *["file"] * 9)

    assert broken(told.end(ONE, "line", "text", "fail").final()) == set()


def running(told: Story, *request_ids: str, actor: str = ONE) -> Story:
    for request_id in request_ids:
        told.begin(actor, "handle", request_id)
    return told


def test_no_more_tasks_run_at_once_than_the_worker_may() -> None:
    told = running(running(story(), "r1", "r2"), "r3", actor=TWO)
    told.end(ONE, "handle", "r1", "fail")

    assert broken(running(told, "r4").final()) == set()
    assert broken(running(told, "r5").final()) == {"P11 over_limit"}


def test_without_a_limit_nothing_is_judged() -> None:
    told = permits(waits(story(slots_max=0), "text"), *["file"] * 9)

    assert broken(running(told, "r1", "r2", "r3").final()) == set()
