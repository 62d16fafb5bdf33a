"""The inbox with several partitions: each is on a server of its own, and none waits for another one's server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection, Subscription
from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import Keys
from edgescale.broker.model import TaskRecord
from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable
from tests.support import SeededChance, eventually, serving
from tests.waiting import OFTEN_MS

KEYS = Keys(2)
# A request id of each partition.
IDS = [next(f"r{n}" for n in count() if KEYS.partition_of(f"r{n}") == partition) for partition in range(2)]


async def silent() -> Any:
    """What a server answers that hangs."""
    await asyncio.Event().wait()


async def refusing() -> Any:
    """What a server answers that is away."""
    raise BrokerUnavailable("Redis is away")


class QuietSubscription(Subscription):
    """One without messages, whose server gives signs of life while it is `well`."""

    def __init__(self, *, well: bool) -> None:
        self._well = well

    async def next(self, *, quiet_ms: int) -> bytes | None:
        if not self._well:
            await silent()
        await asyncio.sleep(quiet_ms / 1000)
        return None


class Servers(Connection):
    """A subscription of each partition; those of `hung` partitions are confirmed, and silent from then on."""

    def __init__(self, *, hung: frozenset[int] = frozenset()) -> None:
        self._hung = hung

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[Subscription]:
        hung = {KEYS.channel(partition, "") for partition in self._hung}
        yield QuietSubscription(well=not any(channel.startswith(prefix) for prefix in hung))


class Stored(Broker):
    """Answers lookups of partition 1 with a success; those of partition 0 with what `trouble` does, if anything."""

    def __init__(self, trouble: Any = None) -> None:
        self.trouble = trouble
        self.asked: list[str] = []

    async def lookup(self, request_id: str, *, inbox: str = "") -> TaskRecord | None:
        del inbox
        self.asked.append(request_id)
        if self.trouble is not None and KEYS.partition_of(request_id) == 0:
            await self.trouble()
        return TaskRecord(request_id, "succeeded")


def inbox_of(broker: Broker, connection: Connection) -> Inbox:
    settings = Settings(partitions=2, inbox_recheck_ms=OFTEN_MS, redis_timeout_ms=100)
    return Inbox(connection, broker, KEYS, settings, SeededChance())


@pytest.mark.parametrize("trouble", [silent, refusing])
async def test_results_of_other_partitions_do_not_wait_for_a_partition_in_trouble(trouble: Any) -> None:
    broker = Stored(trouble)
    async with serving(inbox_of(broker, Servers())) as inbox:
        with inbox.expect(IDS[0]) as stuck, inbox.expect(IDS[1]) as other:
            assert await other.result(5) == TaskRecord(IDS[1], "succeeded")
            assert not stuck.over
            # Nor later on, when what is in trouble has been asked already.
            await eventually(lambda: IDS[0] in broker.asked)
            with inbox.expect(IDS[1]) as late:
                assert await late.result(5) == TaskRecord(IDS[1], "succeeded")


@pytest.mark.parametrize("trouble", [silent, refusing])
async def test_the_reader_of_the_partition_in_trouble_stands_still_and_no_other(trouble: Any) -> None:
    async with serving(inbox_of(Stored(trouble), Servers())) as inbox:
        with inbox.expect(IDS[0]), inbox.expect(IDS[1]):
            await eventually(lambda: list(inbox.loops.stalled()) == ["inbox-reader:0"])


async def test_a_subscription_that_hangs_is_not_hidden_by_one_that_is_well() -> None:
    async with serving(inbox_of(Stored(), Servers(hung=frozenset({0})))) as inbox:
        await eventually(lambda: list(inbox.loops.stalled()) == ["inbox:0"])
        with inbox.expect(IDS[1]) as wait:
            assert await wait.result(5) is not None
