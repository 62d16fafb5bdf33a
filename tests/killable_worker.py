"""A worker process that kills itself at a named step: `python killable_worker.py <step>`, with settings around it.

Its handler waits while the key `hold` exists on the server, and then answers with the request id and the attempt; its
outcomes wait while the key `hold-settle` exists. On standard output it says what it does: `ready <consumer>`,
`begun <request id> <attempt>`, `stopped <request id>`, `settling <request id>`, `settle <status>`.

It imports nothing of the tests: where it runs, another package of that name may come first.
"""

import asyncio
import os
import signal
import sys
from typing import Any

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.model import Entry, Settlement, SettleStatus
from edgescale.chance import SystemChance
from edgescale.compose import consumer_name, open_broker
from edgescale.config import load_settings
from edgescale.handlers.base import Completed, Context, Outcome
from edgescale.handlers.registry import Registry
from edgescale.telemetry.logs import configure_logs
from edgescale.v1 import task_pb2
from edgescale.worker.share import Share
from edgescale.worker.worker import Worker

READ, BEFORE, DURING, BEFORE_SETTLE, AFTER_SETTLE = "read", "before", "during", "before-settle", "after-settle"
STEPS = (READ, BEFORE, DURING, BEFORE_SETTLE, AFTER_SETTLE)
HOLD, HOLD_SETTLE = "hold", "hold-settle"


def die_at(step: str) -> None:
    """End at once if this is the step: no `finally` runs, nothing more is sent."""
    if sys.argv[1:] == [step]:
        os.kill(os.getpid(), signal.SIGKILL)


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - the test reads it


async def while_there_is(key: str, connection: Connection) -> None:
    """Wait until the key is gone."""
    while await connection.command("EXISTS", key):  # noqa: ASYNC110 - the server is asked; it sets no event here
        await asyncio.sleep(0.01)


class KillableBroker(Broker):
    """Passes calls on, and dies around them."""

    async def read(self, reader: Connection, partition: int, lane: str, consumer: str, **limits: Any) -> list[Entry]:
        entries = await super().read(reader, partition, lane, consumer, **limits)
        if entries:
            die_at(READ)
        return entries

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        die_at(BEFORE_SETTLE)
        say("settling", settlement.request_id)
        await while_there_is(HOLD_SETTLE, self._connection)
        status = await super().settle(consumer, settlement)
        # Nobody in this process has seen the reply yet: it is as good as lost.
        die_at(AFTER_SETTLE)
        say("settle", status)
        return status


class HeldHandler:
    """Answers when it may."""

    kind = "text"
    lane = "text"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        del payload
        die_at(BEFORE)
        say("begun", context.request_id, context.attempt)
        await asyncio.sleep(0)
        die_at(DURING)
        try:
            await while_there_is(HOLD, self._connection)
        except asyncio.CancelledError:
            say("stopped", context.request_id)
            raise
        result = task_pb2.TaskResult()
        result.json.string_value = f"{context.request_id} by attempt {context.attempt}"
        return Completed(result.SerializeToString())


async def main() -> None:
    configure_logs(service="worker", log_format="json", level="info")
    settings, chance = load_settings(os.environ), SystemChance()
    async with open_broker(settings, chance) as (connection, keys, _):
        broker = KillableBroker(connection, keys, settings, chance)
        registry = Registry([HeldHandler(connection)])
        worker = Worker(
            connection,
            keys,
            broker,
            registry,
            settings,
            chance,
            consumer=consumer_name(chance),
            lanes={HeldHandler.lane: 4},
            share=Share(4, {HeldHandler.lane: 1}),
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run(on_ready=lambda name: say("ready", name))


if __name__ == "__main__":
    asyncio.run(main())
