"""What is looked at from outside, past all faults: how full lanes are, and how everything stood at the end."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import GROUP, Keys, Name
from edgescale.config import Settings
from edgescale.errors import EdgeScaleError
from edgescale.harness.history import TERMINAL
from edgescale.harness.recording.recorder import Recorder, result_digest
from edgescale.uploads.store import BlobStore

PROBE = "probe"
# A lane that a burst has filled past its cap may be back at it some milliseconds later.
SAMPLE_S = 0.02
# What is seen again is written down so often.
TOLD_EVERY = 12
SCAN_COUNT = 1_000
# In one step, so that no task is seen twice or not at all: a lane's backlog, and how much of it is in workers' hands.
_FIGURES = """
local backlog = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
return { backlog, pending.err and 0 or pending[1] }
"""


class Probe:
    """Writes down what it reads from the server.

    Args:
        connection: to the server itself, past all faults of the network.
        keys: names of everything there.
        settings: caps and lanes.
        recorder: takes the events.
        lanes: to be looked at.
        ns_of: from milliseconds since 1970 to nanoseconds since the run began.

    Attributes:
        seen: backlog and pending of each lane, as of the last sample.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        settings: Settings,
        recorder: Recorder,
        lanes: Sequence[str],
        ns_of: Callable[[int], int],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings
        self._recorder = recorder
        self._lanes = lanes
        self._ns_of = ns_of
        self.seen: dict[str, tuple[int, int]] = {}

    async def watch(self) -> None:
        """Take samples until cancelled; while the server is away there are none."""
        for turn in itertools.count():
            with suppress(EdgeScaleError):
                for lane in self._lanes:
                    before, self.seen[lane] = self.seen.get(lane), await self.figures(lane)
                    if self.seen[lane] != before or not turn % TOLD_EVERY:
                        self._tell(lane)
            await asyncio.sleep(SAMPLE_S)

    def _tell(self, lane: str) -> None:
        backlog, pending = self.seen[lane]
        cap = self._settings.cap_of(lane)
        self._recorder.note(PROBE, "sample", lane=lane, backlog=backlog, pending=pending, cap=cap)

    async def figures(self, lane: str) -> tuple[int, int]:
        """How many entries of a lane are queued, wait for their turn or run, and how many of these are running.

        Raises:
            BrokerUnavailable: the server is away.
        """
        backlog = pending = 0
        for partition in range(self._keys.partitions):
            queued, running = await self._connection.command(
                "EVAL", _FIGURES, 2, *self._keys.backlog(partition, lane), GROUP
            )
            backlog, pending = backlog + queued, pending + running
        return backlog, pending

    async def at_rest(self) -> bool:
        """Whether nothing is queued or running any more.

        Raises:
            BrokerUnavailable: the server is away.
        """
        return not any([(await self.figures(lane))[0] for lane in self._lanes])

    async def write_final(self, store: BlobStore, file_ids: Sequence[str]) -> None:
        """Write down the end of a run: each task, each lane, each file.

        Args:
            store: where files are.
            file_ids: all that there are.

        Raises:
            BrokerUnavailable: the server is away.
            StoreUnavailable: a file cannot be read.
        """
        dead = {request_id async for request_id in self._dead()}
        tasks = {request_id: fields async for request_id, fields in self._tasks()}
        for request_id, fields in sorted(tasks.items()):
            self._write_stored(request_id, fields)
            self._recorder.note(
                PROBE,
                "final",
                request_id=request_id,
                state=fields.get(b"state", b"").decode(),
                result_digest=result_digest(fields.get(b"result", b"")),
                attempts=int(fields.get(b"attempts", b"0")),
                reason=fields.get(b"reason", b"").decode(errors="replace"),
                dead=request_id in dead,
            )
        await self._write_deleted()
        for lane in self._lanes:
            backlog, pending = await self.figures(lane)
            self._recorder.note(PROBE, "final", lane=lane, backlog=backlog, pending=pending)
        referenced = {fields.get(b"file_id", b"").decode() for fields in tasks.values()}
        for file_id in sorted(file_ids):
            sha256, size_bytes = await _summed(store, file_id)
            self._recorder.note(
                PROBE,
                "final",
                file_id=file_id,
                sha256=sha256,
                size_bytes=size_bytes,
                referenced=file_id in referenced,
                complete=True,
            )

    def _write_stored(self, request_id: str, fields: Mapping[bytes, bytes]) -> None:
        """When a task ended: a worker that is killed as it settles does not know, nor who has it cancelled."""
        state = fields.get(b"state", b"").decode()
        if state in TERMINAL:
            self._recorder.note_at(
                self._ns_of(int(fields.get(b"settled_ms", b"0"))),
                PROBE,
                "store",
                request_id,
                state=state,
                result_digest=result_digest(fields.get(b"result", b"")),
                reason=fields.get(b"reason", b"").decode(errors="replace"),
            )

    async def _write_deleted(self) -> None:
        """Of the entries that the nemesis added, those that are gone: when they went, nobody saw."""
        for event in [event for event in self._recorder.events if event.operation == "add"]:
            lane, entry = event.text("lane"), event.text("entry")
            streams = [self._keys.stream(partition, lane) for partition in range(self._keys.partitions)]
            if not any([await self._connection.command("XRANGE", stream, entry, entry) for stream in streams]):
                self._recorder.note(event.actor, "delete", request_id=event.request_id, lane=lane, entry=entry)

    async def _tasks(self) -> AsyncIterator[tuple[str, dict[bytes, bytes]]]:
        cursor = "0"
        while True:
            found, names = await self._connection.command("SCAN", cursor, "COUNT", SCAN_COUNT)
            for raw in names:
                name = Name.parse(raw.decode(errors="replace"))
                if name is not None and name.family == "task":
                    yield name.rest, flat_dict(await self._connection.command("HGETALL", raw))
            cursor = found.decode()
            if cursor == "0":
                return

    async def _dead(self) -> AsyncIterator[str]:
        for partition in range(self._keys.partitions):
            rows: list[Any] = await self._connection.command("XRANGE", self._keys.dead(partition), "-", "+")
            for _, flat in rows:
                yield flat_dict(flat).get(b"request_id", b"").decode(errors="replace")


async def _summed(store: BlobStore, file_id: str) -> tuple[str, int]:
    sha256, size_bytes = hashlib.sha256(), 0
    async with aclosing(store.read(file_id)) as pieces:
        async for piece in pieces:
            sha256.update(piece)
            size_bytes += len(piece)
    return sha256.hexdigest(), size_bytes
