"""docs/lifecycle.md: what becomes of a request that is sent again, in every state that its id can be in."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgescale.broker.model import GiveBack, TerminalState
from edgescale.errors import Conflict, LaneFull
from tests.servers import Server
from tests.support import LANE, Rig, eventually, open_rig, settlement, submission

DOCUMENT = Path(__file__).parents[2] / "docs" / "lifecycle.md"
Setting = Callable[[Rig], Awaitable[None]]
CONTENTS = {"the same content": b"hello", "other content": b"something else"}
CAP = 2


async def nothing(rig: Rig) -> None:
    del rig


async def queued(rig: Rig) -> None:
    await rig.submit("r1")


async def full(rig: Rig) -> None:
    await rig.submit("r8", "r9")


async def queued_in_a_full_lane(rig: Rig) -> None:
    await rig.submit("r1", "r9")


async def running(rig: Rig) -> None:
    await rig.submit_and_take("r1")


async def waiting(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.give_back("worker-1", GiveBack(entry, "r1", 3_600_000, 1, "NOT_YET", "later"))


def ended(state: TerminalState) -> Setting:
    async def end(rig: Rig) -> None:
        [entry] = await rig.submit_and_take("r1")
        result = {"result": b"result"} if state == "succeeded" else {"reason": "WHY", "message": "because"}
        await rig.broker.settle("worker-1", settlement(entry, state=state, **result))

    return end


async def cancelled(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.canceller.cancel("r1")


async def forgotten(rig: Rig) -> None:
    await ended("succeeded")(rig)
    await rig.connection.command("PEXPIRE", rig.keys.task("r1"), 1)

    async def is_gone() -> bool:
        return await rig.fields("r1") == {}

    await eventually(is_gone)


async def taken_away(rig: Rig) -> None:
    await rig.submit("r1")
    await rig.connection.command("XTRIM", rig.keys.stream(0, LANE), "MAXLEN", 0)


SETTINGS: dict[str, Setting] = {
    "nothing": nothing,
    "queued": queued,
    "queued, in a lane that is full": queued_in_a_full_lane,
    "running": running,
    "waiting for its next attempt": waiting,
    "succeeded": ended("succeeded"),
    "failed": ended("failed"),
    "dead-lettered": ended("dead_lettered"),
    "expired": ended("expired"),
    "cancelled": cancelled,
    "its record has expired": forgotten,
    "its entry was taken out of the stream by hand": taken_away,
    "nothing, in a lane that is full": full,
}


def table() -> dict[tuple[str, str], str]:
    """The document's cells, by row and column."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.partition("## Sending a request again")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], head): cell for row in rows for head, cell in zip(heads[1:], row[1:], strict=True)}


CELLS = table()


def test_every_cell_of_the_document_is_walked() -> None:
    assert set(CELLS) == {(state, content) for state in SETTINGS for content in CONTENTS}


@pytest.mark.one_partition
@pytest.mark.parametrize(("state", "content"), CELLS, ids=lambda name: re.sub(r"\W+", "-", name))
async def test_a_request_that_is_sent_again_is_answered_as_the_document_says(
    server: Server, state: str, content: str
) -> None:
    async with open_rig(server.url, lane_cap=CAP) as rig:
        await SETTINGS[state](rig)
        assert await answer(rig, CONTENTS[content]) == CELLS[state, content]


async def answer(rig: Rig, payload: bytes) -> str:
    try:
        receipt = await rig.broker.submit(submission("r1", payload))
    except Conflict:
        return "conflict"
    except LaneFull as error:
        return f"refused: {error.reason}"
    if receipt.accepted:
        return "accepted"
    return f"attached: {receipt.record.state if receipt.record.terminal else 'open'}"


@pytest.mark.parametrize("content", CONTENTS)
async def test_at_two_doors_at_once_one_is_accepted(server: Server, content: str) -> None:
    async with open_rig(server.url) as one, open_rig(server.url) as other:
        for _ in range(20):
            answers = await asyncio.gather(answer(one, b"hello"), answer(other, CONTENTS[content]))
            second = "attached: open" if content == "the same content" else "conflict"
            assert sorted(answers) == sorted(["accepted", second])
            assert await one.backlog() == 1
            await one.connection.command("FLUSHALL")
