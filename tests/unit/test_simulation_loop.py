"""Virtual time: it jumps, its order follows from the seed, and nothing real is in reach."""

import asyncio
import collections
import gc
import math
from collections.abc import AsyncIterator, Coroutine
from random import Random
from typing import Any

import pytest

from edgescale.harness.simulation import loop as loop_module
from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.node import EPOCH_MS, Node, SimulatedChance
from edgescale.harness.simulation.order import shuffle
from edgescale.harness.simulation.tasks import Deadlock, Livelock, NotSimulated, SimulationError


def new_loop(seed: int = 1, **options: Any) -> SimulationLoop:
    return SimulationLoop(Random(seed), **options)  # type: ignore[abstract] # the rest is set by name


def run(main: Coroutine[Any, Any, Any], seed: int = 1) -> Any:
    return new_loop(seed).run_until_complete(main)


async def order_of_ten() -> list[int]:
    seen: list[int] = []

    async def step(number: int) -> None:
        await asyncio.sleep(number % 2)
        seen.append(number)

    async with asyncio.TaskGroup() as steps:
        for number in range(10):
            steps.create_task(step(number))
    return seen


def test_time_jumps_to_the_next_timer() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run(main()) == 3600


def test_the_same_seed_gives_the_same_order_and_another_seed_another_one() -> None:
    orders = [run(order_of_ten(), seed) for seed in range(1, 9)]

    assert [run(order_of_ten(), seed) for seed in range(1, 9)] == orders
    assert len({tuple(order) for order in orders}) > 1
    assert all({*order[:5]} == {0, 2, 4, 6, 8} for order in orders)


def orders_of_turns(shuffled: tuple[int, int]) -> list[list[int]]:
    """In which order each turn from the second one on ran its five callbacks."""
    loop = new_loop(shuffled=shuffled)
    orders: list[list[int]] = [[] for _ in range(50)]

    def callback(number: int) -> None:
        if loop.turns < 50:
            orders[loop.turns].append(number)

    async def main() -> None:
        for _ in range(50):
            for number in range(5):
                loop.call_soon(callback, number)
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    return orders[1:]


def test_only_turns_in_the_window_are_shuffled() -> None:
    in_order = [*range(5)]
    everywhere, nowhere, some = (orders_of_turns(window) for window in [(0, -1), (0, 0), (20, 40)])

    assert nowhere == [in_order] * 49
    assert some[:19] + some[39:] == [in_order] * 29
    assert some[19:39] == everywhere[19:39]
    assert everywhere.count(in_order) < 5


def test_a_window_with_a_negative_end_never_ends() -> None:
    everywhere, late = orders_of_turns((0, -1)), orders_of_turns((30, -1))

    assert late[:29] == [[*range(5)]] * 29
    assert late[29:] == everywhere[29:]


def test_a_turns_chance_does_not_depend_on_how_much_was_ready_before() -> None:
    def last_order(crowd: int) -> list[int]:
        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            for _ in range(crowd):
                loop.call_soon(int)
            await asyncio.sleep(1)
            order: list[int] = []
            for number in range(10):
                loop.call_soon(order.append, number)
            await asyncio.sleep(1)
            return order

        order: list[int] = run(main())
        return order

    assert last_order(1) == last_order(7) == last_order(300) != [*range(10)]


@pytest.mark.parametrize("items", [2, 3, 4])
def test_every_order_is_as_likely(items: int) -> None:
    orders: collections.Counter[tuple[int, ...]] = collections.Counter()
    rng = Random(1)
    for _ in range(24_000):
        order = [*range(items)]
        shuffle(order, rng.getrandbits(64))
        orders[tuple(order)] += 1

    expected = 24_000 / math.factorial(items)
    assert len(orders) == math.factorial(items)
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in orders.values())


def test_a_large_turn_is_shuffled_as_well() -> None:
    order = [*range(100)]
    shuffle(order, 7)

    assert order != sorted(order) == [*range(100)]


def test_turns_are_counted() -> None:
    async def main() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    loop = new_loop()
    loop.run_until_complete(main())
    assert loop.turns == 11


def test_what_is_cancelled_does_not_run() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        soon, later = loop.call_soon(ran.append, "soon"), loop.call_later(1, ran.append, "later")
        assert (later.when(), later.cancelled()) == (1.0, False)
        for handle in (soon, later):
            handle.cancel()
            assert handle.cancelled()
        loop.call_at(2, ran.append, "kept")
        await asyncio.sleep(3)
        return ran

    assert run(main()) == ["kept"]


def test_a_generator_that_is_left_early_is_closed_by_the_loop() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            closed.append("closed")

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(0.5)
        assert closed == []
        await asyncio.sleep(1)

    run(main())
    assert closed == ["closed"]


def test_the_garbage_collector_rests_while_a_simulation_runs() -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert run(main()) is False
    assert gc.isenabled()


def test_a_task_has_the_same_name_in_every_run_of_a_process() -> None:
    async def main() -> str:
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        return task.get_name()

    assert run(main()) == run(main())


def test_a_timeout_passes_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    assert run(main()) == 5


def test_sets_of_tasks_are_walked_in_the_order_of_their_making() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0), name=str(number)) for number in range(200)]
        await asyncio.wait(tasks)
        return [task.get_name() for task in {*tasks}]

    assert run(main()) == run(main())


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(main())


def test_going_in_circles_while_time_stands_still_is_a_livelock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "LIVELOCK_TURNS", 1000)

    async def main() -> None:
        while True:  # noqa: ASYNC110 - the circle is the point
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        run(main())


def test_a_run_that_does_not_end_is_given_up() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - a run without an end is the point
            await asyncio.sleep(1)

    with pytest.raises(SimulationError, match="did not end"):
        new_loop(end_ns=10**10).run_until_complete(main())


def methods(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_")]


@pytest.mark.parametrize("name", methods(asyncio.AbstractEventLoop))
def test_every_method_of_an_event_loop_is_simulated_or_refused(name: str) -> None:
    if name not in SimulationLoop.__dict__:
        with pytest.raises(NotSimulated, match=name):
            getattr(new_loop(), name)()


def test_what_is_simulated_is_what_the_services_need() -> None:
    simulated = {*methods(asyncio.AbstractEventLoop)} & {*SimulationLoop.__dict__}

    assert simulated == {
        *("call_at", "call_exception_handler", "call_later", "call_soon", "close", "create_connection"),
        *("create_future", "create_task", "get_debug", "is_closed", "is_running", "run_until_complete", "time"),
    }


@pytest.mark.parametrize(
    "reach",
    [
        lambda: asyncio.to_thread(int),
        lambda: asyncio.open_unix_connection("x"),
        lambda: asyncio.start_server(lambda *_: None, "localhost", 1),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: asyncio.open_connection("localhost", 1),
    ],
    ids=["thread", "unix socket", "server", "process", "connection without a network"],
)
def test_what_is_real_is_out_of_reach(reach: Any) -> None:
    async def main() -> None:
        await reach()

    with pytest.raises(NotSimulated):
        run(main())


def test_an_exception_that_nobody_takes_ends_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run(main())


async def fate_of_a_node(end: str) -> list[str]:
    node = Node(asyncio.get_running_loop(), "node")  # type: ignore[arg-type]
    seen: list[str] = []

    async def live() -> None:
        try:
            await asyncio.sleep(2)
            seen.append("woke")
        finally:
            seen.append("finally")

    node.spawn(live())
    await asyncio.sleep(1)
    getattr(node, end)()
    await asyncio.sleep(5)
    return seen


def test_a_crash_runs_no_further_line_of_the_node() -> None:
    assert run(fate_of_a_node("crash")) == []


def test_a_crash_happens_once() -> None:
    async def main() -> bool:
        node = Node(asyncio.get_running_loop(), "node")  # type: ignore[arg-type]
        node.crash()
        node.crash()
        node.resume()
        return node.running

    assert run(main()) is False


def test_a_frozen_node_does_nothing_until_it_thaws() -> None:
    async def main() -> tuple[list[str], float]:
        node = Node(asyncio.get_running_loop(), "node")  # type: ignore[arg-type]
        woke: list[str] = []

        async def live() -> None:
            await asyncio.sleep(2)
            woke.append("woke")

        node.spawn(live())
        await asyncio.sleep(1)
        node.pause()
        await asyncio.sleep(4)
        assert woke == []
        node.resume()
        await asyncio.sleep(0.001)
        return woke, asyncio.get_running_loop().time()

    woke, seconds = run(main())
    assert woke == ["woke"]
    assert seconds == pytest.approx(5.001)


def test_nodes_have_clocks_of_their_own_and_share_the_passing_of_time() -> None:
    async def main() -> list[tuple[int, int]]:
        loop = asyncio.get_running_loop()
        right = SimulatedChance(loop, Random(1))  # type: ignore[arg-type]
        wrong = SimulatedChance(loop, Random(1), wall_offset_ms=-5_000)  # type: ignore[arg-type]
        before = right.wall_ms(), wrong.wall_ms()
        await asyncio.sleep(1)
        wrong.wall_offset_ms = 60_000
        return [before, (right.wall_ms(), wrong.wall_ms())]

    assert run(main()) == [(EPOCH_MS, EPOCH_MS - 5_000), (EPOCH_MS + 1_000, EPOCH_MS + 61_000)]
