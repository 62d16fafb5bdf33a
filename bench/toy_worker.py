"""A worker process for benches: everything is real but its handler, which answers at once, after a while, or never.

Settings come from the environment. On standard output it says `ready <consumer>`. With a ledger, it writes down there
what it settled (`s <request id>`), and how much it reclaimed when by the machine's clock (`r <count> <seconds>`); what
is written there survives its death.
"""

import argparse
import asyncio
import os
import signal
import time
from typing import Any

import uvloop

from edgescale.broker.broker import Broker
from edgescale.broker.model import Entry, Settlement, SettleStatus
from edgescale.chance import SystemChance
from edgescale.compose import consumer_name, open_broker
from edgescale.config import load_settings
from edgescale.handlers.base import Completed, Context, Outcome
from edgescale.handlers.registry import Registry
from edgescale.telemetry.logs import configure_logs
from edgescale.v1.task_pb2 import TaskResult
from edgescale.v1.text_pb2 import TextAnalysis
from edgescale.worker.share import Share
from edgescale.worker.worker import Worker


class Toy:
    """Answers with who was asked for what, which time, and by whom: two executions never answer the same.

    Args:
        consumer: of the worker.
        holds: wait without end instead.
        takes_ms: wait so long, and answer what callers of ingestion understand; None to answer at once.
    """

    kind = lane = "text"

    def __init__(self, consumer: str, *, holds: bool, takes_ms: float | None) -> None:
        self._consumer = consumer
        self._holds = holds
        self._takes_ms = takes_ms

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """Answer."""
        del payload
        if self._holds:
            await asyncio.Event().wait()
        if self._takes_ms is not None:
            await asyncio.sleep(self._takes_ms / 1000)
            return Completed(TaskResult(text_analysis=TextAnalysis()).SerializeToString())
        return Completed(f"{context.request_id} {context.attempt} {self._consumer}".encode())


class KeepingBroker(Broker):
    """A broker that keeps a ledger.

    Attributes:
        ledger: a descriptor; None to keep none.
    """

    ledger: int | None = None

    def _write(self, line: str) -> None:
        if self.ledger is not None:
            os.write(self.ledger, line.encode())

    async def settle(self, consumer: str, settlement: Settlement) -> SettleStatus:
        """As the broker's."""
        status = await super().settle(consumer, settlement)
        if status == "settled":
            self._write(f"s {settlement.request_id}\n")
        return status

    async def reclaim(self, *place: Any, **limits: Any) -> tuple[str, list[Entry]]:
        """As the broker's."""
        cursor, entries = await super().reclaim(*place, **limits)
        if entries:
            self._write(f"r {len(entries)} {time.monotonic()}\n")
        return cursor, entries


async def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holds", action="store_true", help="answer nothing")
    parser.add_argument("--takes-ms", type=float, help="answer after so long, as callers of ingestion understand")
    parser.add_argument("--ledger", help="a file to append to")
    options = parser.parse_args()
    configure_logs(service="worker", log_format="json", level="error")
    settings, chance = load_settings(os.environ), SystemChance()
    async with open_broker(settings, chance) as (connection, keys, _):
        broker = KeepingBroker(connection, keys, settings, chance)
        if options.ledger:
            broker.ledger = os.open(options.ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        consumer = consumer_name(chance)
        registry = Registry([Toy(consumer, holds=options.holds, takes_ms=options.takes_ms)])
        lanes = {Toy.lane: settings.worker_lanes[Toy.lane]}
        share = Share(lanes[Toy.lane], {Toy.lane: 1})
        worker = Worker(
            connection, keys, broker, registry, settings, chance, consumer=consumer, lanes=lanes, share=share
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run(on_ready=lambda name: print(f"ready {name}", flush=True))


if __name__ == "__main__":
    uvloop.run(main())
