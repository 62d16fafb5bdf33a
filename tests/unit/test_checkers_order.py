"""P10: each test tells a history; broken ones break this rule and no other."""

from typing import Any

import pytest

from tests.support_history import ONE, TWO, Story, broken


class Line(Story):
    """A story of tasks of one key, `k`; an entry that is added has waited where it is told so."""

    def come(self, *request_ids: str) -> "Line":
        """The first goes into the stream, the others wait."""
        for number, request_id in enumerate(request_ids):
            self.submit(request_id, ordering_key="k")
            self.wait(request_id) if number else self.accept(request_id)
        return self

    def wait(self, request_id: str, **fields: Any) -> "Line":
        self._places[request_id] = f"{int(self.now_ms)}-0"
        return self._told("wait", request_id, **fields)

    def turn(self, request_id: str, **fields: Any) -> "Line":
        return self._told("turn", request_id, **fields)

    def _told(self, operation: str, request_id: str, **fields: Any) -> "Line":
        self.tell("redis", operation, request_id, lane="text", place=self._places[request_id], **fields)
        return self

    def done(self, request_id: str, following: str = "", worker: str = ONE) -> "Line":
        """Taken, done, and the next one let go at the moment it ends."""
        self.deliver(request_id, worker).handle(request_id, worker)
        self.settling(request_id, worker).store(request_id)
        if following:
            self.turn(following)
            self.now_ms -= self._tick_ms
        self.delete(request_id)
        if following:
            self.now_ms -= self._tick_ms
            self.add(following)
        self.settled(request_id, worker).answer(request_id)
        return self

    _places: dict[str, str]

    @classmethod
    def of(cls, *request_ids: str, **terms: int) -> "Line":
        story = cls(**terms)
        story._places = {}
        story.cast()
        return story.come(*request_ids)


def test_one_after_the_other_is_in_order() -> None:
    story = Line.of("k:1", "k:2", "k:3").done("k:1", "k:2").done("k:2", "k:3", TWO).done("k:3")

    assert broken(story.final("k:1", "k:2", "k:3")) == set()


def test_of_one_key_only_one_is_in_the_stream() -> None:
    story = Line.of("k:1").submit("k:2", ordering_key="k").accept("k:2")
    for request_id in ("k:1", "k:2"):
        story.deliver(request_id).handle(request_id).settle(request_id).answer(request_id)

    assert broken(story.final("k:1", "k:2")) == {"P10 two_at_once"}


def test_tasks_of_other_keys_and_of_none_may_be_there() -> None:
    story = Line.of("k:1").submit("j:1", ordering_key="j").accept("j:1").submit("r1").accept("r1")
    for request_id in ("k:1", "j:1", "r1"):
        story.deliver(request_id).handle(request_id).settle(request_id).answer(request_id)

    assert broken(story.final("k:1", "j:1", "r1")) == set()


def test_nobody_is_let_go_before_one_that_was_accepted_earlier() -> None:
    story = Line.of("k:1", "k:2", "k:3").done("k:1", "k:3").done("k:3", "k:2").done("k:2")

    assert broken(story.final("k:1", "k:2", "k:3")) == {"P10 out_of_turn"}


def test_nobody_goes_past_those_who_wait() -> None:
    story = Line.of("k:1", "k:2")
    story.deliver("k:1").handle("k:1").settling("k:1").store("k:1").delete("k:1", why="lost").settled("k:1").answer(
        "k:1"
    )
    story.submit("k:3", ordering_key="k").accept("k:3")
    story.done("k:3", "k:2")
    story.done("k:2")

    assert broken(story.final("k:1", "k:2", "k:3")) == {"P10 out_of_turn"}


def test_whoever_ends_lets_the_next_one_go_at_once() -> None:
    story = Line.of("k:1", "k:2").done("k:1")
    story.turn("k:2").add("k:2")
    assert isinstance(story, Line)

    assert broken(story.done("k:2").final("k:1", "k:2")) >= {"P10 held_up"}


def test_a_handler_does_not_begin_while_another_one_of_the_key_is_at_work() -> None:
    story = Line.of("k:1").deliver("k:1")
    story.begin(ONE, "handle", "k:1", entry=story.entry("k:1"), attempt=1, consumer=ONE)
    story.delete("k:1").submit("k:2", ordering_key="k").accept("k:2").deliver("k:2", TWO).handle("k:2", TWO)
    story.end(ONE, "handle", "k:1")

    assert "P10 overlap" in broken(story)


def test_but_where_its_task_has_ended_already() -> None:
    story = Line.of("k:1").deliver("k:1")
    story.begin(ONE, "handle", "k:1", entry=story.entry("k:1"), attempt=1, consumer=ONE)
    story.cancel("k:1").submit("k:2", ordering_key="k").accept("k:2").deliver("k:2", TWO).handle("k:2", TWO)
    story.end(ONE, "handle", "k:1")

    assert not {rule for rule in broken(story) if rule.startswith("P10")}


def test_or_where_it_begins_before_its_worker_has_heard_of_the_end() -> None:
    story = Line.of("k:1").deliver("k:1").cancel("k:1")
    story.submit("k:2", ordering_key="k").accept("k:2").deliver("k:2", TWO)
    story.begin(TWO, "handle", "k:2", entry=story.entry("k:2"), attempt=1, consumer=TWO).handle("k:1")

    assert not {rule for rule in broken(story.end(TWO, "handle", "k:2")) if rule.startswith("P10")}


def test_or_where_its_worker_has_died_even_when_its_task_is_replayed() -> None:
    story = Line.of("k:1").deliver("k:1")
    story.begin(ONE, "handle", "k:1", entry=story.entry("k:1"), attempt=1, consumer=ONE).nemesis("crash", ONE)
    story.store("k:1", "dead_lettered").delete("k:1").replay("k:1").delete("k:1")
    story.submit("k:2", ordering_key="k").accept("k:2").deliver("k:2", TWO).handle("k:2", TWO)

    assert not {rule for rule in broken(story) if rule.startswith("P10")}


@pytest.mark.parametrize("first", ["k:1", "k:2"])
def test_or_where_redis_lost_the_entry_before_its_worker_was_told_of_it(first: str) -> None:
    story = Line.of("k:1").tell("redis", "lost", what="all").delete("k:1", why="lost")
    story.submit("k:2", ordering_key="k").accept("k:2").deliver("k:2", TWO).deliver("k:1")
    for request_id, worker in sorted([("k:1", ONE), ("k:2", TWO)], reverse=first == "k:2"):
        story.begin(worker, "handle", request_id, entry=story.entry(request_id), attempt=1, consumer=worker)

    assert not {rule for rule in broken(story) if rule.startswith("P10")}


def test_what_redis_brings_back_comes_stream_by_stream() -> None:
    story = Line.of("k:1", "k:2")
    story.turn("k:2", why="lost").delete("k:1", why="lost").add("k:1", why="restored")
    assert isinstance(story, Line)
    story.wait("k:2", why="restored")
    story.done("k:1", "k:2").done("k:2")

    assert not {rule for rule in broken(story.final("k:1", "k:2")) if rule.startswith("P10")}


def test_those_who_wait_are_in_the_lane_too() -> None:
    story = Line.of("k:1", "k:2", "k:3", "k:4").done("k:1", "k:2").done("k:2", "k:3").done("k:3", "k:4").done("k:4")

    assert broken(story.final("k:1", "k:2", "k:3", "k:4")) == {"P3 over_cap"}
