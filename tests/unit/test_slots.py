"""A lane's slots: how many are taken, by whom first, and what closing does."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from edgescale.worker.places import Slots
from tests.parts import turns


async def test_all_free_slots_are_taken_at_once_but_no_more_than_asked_for() -> None:
    slots = Slots(5)
    assert await slots.take(3) == 3
    assert await slots.take(9) == 2


async def test_a_taker_waits_until_a_slot_is_free() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = asyncio.create_task(slots.take(4))
    await turns()
    assert not waiting.done()
    slots.release()
    assert await waiting == 1


async def test_whoever_waits_longest_is_served_first() -> None:
    slots = Slots(1)
    await slots.take(1)
    served: list[str] = []

    async def take(name: str) -> None:
        await slots.take(1)
        served.append(name)
        slots.release()

    takers = [asyncio.create_task(take(name)) for name in ("reclaimer", "fetcher")]
    await turns()
    slots.release()
    await asyncio.gather(*takers)
    assert served == ["reclaimer", "fetcher"]


async def test_a_greedy_taker_leaves_slots_to_those_who_wait() -> None:
    slots = Slots(3)
    await slots.take(3)
    first, second = (asyncio.create_task(slots.take(3)) for _ in range(2))
    await turns()
    slots.release(3)
    assert sorted(await asyncio.gather(first, second)) == [1, 2]


async def test_nobody_overtakes_a_taker_who_was_woken_but_has_not_run_yet() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = asyncio.create_task(slots.take(1))
    await turns()
    slots.release()
    late = asyncio.create_task(slots.take(1))
    assert await waiting == 1
    assert not late.done()
    late.cancel()


async def test_a_taker_who_gives_up_takes_no_slot_along() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = asyncio.create_task(slots.take(1))
    await turns()
    slots.release()
    waiting.cancel()
    await turns()
    assert await asyncio.wait_for(slots.take(1), 1) == 1


async def test_closing_answers_all_who_wait_and_all_who_come_later_with_none() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = [asyncio.create_task(slots.take(1)) for _ in range(3)]
    await turns()
    slots.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 1) == [0, 0, 0]
    assert await asyncio.wait_for(slots.take(1), 1) == 0
    slots.release()
    assert await asyncio.wait_for(slots.take(1), 1) == 0


@given(total=st.integers(1, 6), asked=st.lists(st.integers(1, 8), max_size=12), freed=st.lists(st.integers(0, 11)))
def test_no_more_slots_are_taken_than_there_are_and_none_is_free_while_somebody_waits(
    total: int, asked: list[int], freed: list[int]
) -> None:
    async def scenario() -> None:
        slots = Slots(total)
        takers = [asyncio.create_task(slots.take(most)) for most in asked]
        held: dict[int, int] = {}
        gone: set[int] = set()
        for number in freed:
            await turns()
            held = {index: taker.result() for index, taker in enumerate(takers) if taker.done() and index not in gone}
            assert sum(held.values()) <= total
            assert sum(held.values()) == total or all(taker.done() for taker in takers)
            assert all(1 <= count <= asked[index] for index, count in held.items())
            if number in held:
                gone.add(number)
                slots.release(held[number])
        for taker in takers:
            taker.cancel()
        await asyncio.gather(*takers, return_exceptions=True)

    asyncio.run(scenario())
