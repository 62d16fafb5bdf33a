"""Replicas: the model's WAIT and the real servers' say the same of who wrote what, and of what a failover keeps."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgescale.broker.connection import Connection
from edgescale.broker.fence import BODY
from edgescale.harness.simulation.redis import REDIS_7_0, VALKEY_9
from tests.pairs import Pair, paired
from tests.redis_world import World
from tests.servers import own_names

FLAVOURS = {"valkey": VALKEY_9, "redis": REDIS_7_0}
LIMIT_MS = 200
LONG_MS = 4_000
WAIT = ("WAIT", 1, LIMIT_MS)
Say = Callable[..., Awaitable[Any]]


class RealSide:
    """A real pair, with a writer and a reader."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.writer, self.reader = (Connection(pair.primary.url, timeout_ms=5_000, connections_max=1) for _ in "wr")

    async def say(self, who: str, *words: str | int) -> Any:
        connection = self.writer if who == "writer" else self.reader
        return await connection.command(*words)

    async def cut(self) -> None:
        self._pair.cut()

    async def join(self) -> None:
        # The replica finds its link broken, and follows anew from where it was.
        self._pair.link.sever()
        await self._pair.follow()

    async def kept(self) -> set[bytes]:
        await self._pair.fail_over()
        survivor = Connection(self._pair.replica.url, timeout_ms=5_000, connections_max=1)
        keys = set(await survivor.command("KEYS", "*"))
        await survivor.close()
        return keys - {b"probe"}

    async def close(self) -> None:
        await self.writer.close()
        await self.reader.close()


class ModelSide:
    """The model, whose replica is a little behind."""

    def __init__(self, name: str) -> None:
        self._world = World(flavour=FLAVOURS[name], replicas=1, replica_lag_ms=5)
        self._clients = {who: self._world.client() for who in ("writer", "reader")}

    async def say(self, who: str, *words: str | int) -> Any:
        self._clients[who].send(*words)
        self._world.sleep(LIMIT_MS + 1)
        [reply] = self._clients[who].replies()
        return reply

    async def cut(self) -> None:
        self._world.model.cut_off_replica()

    async def join(self) -> None:
        self._world.model.join_replica()

    async def kept(self) -> set[bytes]:
        self._world.model.failover()
        return set(self._world.client().do("KEYS", "*"))

    async def close(self) -> None:
        """Nothing to do."""


@asynccontextmanager
async def both(name: str, directory: Path) -> AsyncIterator[tuple[RealSide, ModelSide]]:
    async with paired(name, directory) as pair:
        real = RealSide(pair)
        yield real, ModelSide(name)
        await real.close()


@pytest.fixture(params=own_names())
async def sides(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[RealSide, ModelSide]]:
    async with both(request.param, tmp_path) as opened:
        yield opened


async def story(side: RealSide | ModelSide) -> list[Any]:
    """Who writes, who only reads, who repeats and who fences, each followed by WAIT."""
    told = [await side.say("writer", "SET", "early", "v"), await side.say("writer", "WAIT", 1, LONG_MS)]
    # Where a disk or the link is slow, what was not acknowledged would be cut off, too.
    assert told[-1] == 1
    await side.cut()
    for who, words in (
        ("writer", ("SET", "late", "v")),
        ("writer", ("GET", "late")),
        ("reader", ("GET", "late")),
        ("reader", ("DEL", "missing")),
        ("reader", ("EVAL", "return redis.call('EXISTS', KEYS[1])", 1, "late")),
        ("reader", ("EVAL", BODY, 1, "fence", 60_000)),
        ("reader", ("GET", "late")),
    ):
        told += [await side.say(who, *words), await side.say(who, *WAIT)]
    return told


async def test_the_model_tells_of_acknowledgements_what_the_servers_tell(sides: tuple[RealSide, ModelSide]) -> None:
    real, model = sides
    told = await story(real)
    assert await story(model) == told
    assert told[-4:] == [b"OK", 0, b"v", 0], "behind the fence, nobody is told that the replica has it"


async def test_what_joins_again_acknowledges_and_survives_in_both(sides: tuple[RealSide, ModelSide]) -> None:
    told, kept = [], []
    for side in sides:
        await story(side)
        await side.join()
        told.append(await side.say("reader", *WAIT))
        kept.append(await side.kept())
    assert told == [1, 1]
    assert kept == [{b"early", b"late", b"fence"}] * 2


async def test_what_was_not_acknowledged_is_gone_in_both(sides: tuple[RealSide, ModelSide]) -> None:
    for side in sides:
        await story(side)
        assert await side.kept() == {b"early"}
