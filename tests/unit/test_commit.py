"""Group commit: who shares a round trip, who gets which reply, and what one bad item does to the others."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from edgescale.broker.commit import GroupCommit
from edgescale.errors import BrokerUnavailable, EdgeScaleError, InternalError
from tests.support import all_of

Flush = Callable[[Sequence[str]], Awaitable[Sequence[str]]]


class Server:
    """Answers `x` with `reply to x`, one call at a time, when `gate` is open."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: dict[str, BaseException] = {}

    async def flush(self, items: Sequence[str]) -> list[str]:
        self.calls.append(list(items))
        await self.gate.wait()
        for item in items:
            if item in self.bad:
                raise self.bad[item]
        return [f"reply to {item}" for item in items]


@pytest.fixture
def server() -> Server:
    return Server()


async def turns(count: int = 5) -> None:
    """Let everything run that can run without waiting for anything."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_item_goes_out_at_once(server: Server) -> None:
    commit = GroupCommit(server.flush)
    call = asyncio.create_task(commit("a"))
    await turns(2)
    assert server.calls == [["a"]]
    assert await call == "reply to a"


async def test_items_of_one_loop_turn_share_a_call_in_their_order(server: Server) -> None:
    commit = GroupCommit(server.flush)
    replies = await asyncio.gather(*(commit(item) for item in "cab"))
    assert server.calls == [["c", "a", "b"]]
    assert replies == ["reply to c", "reply to a", "reply to b"]


async def test_items_given_while_a_call_is_under_way_share_the_next_one(server: Server) -> None:
    commit = GroupCommit(server.flush)
    server.gate.clear()
    first = asyncio.create_task(commit("a"))
    await turns()
    later = [asyncio.create_task(commit(item)) for item in "bcd"]
    await turns()
    assert server.calls == [["a"]], "calls must not overlap: a later batch could overtake an earlier one"
    server.gate.set()
    assert await asyncio.gather(first, *later) == ["reply to a", "reply to b", "reply to c", "reply to d"]
    assert server.calls == [["a"], ["b", "c", "d"]]


async def test_a_call_carries_no_more_than_its_number_of_items(server: Server) -> None:
    commit = GroupCommit(server.flush, items_max=2)
    await asyncio.gather(*(commit(item) for item in "abcde"))
    assert server.calls == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_call_carries_no_more_than_its_weight(server: Server) -> None:
    commit = GroupCommit(server.flush, weigh=len, weight_max=5)
    await asyncio.gather(*(commit(item) for item in ("aa", "bbb", "c", "dddd", "e")))
    assert server.calls == [["aa", "bbb"], ["c", "dddd"], ["e"]]


async def test_an_item_heavier_than_a_call_goes_alone(server: Server) -> None:
    commit = GroupCommit(server.flush, weigh=len, weight_max=3)
    await asyncio.gather(*(commit(item) for item in ("a", "bbbbbbbb", "c")))
    assert server.calls == [["a"], ["bbbbbbbb"], ["c"]]


async def test_a_cancelled_caller_does_not_stop_the_round_trip(server: Server) -> None:
    commit = GroupCommit(server.flush)
    server.gate.clear()
    cancelled, kept = asyncio.create_task(commit("a")), asyncio.create_task(commit("b"))
    await turns()
    cancelled.cancel()
    await turns()
    server.gate.set()
    assert await kept == "reply to b"
    assert server.calls == [["a", "b"]], "one call, neither broken off nor repeated"


async def test_an_item_whose_caller_is_cancelled_is_sent_all_the_same(server: Server) -> None:
    commit = GroupCommit(server.flush)
    server.gate.clear()
    first, second = asyncio.create_task(commit("a")), asyncio.create_task(commit("b"))
    third = asyncio.create_task(commit("c"))
    await turns()
    second.cancel()
    server.gate.set()
    await asyncio.gather(first, third)
    assert [item for call in server.calls for item in call] == ["a", "b", "c"]


async def test_a_storm_of_cancellations_never_hands_a_reply_to_the_wrong_caller(server: Server) -> None:
    dice = random.Random(7)

    async def flush(items: Sequence[str]) -> list[str]:
        await turns(dice.randrange(4))
        return await server.flush(items)

    commit = GroupCommit(flush, items_max=7)
    calls: list[tuple[str, asyncio.Task[str]]] = []
    for number in range(2_000):
        calls.append((str(number), asyncio.create_task(commit(str(number)))))
        dice.choice(calls)[1].cancel()
        if dice.random() < 0.2:
            await turns(1)
    outcomes = await all_of([task for _, task in calls])
    answered = 0
    for (item, _), outcome in zip(calls, outcomes, strict=True):
        if not isinstance(outcome, asyncio.CancelledError):
            assert outcome == f"reply to {item}"
            answered += 1
    assert 100 < answered < 1_900


async def test_an_absent_server_fails_all_who_wait_at_once_and_nobody_after_them(server: Server) -> None:
    commit = GroupCommit(server.flush, items_max=2)
    server.bad["a"] = BrokerUnavailable("away")
    outcomes = await all_of([commit(item) for item in "abcde"])
    assert outcomes == [server.bad["a"]] * 5
    assert await commit("f") == "reply to f"


@pytest.mark.parametrize("trouble", [InternalError(), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate")])
async def test_an_item_that_cannot_be_sent_does_not_take_its_neighbours_along(
    server: Server, trouble: Exception
) -> None:
    commit = GroupCommit(server.flush)
    server.bad["b"] = trouble
    outcomes = await all_of([commit(item) for item in "abc"])
    assert outcomes[0] == "reply to a"
    assert outcomes[2] == "reply to c"
    assert isinstance(outcomes[1], InternalError)
    assert trouble in {outcomes[1], outcomes[1].__cause__}, "the log needs the cause"


async def test_a_defect_leaves_nobody_waiting(server: Server) -> None:
    commit = GroupCommit(server.flush)
    server.gate.clear()
    server.bad["a"] = ZeroDivisionError("a defect")
    first = asyncio.create_task(commit("a"))
    await turns()
    second = asyncio.create_task(commit("b"))
    await turns()
    server.gate.set()
    outcomes = await asyncio.wait_for(all_of([first, second]), 1)
    assert isinstance(outcomes[0], InternalError)
    assert outcomes[1] == "reply to b"


@pytest.mark.parametrize("replies", [[], ["one"], ["one", "two", "three"]])
async def test_a_wrong_number_of_replies_is_never_guessed_at(replies: list[str]) -> None:
    async def flush(items: Sequence[str]) -> list[str]:
        return replies if len(items) == 2 else replies[:0]

    commit = GroupCommit(flush)
    outcomes = await asyncio.wait_for(all_of([commit("a"), commit("b")]), 1)
    assert [type(outcome) for outcome in outcomes] == [InternalError, InternalError]


async def test_callers_are_released_when_the_loop_closes(server: Server) -> None:
    commit = GroupCommit(server.flush, items_max=1)
    server.gate.clear()
    present = asyncio.all_tasks()
    calls = [asyncio.ensure_future(commit(item)) for item in "ab"]
    await turns()
    [flusher] = asyncio.all_tasks() - present - set(calls)
    flusher.cancel()
    outcomes = await asyncio.wait_for(all_of(calls), 1)
    assert all(isinstance(outcome, EdgeScaleError) for outcome in outcomes)


async def test_it_works_again_after_a_pause(server: Server) -> None:
    commit = GroupCommit(server.flush)
    await commit("a")
    await turns()
    assert await commit("b") == "reply to b"


async def test_draining_waits_for_everything_given_so_far(server: Server) -> None:
    commit = GroupCommit(server.flush, items_max=1)
    server.gate.clear()
    calls = [asyncio.create_task(commit(item)) for item in "abc"]
    await turns()
    drained = asyncio.create_task(commit.drain())
    await turns()
    assert not drained.done()
    server.gate.set()
    await asyncio.wait_for(drained, 1)
    assert server.calls == [["a"], ["b"], ["c"]]
    await asyncio.gather(*calls)


async def test_draining_without_items_returns_at_once(server: Server) -> None:
    await asyncio.wait_for(GroupCommit(server.flush).drain(), 1)
    assert server.calls == []
