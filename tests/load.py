"""Callers who go on sending tasks, and what they were answered, while something becomes of Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgescale.broker.inbox import Inbox
from edgescale.broker.keys import Keys
from edgescale.broker.model import Receipt, Submission, TaskRecord
from edgescale.errors import BrokerUnavailable
from tests.parts import said
from tests.support import Rig, eventually, submission

CALLERS = 6
# Longer than any outage of these tests.
ANSWERED_WITHIN_S = 30.0


class Load:
    """Callers that send one task after the other.

    Attributes:
        answers: what each request id was answered, as often as it was.
        unclear: how many submissions had to be repeated, for it was not known what became of them.
    """

    def __init__(self, rig: Rig, inbox: Inbox) -> None:
        self.answers: dict[str, list[TaskRecord]] = {}
        self.unclear = 0
        self._rig = rig
        self._inbox = inbox
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Send until told to stop, and wait for what is open then."""
        async with asyncio.TaskGroup() as callers:
            for number in range(CALLERS):
                callers.create_task(self._call(number))

    def stop(self) -> None:
        self._stop.set()

    async def _call(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            record = await self.ask(f"caller-{number}-{count}")
            self.answers.setdefault(record.request_id, []).append(record)

    async def ask(self, request_id: str) -> TaskRecord:
        """Submit, repeat that for as long as it is unclear whether it was accepted, and wait for the answer."""
        given = submission(request_id)
        with self._inbox.expect(request_id) as wait:
            receipt = await self._submit(given)
            if receipt.record.terminal:
                return receipt.record
            wait.accepted(given)
            record = await wait.result(ANSWERED_WITHIN_S)
        assert record is not None, f"no answer for {request_id} within {ANSWERED_WITHIN_S} s"
        return record

    async def _submit(self, given: Submission) -> Receipt:
        while True:
            try:
                return await self._rig.broker.submit(given, inbox=self._inbox.name)
            except BrokerUnavailable:
                self.unclear += 1

    async def goes_on(self, more: int = 60) -> None:
        """Return once so many more were answered, in each partition some of them."""
        before = set(self.answers)

        def answered() -> bool:
            later = self.answers.keys() - before
            partitions = {self._rig.keys.partition_of(request_id) for request_id in later}
            return len(later) >= more and len(partitions) == self._rig.keys.partitions

        await eventually(answered, ANSWERED_WITHIN_S)

    def all_were_answered_once(self) -> bool:
        """Whether every caller was given one answer, which is that of its own task."""
        return all(
            len(records) == 1 and records[0].state == "succeeded" and said(records[0]).startswith(f"{request_id} by ")
            for request_id, records in self.answers.items()
        )


@asynccontextmanager
async def under_load(rig: Rig, inbox: Inbox) -> AsyncIterator[Load]:
    """Callers, until the end of the block; then all of them have their answers."""
    load = Load(rig, inbox)
    running = asyncio.create_task(load.run())
    try:
        await load.goes_on()
        yield load
        load.stop()
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def name_in(keys: Keys, partition: int, stem: str = "r") -> str:
    """A request id of the partition."""
    return next(name for number in range(10_000) if keys.partition_of(name := f"{stem}{number}") == partition)
