"""The share of a worker's lanes: proportions, the bound on being passed over, idle lanes, closing."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.worker.share import Share, passed_over_max
from tests.parts import turns

WEIGHTS = {"heartbeat": 8, "text": 4, "file": 1}


class Watched(Share):
    """A share that says whom it gave a permit.

    Attributes:
        order: the lanes, in the order in which they were given one.
        asked, got: how many each lane asked for and was given.
        passed_over: how many others were given since a lane has been waiting for its next one.
        worst: the most that this ever was.
    """

    def __init__(self, total: int, weights: Mapping[str, int]) -> None:
        super().__init__(total, weights)
        self.order: list[str] = []
        self.asked: Counter[str] = Counter()
        self.got: Counter[str] = Counter()
        self.passed_over: Counter[str] = Counter()
        self.worst: Counter[str] = Counter()

    def ask(self, lane: str) -> "asyncio.Future[bool]":
        self.asked[lane] += 1
        return super().ask(lane)

    def _grant(self, lane: str) -> None:
        super()._grant(lane)
        self.order.append(lane)
        self.got[lane] += 1
        self.passed_over[lane] = 0
        for other in self.asked:
            if other != lane and self.asked[other] > self.got[other]:
                self.passed_over[other] += 1
        self.worst |= self.passed_over


async def test_lanes_that_always_wait_get_permits_in_proportion_to_their_weights() -> None:
    share = Watched(1, WEIGHTS)
    for lane in WEIGHTS:
        for _ in range(2_000):
            share.ask(lane)
    for _ in range(1_299):
        share.release()
    assert Counter(share.order) == {"heartbeat": 800, "text": 400, "file": 100}


async def test_without_weights_lanes_take_turns_in_the_order_of_their_names() -> None:
    share = Watched(1, {"b": 1, "a": 1, "c": 1})
    for lane in "cbacbacba":
        share.ask(lane)
    for _ in range(8):
        share.release()
    assert "".join(share.order) == "cababcabc"


async def test_a_lane_that_was_idle_has_saved_up_nothing() -> None:
    share = Watched(1, {"busy": 1, "idle": 1})
    for _ in range(50):
        share.ask("busy")
    for _ in range(19):
        share.release()
    for _ in range(20):
        share.ask("idle")
    for _ in range(20):
        share.release()
    assert Counter(share.order[20:]) == {"idle": 10, "busy": 10}


async def test_a_lane_that_runs_alone_owes_the_others_no_more_than_one_turn() -> None:
    share = Watched(2, {"busy": 1, "new": 1})
    for _ in range(40):
        share.ask("busy")
    for _ in range(30):
        share.release()
    share.ask("new")
    share.release()
    share.release()
    assert "new" in share.order[-2:]


@given(
    weights=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 12), min_size=2),
    total=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 25), st.integers(0, 25)), max_size=40),
)
def test_a_waiting_lane_is_passed_over_no_more_often_than_the_bound_says(
    weights: dict[str, int], total: int, steps: list[tuple[str, int, int]]
) -> None:
    async def scenario() -> None:
        share, released = Watched(total, weights), 0
        for lane, asked, ended in steps:
            for _ in range(asked if lane in weights else 0):
                share.ask(lane)
            freed = min(ended, len(share.order) - released)
            released += freed
            share.release(freed)
            assert all(share.worst[other] <= passed_over_max(other, weights) for other in weights)

    asyncio.run(scenario())


async def test_the_bound_is_reached_and_so_is_no_larger_than_it_must_be() -> None:
    weights = {"a": 8, "b": 1}
    share = Watched(1, weights)
    share.ask("b")
    for _ in range(20):
        share.ask("a")
    share.ask("b")
    for _ in range(10):
        share.release()
    assert share.worst["b"] == passed_over_max("b", weights) == 9


@pytest.mark.parametrize("lane", WEIGHTS)
async def test_the_bound_is_never_more_than_the_total_weight_over_the_lanes_own_and_one_for_each_further_lane(
    lane: str,
) -> None:
    assert passed_over_max(lane, WEIGHTS) <= sum(WEIGHTS.values()) // WEIGHTS[lane] + len(WEIGHTS) - 2
    assert passed_over_max("file", WEIGHTS) == 9 + 5


async def test_all_free_permits_are_taken_at_once_but_no_more_than_asked_for() -> None:
    share = Share(5, WEIGHTS)
    assert await share.take("text", 3) == 3
    assert await share.take("text", 9) == 2


async def test_nobody_takes_more_than_one_while_others_wait() -> None:
    share = Share(2, {"a": 1, "b": 1})
    assert await share.take("a", 2) == 2
    takers = [asyncio.create_task(share.take(lane, 2)) for lane in "ab"]
    await turns()
    share.release(2)
    assert await asyncio.gather(*takers) == [1, 1]


async def test_within_a_lane_who_asked_first_is_first() -> None:
    share = Share(1, {"a": 1})
    assert await share.take("a", 1) == 1
    served: list[str] = []

    async def take(name: str) -> None:
        await share.take("a", 1)
        served.append(name)
        share.release()

    takers = [asyncio.create_task(take(name)) for name in ("first", "second")]
    await turns()
    share.release()
    await asyncio.gather(*takers)
    assert served == ["first", "second"]


@pytest.mark.parametrize("granted", ["in vain", "too late"])
async def test_who_gives_up_takes_no_permit_along(granted: str) -> None:
    share = Share(1, {"a": 1, "b": 1})
    await share.take("a", 1)
    waiting = asyncio.create_task(share.take("a", 1))
    await turns()
    if granted == "too late":
        share.release()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    if granted == "in vain":
        share.release()
    assert await asyncio.wait_for(share.take("b", 2), 1) == 1


async def test_closing_answers_all_who_wait_with_none_and_nobody_waits_from_then_on() -> None:
    share = Share(1, {"a": 1, "b": 1})
    await share.take("a", 1)
    waiting = [asyncio.create_task(share.take(lane, 1)) for lane in "aabb"]
    await turns()
    share.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 1) == [0, 0, 0, 0]
    assert await asyncio.wait_for(share.take("b", 1), 1) == 0
    share.release()


async def test_a_permit_that_is_given_back_twice_is_a_defect() -> None:
    share = Share(1, {"a": 1})
    await share.take("a", 1)
    share.release()
    with pytest.raises(AssertionError, match="twice"):
        share.release()
