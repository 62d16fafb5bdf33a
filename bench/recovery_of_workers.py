"""How soon others answer what a worker held that is gone: measured from the signal that ended it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from measuring import ROOT, say

from edgescale.broker.inbox import Inbox
from edgescale.local.valkey import EmbeddedValkey
from tests.processes import Running, program
from tests.support import Rig, eventually, open_rig, serving, submission

TOY = str(ROOT / "bench" / "toy_worker.py")
HELD = 16
BETWEEN_S = 0.002
ANSWER_S = 120.0


@asynccontextmanager
async def toy(url: str, *arguments: str, **settings: Any) -> AsyncIterator[Running]:
    """A worker that serves."""
    async with program(TOY, *arguments, redis_url=url, worker_lanes="text=64", **settings) as running:
        await running.address()
        yield running


async def answered_after(number: signal.Signals, rounds: int, folder: Path, **settings: Any) -> list[float]:
    """Seconds from a worker's end to each answer to what it held, over many workers.

    Args:
        number: what each of them is sent while it holds tasks that it would never end.
        rounds: how many workers.
        folder: for the server's data.
        settings: of them, and of the worker that goes on.
    """
    valkey = EmbeddedValkey(folder)
    await valkey.start()
    seconds: list[float] = []
    try:
        async with (
            open_rig(valkey.url) as rig,
            serving(rig.inbox()) as inbox,
            toy(valkey.url, **settings),
        ):
            for turn in range(rounds):
                async with toy(valkey.url, "--holds", **settings) as victim:
                    seconds += await _round(rig, inbox, victim, number, turn, settings)
                say(f"{number.name}: {turn + 1} of {rounds} workers, {len(seconds)} tasks")
    finally:
        await valkey.stop()
    return seconds


async def _round(
    rig: Rig, inbox: Inbox, victim: Running, number: signal.Signals, turn: int, settings: dict[str, Any]
) -> list[float]:
    answers: list[asyncio.Task[float]] = []
    consumer = await victim.address()
    while len(await _held(rig, consumer)) < HELD:
        # One by one: what comes at once is taken at once, by whoever comes first.
        answers.append(asyncio.create_task(_answer(rig, inbox, f"{turn}-{len(answers)}")))
        await asyncio.sleep(BETWEEN_S)
    await eventually(lambda: _all_held(rig, consumer, answers), timeout_s=ANSWER_S)
    # At any moment between two renewals.
    await asyncio.sleep(rig.chance.uniform(0, settings["lease_ms"] / 1000 / 4))
    held = [answer for answer in answers if not answer.done()]
    ended = time.monotonic()
    victim.signal(number)
    return [moment - ended for moment in await asyncio.gather(*held)]


async def _held(rig: Rig, consumer: str) -> list[str]:
    return [entry for entry, owner, _ in await rig.pending() if owner == consumer]


async def _all_held(rig: Rig, consumer: str, answers: list[asyncio.Task[float]]) -> bool:
    """Whether the victim has all that is not answered."""
    return len(await _held(rig, consumer)) == sum(not answer.done() for answer in answers)


async def _answer(rig: Rig, inbox: Inbox, request_id: str) -> float:
    """When it was answered, by the machine's clock."""
    given = submission(request_id)
    with inbox.expect(request_id) as wait:
        await rig.broker.submit(given, inbox=inbox.name)
        wait.accepted(given)
        record = await wait.result(ANSWER_S)
    if record is None or record.state != "succeeded":
        raise AssertionError(f"{request_id} was not answered within {ANSWER_S} s")
    return time.monotonic()
