"""A process that submits tasks and judges their answers, for `bench_million.py`.

It does what an ingestion process does with a request, without gRPC: it waits at its own inbox, submits through the
broker, and is woken by the result's notification. Each answer must be what is stored, then and once more some seconds
later. On standard output it says `ready`, begins when it reads a line, tells how far it is by `done <count>`, and at
the end what it saw by `verdict <JSON>`.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

import uvloop

from edgescale.broker.broker import Broker
from edgescale.broker.inbox import Inbox
from edgescale.broker.model import Submission, TaskRecord
from edgescale.chance import SystemChance
from edgescale.compose import open_broker
from edgescale.config import load_settings
from edgescale.envelope import Envelope, digest
from edgescale.telemetry.logs import configure_logs

KIND = LANE = "text"
PAYLOAD = b"The ferry was early."
DIGEST = digest(KIND.encode(), PAYLOAD)
ANSWER_S = 60.0
CHECKED_AT_ONCE = 256
TOLD_EVERY_S = 1.0
KEPT_MAX = 20


@dataclass
class Verdict:
    """What came of the tasks.

    Attributes:
        accepted: tasks that Redis took.
        answered: of these, with a success under their own ids.
        verified: of these, whose stored result was still the one that was answered, seconds later.
        redelivered: when answers came that were not the first attempt's, by the machine's clock.
        lost: some of the ids that were not answered, or whose results were gone.
        changed: some of the ids whose stored result was another one than the answered one.
    """

    accepted: int = 0
    answered: int = 0
    verified: int = 0
    redelivered: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


class Submitter:
    """Submits, waits, and looks again.

    Args:
        broker: takes tasks and reads what is stored.
        inbox: runs already.
        name: first part of all ids.
        tasks: how many.
        verify_after_s: when each stored result is read once more.
    """

    def __init__(self, broker: Broker, inbox: Inbox, name: str, tasks: int, verify_after_s: float) -> None:
        self.verdict = Verdict()
        self._broker = broker
        self._inbox = inbox
        self._name = name
        self._numbers = iter(range(tasks))
        self._verify_after_s = verify_after_s
        self._to_verify: deque[tuple[float, str, bytes]] = deque()
        self._all_answered = asyncio.Event()

    async def run(self, open_at_once: int) -> None:
        """Have so many tasks open at once, until all are answered and verified."""
        async with asyncio.TaskGroup() as group:
            telling, verifying = group.create_task(self._tell()), group.create_task(self._verify_all())
            async with asyncio.TaskGroup() as callers:
                for _ in range(open_at_once):
                    callers.create_task(self._call())
            self._all_answered.set()
            await verifying
            telling.cancel()

    async def _call(self) -> None:
        for number in self._numbers:
            request_id = f"{self._name}-{number}"
            record = await self._ask(request_id)
            if record is None or record.state != "succeeded" or not record.result.startswith(f"{request_id} ".encode()):
                self._keep(self.verdict.lost, request_id)
                continue
            self.verdict.answered += 1
            if record.attempts > 1:
                self.verdict.redelivered.append(time.monotonic())
            due_s = asyncio.get_running_loop().time() + self._verify_after_s
            self._to_verify.append((due_s, request_id, record.result))

    async def _ask(self, request_id: str) -> TaskRecord | None:
        given = Submission(Envelope(request_id, KIND, PAYLOAD), LANE, DIGEST)
        with self._inbox.expect(request_id) as wait:
            await self._broker.submit(given, inbox=self._inbox.name)
            self.verdict.accepted += 1
            wait.accepted(given)
            return await wait.result(ANSWER_S)

    async def _verify_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._to_verify or not self._all_answered.is_set():
            due = list(itertools.takewhile(lambda item: item[0] <= loop.time(), self._to_verify))[:CHECKED_AT_ONCE]
            for _ in due:
                self._to_verify.popleft()
            records = await asyncio.gather(*(self._broker.lookup(request_id) for _, request_id, _ in due))
            for (_, request_id, result), record in zip(due, records, strict=True):
                self._compare(request_id, result, record)
            if len(due) < CHECKED_AT_ONCE:
                await asyncio.sleep(0.05)

    def _compare(self, request_id: str, answered: bytes, record: TaskRecord | None) -> None:
        if record is None:
            self._keep(self.verdict.lost, request_id)
        elif (record.state, record.result) != ("succeeded", answered):
            self._keep(self.verdict.changed, request_id)
        else:
            self.verdict.verified += 1

    @staticmethod
    def _keep(ids: list[str], request_id: str) -> None:
        if len(ids) < KEPT_MAX:
            ids.append(request_id)

    async def _tell(self) -> None:
        while True:
            print(f"done {self.verdict.answered}", flush=True)
            await asyncio.sleep(TOLD_EVERY_S)


async def main() -> None:
    """Submit, judge, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--open", type=int, default=500)
    parser.add_argument("--verify-after-s", type=float, default=4.0)
    options = parser.parse_args()
    configure_logs(service="submitter", log_format="json", level="error")
    settings, chance = load_settings(os.environ), SystemChance()
    async with open_broker(settings, chance) as (connection, keys, broker):
        inbox = Inbox(connection, broker, keys, settings, chance)
        listening = asyncio.create_task(inbox.run())
        await inbox.ready.wait()
        print("ready", options.name, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        submitter = Submitter(broker, inbox, options.name, options.tasks, options.verify_after_s)
        await submitter.run(options.open)
        print("verdict", json.dumps(asdict(submitter.verdict)), flush=True)
        listening.cancel()


if __name__ == "__main__":
    uvloop.run(main())
