"""The gateway in simulation: it answers as ingestion does, whatever dies, and waits for nobody who has gone."""

import asyncio
import hashlib
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from edgescale import gateway
from edgescale.errors import (
    Conflict,
    EdgeScaleError,
    LaneFull,
    NotFound,
    NotServing,
    TaskFailed,
    Unavailable,
    WaitExpired,
)
from edgescale.harness.clients.clients import Answer
from edgescale.harness.clients.http_call import HttpCall
from edgescale.harness.clients.rest import fetch_task, send_heartbeat, submit_text, upload_file
from edgescale.harness.simulation.gateway import SETTINGS
from edgescale.harness.simulation.http import http_call
from edgescale.harness.simulation.packets import Packet, Verdict
from edgescale.harness.simulation.world import World
from edgescale.v1.ingestion_service_pb2 import GetTaskRequest
from tests.gateway_world import gateway_of, lines, run_world, sooner_or_later, under_way, undisturbed
from tests.unit.test_world import TROUBLES, redis_is_flushed

Trouble = Callable[[World], Awaitable[None]]
KIB = 1024
CLIENTS = 24


@pytest.fixture(autouse=True)
def _undisturbed() -> Iterator[None]:
    with undisturbed():
        yield


# --- all kinds of requests, all kinds of troubles ---------------------------------------------------------------------


def calling(world: World) -> HttpCall:
    return partial(http_call, world, "client", gateway_of(world))


async def text(
    world: World, script: str, request_id: str = "r", *, deadline_s: float = 20, respond_async: bool = False
) -> Answer:
    return await submit_text(
        calling(world),
        script,
        request_id=request_id,
        deadline_s=deadline_s,
        respond_async=respond_async,
    )


async def beat(world: World, request_id: str, sequence: int) -> Answer:
    members = {"agent_id": "press-4", "sequence": sequence, "metrics": {"celsius": 61.5}}
    return await send_heartbeat(calling(world), members, request_id=request_id, deadline_s=5)


async def file(
    world: World, request_id: str, size_bytes: int, *, cut_after_bytes: int | None = None, declare_size: bool = False
) -> Answer:
    content = request_id.encode() * (size_bytes // len(request_id))
    return await upload_file(
        calling(world),
        content,
        request_id=request_id,
        name="ü.bin",
        deadline_s=20,
        cut_after_bytes=cut_after_bytes,
        declare_size=declare_size,
    )


async def fetched(world: World, request_id: str, wait_s: float = 10) -> Answer:
    return await fetch_task(calling(world), request_id, wait_s=wait_s, deadline_s=wait_s + 5)


async def fetched_over_grpc(world: World, request_id: str) -> Answer:
    life = world.ingestions["ingestion-1"]
    reply = await world.rpc.call(
        "client", life.node, life.service.GetTask, GetTaskRequest(request_id=request_id), timeout_s=5
    )
    return Answer.of(reply.task)


async def either(attempt: Awaitable[Answer]) -> Answer | type[EdgeScaleError]:
    """The answer, or what kind of error there was in place of it."""
    try:
        return await attempt
    except EdgeScaleError as error:
        return type(error)


async def one_of_each_kind(world: World, number: int) -> tuple[str, Answer]:
    await asyncio.sleep(world.rng(f"arrival-{number}").uniform(0, 5))
    request_id = f"r{number:02}"
    attempts: list[Callable[[], Awaitable[Answer]]] = [
        lambda: text(world, f"work {10 * number}", request_id),
        lambda: beat(world, request_id, number),
        lambda: file(world, request_id, number * 20 * KIB),
    ]
    return request_id, await sooner_or_later(attempts[number % 3])


def day(seed: int, trouble: Trouble) -> World:
    """Clients send something of each kind, and find the same afterwards whichever way they ask."""

    async def story(world: World) -> None:
        sending = [asyncio.create_task(one_of_each_kind(world, number)) for number in range(CLIENTS)]
        await trouble(world)
        for request_id, answer in await asyncio.gather(*sending):
            found = await either(fetched(world, request_id))
            assert found == await either(fetched_over_grpc(world, request_id))
            if isinstance(found, Answer):
                assert found.state == "succeeded"
                assert answer in {found, Answer("queued")}
            else:
                assert (found, trouble) == (NotFound, redis_is_flushed)

    return run_world(seed, story)[0]


async def an_ingestion_dies(world: World) -> None:
    await asyncio.sleep(2)
    node = world.node("ingestion-1")
    world.crash(node)
    await asyncio.sleep(1)
    world.start_again(node)


async def a_gateway_dies(world: World) -> None:
    await asyncio.sleep(2)
    node = world.node("gateway-1")
    world.crash(node)
    await asyncio.sleep(0.5)
    world.start_again(node)


async def a_gateway_freezes(world: World) -> None:
    await asyncio.sleep(1)
    world.node("gateway-1").pause()
    await asyncio.sleep(2)
    world.node("gateway-1").resume()


async def a_gateway_is_restarted(world: World) -> None:
    await asyncio.sleep(2)
    node = world.node("gateway-1")
    await world.stop("gateway-1")
    world.start_again(node)


async def the_way_to_ingestion_is_cut(world: World) -> None:
    await asyncio.sleep(2)
    world.network.reset_all("gateway-1")
    with world.network.rule(between("gateway-1", "ingestion", Verdict.HOLD)):
        await asyncio.sleep(1)


def between(gateway: str, others: str, verdict: Verdict) -> Callable[[Packet], Verdict | None]:
    def rule(packet: Packet) -> Verdict | None:
        ends = {packet.source, packet.target}
        return verdict if gateway in ends and any(end.startswith(others) for end in ends) else None

    return rule


GATEWAY_TROUBLES: list[Trouble] = [
    *TROUBLES,
    an_ingestion_dies,
    a_gateway_dies,
    a_gateway_freezes,
    a_gateway_is_restarted,
    the_way_to_ingestion_is_cut,
]


@pytest.mark.parametrize("trouble", GATEWAY_TROUBLES, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_both_doors_tell_the_same_of_every_kind_of_request(seed: int, trouble: Trouble) -> None:
    day(seed, trouble)


@pytest.mark.parametrize("trouble", [a_gateway_dies, the_way_to_ingestion_is_cut], ids=lambda trouble: trouble.__name__)
def test_one_seed_replays_one_history_and_another_seed_another_one(trouble: Trouble) -> None:
    first, second, other = (day(seed, trouble) for seed in (7, 7, 8))

    assert lines(first) == lines(second)
    assert lines(first) != lines(other)


IN_ANOTHER_PROCESS = """
import hashlib, os
from tests.gateway_world import lines, undisturbed
from tests.unit.test_simulated_gateway import a_gateway_dies, day
with undisturbed():
    world = day(3, a_gateway_dies)
    print(len(world.recorder.events), hashlib.sha256("".join(lines(world)).encode()).hexdigest(), flush=True)
    os._exit(0)  # nothing of what is left in the midst of its work is to run
"""


def test_a_history_does_not_depend_on_how_python_hashes_strings() -> None:
    seen = {
        subprocess.run(  # noqa: S603 - the program is above
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in "12"
    }
    world = day(3, a_gateway_dies)

    assert seen == {f"{len(world.recorder.events)} {hashlib.sha256(''.join(lines(world)).encode()).hexdigest()}\n"}


# --- what dies, what comes back ---------------------------------------------------------------------------------------


def test_a_gateway_that_dies_leaves_its_caller_without_an_answer_and_the_task_goes_on() -> None:
    async def story(world: World) -> tuple[int, Answer]:
        calling = asyncio.create_task(text(world, "work 800"))
        await asyncio.sleep(0.3)
        world.crash(world.node("gateway-1"))
        with pytest.raises(Unavailable):
            await calling
        # Ingestion's handler was waiting for the result on behalf of a caller who is gone.
        await asyncio.sleep(0.1)
        open_then = under_way(world)
        world.start("gateway-1")
        return open_then, await fetched(world, "r")

    _, (open_then, answer) = run_world(1, story)

    assert open_then == 0
    assert answer.state == "succeeded"


def test_a_gateway_whose_machine_is_gone_without_a_word_leaves_its_caller_to_its_deadline() -> None:
    async def story(world: World) -> float:
        calling = asyncio.create_task(text(world, "work 100", deadline_s=3))
        await asyncio.sleep(0.05)
        world.crash(world.node("gateway-1"), silent=True)
        with pytest.raises(TimeoutError):
            await calling
        return world.loop.time()

    assert run_world(1, story)[1] > 3


@pytest.mark.parametrize("seed", range(5))
def test_an_ingestion_that_dies_under_a_call_is_told_of_and_the_next_call_finds_another(seed: int) -> None:
    async def story(world: World) -> Answer:
        calling = asyncio.create_task(text(world, "work 800"))
        await asyncio.sleep(0.3)
        serving = next(life for life in world.ingestions.values() if life.service.requests.under_way)
        world.crash(serving.node)
        with pytest.raises(Unavailable) as told:
            await calling
        assert type(told.value) is Unavailable
        return await text(world, "work 800")

    assert run_world(seed, story)[1].state == "succeeded"


def test_with_no_ingestion_there_callers_hear_so_at_once_and_one_that_comes_back_is_found_within_seconds() -> None:
    async def story(world: World) -> tuple[float, float]:
        world.crash(world.node("ingestion-1"))
        await asyncio.sleep(10)
        began_s = world.loop.time()
        for _ in range(20):
            with pytest.raises(Unavailable):
                await text(world, "work 1")
        heard_s = world.loop.time() - began_s
        world.start("ingestion-1")
        began_s = world.loop.time()
        await sooner_or_later(lambda: text(world, "work 1"))
        return heard_s, world.loop.time() - began_s

    _, (heard_s, found_s) = run_world(2, story, "ingestion-1", "gateway-1", "worker-1")

    assert heard_s < 0.2
    assert found_s < 2


@pytest.mark.parametrize("reborn", [True, False])
def test_an_ingestion_machine_that_is_gone_without_a_word_is_not_waited_for_for_ever(reborn: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def story(world: World) -> float:
        await text(world, "work 1", "first")
        node = world.node("ingestion-1")
        world.crash(node, silent=True)
        began_s = world.loop.time()
        await asyncio.sleep(1)
        if reborn:
            world.start_again(node)
        else:
            world.start("ingestion-2")
        await sooner_or_later(lambda: text(world, "work 1", "second"))
        return world.loop.time() - began_s

    _, found_s = run_world(3, story, "ingestion-1", "gateway-1", "worker-1")

    assert found_s < (3 if reborn else 15)


def test_a_connection_to_ingestion_that_is_reset_ends_all_its_calls_on_both_sides() -> None:
    async def story(world: World) -> tuple[int, list[str]]:
        calling = [asyncio.create_task(text(world, "work 3000", f"r{number}")) for number in range(3)]
        await asyncio.sleep(0.3)
        before = under_way(world)
        world.network.reset_all("ingestion-1")
        told = [await reason_of(call) for call in calling]
        assert under_way(world) == 0
        return before, told

    assert run_world(1, story, "ingestion-1", "gateway-1")[1] == (3, ["UNAVAILABLE"] * 3)


async def reason_of(attempt: Awaitable[Answer]) -> str:
    with pytest.raises(EdgeScaleError) as told:
        await attempt
    return told.value.reason


def test_between_client_and_gateway_the_rules_of_the_network_apply() -> None:
    async def story(world: World) -> list[str]:
        told = []
        with world.network.rule(between("gateway-1", "client", Verdict.RESET)):
            told.append(await reason_of(text(world, "work 1", "reset")))
        with world.network.rule(between("gateway-1", "client", Verdict.HOLD)):
            held = asyncio.create_task(text(world, "work 1", "held"))
            with pytest.raises(TimeoutError):
                await text(world, "work 1", "late", deadline_s=2)
            assert not held.done()
        return [*told, (await held).state]

    assert run_world(1, story)[1] == ["UNAVAILABLE", "succeeded"]


def test_a_gateway_that_is_asked_to_stop_answers_what_is_open_and_takes_nothing_new() -> None:
    async def story(world: World) -> tuple[Answer, EdgeScaleError, float]:
        life = gateway_of(world)
        short = asyncio.create_task(text(world, "work 400", "short"))
        endless = asyncio.create_task(text(world, "hang 9", "endless"))
        await asyncio.sleep(0.1)
        stopping = asyncio.create_task(world.stop("gateway-1"))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable):
            await text(world, "work 1", "new")
        began_s = world.loop.time()
        answer = await short
        with pytest.raises(NotServing) as told:
            await endless
        waited_s = world.loop.time() - began_s
        await stopping
        assert life.node.crashed
        assert under_way(world) == 0
        return answer, told.value, waited_s

    world, (answer, _, waited_s) = run_world(4, story, drain_grace_ms=1_000)

    assert answer.state == "succeeded"
    assert 0.5 < waited_s < 1.5
    told = [event.operation for event in world.recorder.events if event.actor == "gateway-1#1"]
    assert told == ["ready", "stopping", "stopped"]


# --- who goes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes", ["cancelled", "deadline"])
@pytest.mark.parametrize("seed", range(5))
def test_for_a_caller_that_goes_no_servicer_waits(seed: int, goes: str) -> None:
    async def story(world: World) -> tuple[int, int, Answer]:
        calling = asyncio.create_task(text(world, "work 3000", deadline_s=0.5 if goes == "deadline" else 20))
        await asyncio.sleep(0.4)
        before = under_way(world)
        if goes == "cancelled":
            calling.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await calling
        await asyncio.sleep(0.1)
        return before, under_way(world), await fetched(world, "r")

    _, (before, after, answer) = run_world(seed, story)

    assert (before, after) == (1, 0)
    assert answer.state == "succeeded"


async def _at_once() -> None:
    """A store that takes no time, so that nothing but the end that is missing tells a cut file from a whole one."""


@pytest.mark.parametrize("cut_after_bytes", [0, 1, 64 * KIB, 100 * KIB, 200 * KIB - 1])
@pytest.mark.parametrize("declare_size", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_an_upload_that_is_cut_leaves_nothing(seed: int, declare_size: bool, cut_after_bytes: int) -> None:  # noqa: FBT001 - a parameter of the test
    async def story(world: World) -> None:
        world.store.answer = _at_once  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            await file(world, "rr", 200 * KIB, cut_after_bytes=cut_after_bytes, declare_size=declare_size)
        await asyncio.sleep(1)
        with pytest.raises(NotFound):
            await fetched(world, "rr", wait_s=0)
        assert under_way(world) == 0

    world, _ = run_world(seed, story)

    assert world.store.files == {}


@pytest.mark.parametrize("seed", range(40))
def test_an_upload_whose_sender_goes_leaves_all_of_it_or_nothing(seed: int) -> None:
    async def story(world: World) -> None:
        world.store.answer = _at_once  # type: ignore[method-assign]
        sending = asyncio.create_task(file(world, "rr", 200 * KIB))
        await asyncio.sleep(world.rng("goes").uniform(0.001, 0.015))
        sending.cancel()
        await asyncio.wait([sending])
        await asyncio.sleep(1)
        assert under_way(world) == 0

    world, _ = run_world(seed, story)

    assert {len(content) for content in world.store.files.values()} <= {200 * KIB}


def test_an_upload_is_taken_no_faster_than_it_is_stored() -> None:
    async def story(world: World) -> list[int]:
        held: list[int] = []
        stored = [0]

        async def slow() -> None:
            await asyncio.sleep(0.05)
            stored[0] += 64 * KIB

        world.store.answer = slow  # type: ignore[method-assign] # a slow one

        def pieces() -> Iterator[bytes]:
            for number in range(1, 41):
                held.append(number * 16 * KIB - stored[0])
                yield bytes(16 * KIB)

        answer = await http_call(world, "client", gateway_of(world), "POST", "/v1/files", {}, pieces())
        assert answer.status == 200
        return held

    assert max(run_world(5, story)[1]) <= 4 * 64 * KIB


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_a_large_upload_into_a_full_lane_is_told_so(seed: int) -> None:
    async def story(world: World) -> EdgeScaleError:
        filling = asyncio.create_task(file(world, "first", 5))
        await asyncio.sleep(0.1)
        with pytest.raises(EdgeScaleError) as told:
            await file(world, "large", 2000 * KIB)
        filling.cancel()
        return told.value

    # Nobody empties the lane.
    world, error = run_world(seed, story, "ingestion-1", "gateway-1", lane_caps={"file": 1})

    assert isinstance(error, LaneFull)
    assert (error.lane, error.cap) == ("file", 1)
    assert len(world.store.files) == 1


def test_refusals_are_the_errors_that_they_were_at_the_other_end() -> None:
    async def story(world: World) -> list[EdgeScaleError]:
        await text(world, "work 1", "taken")
        told = []
        for attempt in (
            text(world, "work 2", "taken"),
            text(world, "reject", "rejected"),
            text(world, "work 5000", "slow", deadline_s=2),
            text(world, " ", "blank"),
            fetched(world, "nothing", wait_s=0),
        ):
            with pytest.raises(EdgeScaleError) as caught:
                await attempt
            told.append(caught.value)
        return told

    _, (conflict, rejected, slow, blank, nothing) = run_world(6, story)

    assert isinstance(conflict, Conflict)
    assert isinstance(rejected, TaskFailed)
    assert (rejected.request_id, rejected.state, rejected.task_reason) == ("rejected", "failed", "NEVER")
    assert isinstance(slow, WaitExpired)
    assert slow.request_id == "slow"
    assert (blank.reason, str(blank).partition(":")[0]) == ("INVALID_INPUT", "text")
    assert isinstance(nothing, NotFound)


def test_the_application_is_given_every_setting_that_it_looks_at() -> None:
    sources = [path.read_text() for path in Path(gateway.__file__).parent.glob("*.py") if path.name != "server.py"]
    looked_at = {name for source in sources for name in re.findall(r"settings\.(\w+)", source)}

    # Where ingestion is, is for real channels only.
    assert looked_at - {"ingestion_target"} == set(SETTINGS)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/agents", 200),
        ("/v1/lanes", 200),
        ("/v1/agents?limit=0", 422),
        ("/v1/tasks/%20", 422),
        ("/openapi.json", 200),
        ("/docs", 200),
        ("/nowhere", 404),
    ],
)
def test_no_route_needs_anything_that_is_not_simulated(path: str, status: int) -> None:
    async def story(world: World) -> int:
        return (await http_call(world, "client", gateway_of(world), "GET", path, {}, timeout_s=5)).status

    assert run_world(7, story, "ingestion-1", "gateway-1")[1] == status


def test_health_follows_ingestions_inbox() -> None:
    async def status(world: World, path: str) -> int:
        return (await http_call(world, "probe", gateway_of(world), "GET", path, {}, timeout_s=5)).status

    async def story(world: World) -> list[int]:
        seen = [await status(world, "/healthz"), await status(world, "/readyz")]
        world.server.stop()
        await asyncio.sleep(3)
        seen.append(await status(world, "/readyz"))
        world.crash(world.node("ingestion-1"))
        return [*seen, await status(world, "/readyz"), await status(world, "/healthz")]

    assert run_world(7, story, "ingestion-1", "gateway-1")[1] == [200, 200, 503, 503, 200]
