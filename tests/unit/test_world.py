"""The real services in simulation: one seed, one history; a crash and a restart cost nobody an answer."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from edgescale.config import Settings
from edgescale.errors import Unavailable
from edgescale.handlers.base import Completed, Context, Handler, Outcome
from edgescale.harness.simulation.node import SimulatedChance
from edgescale.harness.simulation.server import PLACES
from edgescale.harness.simulation.services import Ingestion, Parts
from edgescale.harness.simulation.world import World
from edgescale.v1.ingestion_service_pb2 import AnalyzeTextRequest, AnalyzeTextResponse
from edgescale.v1.task_pb2 import TASK_STATE_SUCCEEDED, TaskResult
from edgescale.v1.text_pb2 import TextAnalysis, TextInput

SETTINGS = Settings(
    lease_ms=2_000,
    sweep_ms=300,
    redis_block_ms=200,
    inbox_recheck_ms=1_000,
    worker_lanes={"text": 8},
    lane_cap=1_000,
)
CLIENTS = 60
DEADLINE_S = 25.0


class Counting:
    """Counts the characters of a text, after a while."""

    kind = lane = "text"

    def __init__(self, chance: SimulatedChance) -> None:
        self._chance = chance

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        del context
        await asyncio.sleep(self._chance.uniform(0.001, 0.2))
        analysis = TextAnalysis(characters=len(TextInput.FromString(payload).text))
        return Completed(TaskResult(text_analysis=analysis).SerializeToString(deterministic=True))


def handlers(parts: Parts) -> list[Handler]:
    return [Counting(parts.chance)]


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    """Nodes are left in the midst of their work; collecting them would run what a crash must not run."""
    gc.disable()
    yield
    gc.enable()


async def ask(world: World, ingestion: Ingestion, number: int) -> AnalyzeTextResponse:
    await asyncio.sleep(world.rng(f"arrival-{number}").uniform(0, 5))
    request = AnalyzeTextRequest(input=TextInput(text="x" * (number + 1)), request_id=f"r{number}")
    method = ingestion.service.AnalyzeText
    answer: AnalyzeTextResponse = await world.rpc.call(
        f"client-{number}", ingestion.node, method, request, timeout_s=DEADLINE_S
    )
    return answer


def world_with(seed: int, trouble: Any) -> tuple[World, list[AnalyzeTextResponse]]:
    world = World(seed, SETTINGS, handlers)
    answers: list[AnalyzeTextResponse] = []

    async def story(world: World) -> None:
        ingestion = world.start_ingestion("ingestion-1")
        world.start_worker("worker-1")
        world.start_worker("worker-2")
        await ingestion.inbox.ready.wait()
        asking = [asyncio.create_task(ask(world, ingestion, number)) for number in range(CLIENTS)]
        await trouble(world)
        answers.extend(await asyncio.gather(*asking))

    world.run(story)
    return world, answers


async def none(_: World) -> None:
    """Nothing happens."""


async def a_worker_dies(world: World) -> None:
    await asyncio.sleep(2)
    world.crash(world.workers["worker-1"].node)
    await asyncio.sleep(1)
    world.start_worker("worker-1")


async def a_worker_falls_silent(world: World) -> None:
    await asyncio.sleep(2)
    world.crash(world.workers["worker-1"].node, silent=True)


async def a_worker_freezes(world: World) -> None:
    await asyncio.sleep(1)
    world.workers["worker-1"].node.pause()
    await asyncio.sleep(3)
    world.workers["worker-1"].node.resume()


async def redis_restarts(world: World) -> None:
    await asyncio.sleep(2)
    world.server.stop()
    await world.server.start(keep="aof", loading_ms=300)


async def redis_is_flushed(world: World) -> None:
    await asyncio.sleep(2)
    world.server.feed(b"FLUSHALL")


async def redis_has_no_places(world: World) -> None:
    await asyncio.sleep(2)
    world.server.places = 1
    world.server.model.kill_sessions()
    await asyncio.sleep(2)
    assert len(world.server.model.sessions) == 1
    assert any(event.text("name") == "turned_away" for event in world.recorder.events)
    world.server.places = PLACES


TROUBLES = [
    none,
    a_worker_dies,
    a_worker_falls_silent,
    a_worker_freezes,
    redis_restarts,
    redis_is_flushed,
    redis_has_no_places,
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_every_caller_gets_its_own_answer(seed: int, trouble: Any) -> None:
    _, answers = world_with(seed, trouble)

    assert [answer.task.state for answer in answers] == [TASK_STATE_SUCCEEDED] * CLIENTS
    assert [answer.task.result.text_analysis.characters for answer in answers] == [*range(1, CLIENTS + 1)]


def lines(world: World) -> list[str]:
    return [event.line() for event in world.recorder.events]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_one_seed_replays_one_history_and_another_seed_another_one(trouble: Any) -> None:
    first, second, other = (world_with(seed, trouble)[0] for seed in (7, 7, 8))

    assert lines(first) == lines(second)
    assert lines(first) != lines(other)


def test_a_frozen_workers_outcome_is_fenced_when_it_thaws() -> None:
    statuses = {
        event.text("status")
        for seed in range(5)
        for event in world_with(seed, a_worker_freezes)[0].recorder.events
        if event.operation == "settle" and event.phase == "ok"
    }

    assert {"settled"} < statuses <= {"settled", "superseded", "lost"}


@pytest.mark.parametrize(("silent", "reborn", "told"), [(False, False, 0.1), (True, False, 3.0), (True, True, 1.1)])
def test_who_calls_an_ingestion_that_is_gone_hears_so_as_its_kernel_tells(
    silent: bool,  # noqa: FBT001 - a parameter of the test
    reborn: bool,  # noqa: FBT001 - as above
    told: float,
) -> None:
    """A dead process at once; a machine that is gone when it is back, or never."""
    heard: list[float] = []

    async def story(world: World) -> None:
        ingestion = world.start_ingestion("ingestion-1")
        await ingestion.inbox.ready.wait()
        world.crash(ingestion.node, silent=silent)
        began_s = world.loop.time()
        request = AnalyzeTextRequest(input=TextInput(text="x"), request_id="r")
        call = world.rpc.call("client", ingestion.node, ingestion.service.AnalyzeText, request, timeout_s=3)
        calling = asyncio.create_task(call)
        await asyncio.sleep(1)
        if reborn:
            world.start_again(ingestion.node)
        with pytest.raises((Unavailable, TimeoutError)) as raised:
            await calling
        assert isinstance(raised.value, TimeoutError) is (silent and not reborn)
        heard.append(world.loop.time() - began_s if silent else 0.0)

    World(1, SETTINGS, handlers).run(story)

    assert heard[0] <= told
