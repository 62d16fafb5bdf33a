"""Clients of a run: they send what the plan says, at the time it says, and write down what they hear."""

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Collection, Mapping
from functools import lru_cache
from random import Random  # noqa: TID251 - contents of files, drawn from their ids
from typing import NamedTuple, Protocol

from edgescale.envelope import digest
from edgescale.errors import Conflict, EdgeScaleError, InvalidInput, NotFound, Overloaded, TaskFailed
from edgescale.harness.clients.schedules import times_of
from edgescale.harness.event import Phase, Scalar
from edgescale.harness.header import NS_PER_MS
from edgescale.harness.plan import UNCUT, Request
from edgescale.harness.recording.recorder import Recorder, result_digest
from edgescale.v1.heartbeat_pb2 import Heartbeat
from edgescale.v1.task_pb2 import Task, TaskState

# Errors that say for certain that nothing was done.
_REFUSALS = (InvalidInput, Conflict, Overloaded, NotFound)
# A fetch's deadline is how long it asks the service to wait; the answer may take a little longer.
FETCH_MARGIN_MS = 5_000
# What the history calls what a client does, where it is not a submission.
OPERATIONS = {"file": "upload", "fetch": "fetch", "cancel": "cancel"}


class Answer(NamedTuple):
    """What a client learns of a task."""

    state: str
    result_digest: str | None = None
    attempts: int = 0
    file_id: str = ""

    @classmethod
    def of(cls, task: Task) -> "Answer":
        """The task as a gRPC client sees it."""
        state = TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
        encoded = task.result.SerializeToString(deterministic=True) if task.HasField("result") else b""
        return cls(state, result_digest(encoded), task.attempts, task.file_id)


class Stage(Protocol):
    """What clients know of the world that they send to.

    Attributes:
        recorder: takes what they see.
    """

    @property
    def recorder(self) -> Recorder:
        """See the class."""

    @property
    def ingestion_names(self) -> Collection[str]:
        """The ingestion processes, through any of which a gateway may answer."""

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""

    def clock_ms(self) -> int:
        """Milliseconds since 1970 by the clock of Redis."""


class Door(ABC):
    """Sends a request through one service."""

    @abstractmethod
    async def send(self, request: Request) -> Answer:
        """The answer.

        Raises:
            EdgeScaleError: there is none, or it is a refusal.
            TimeoutError: the client stopped listening.
        """


def beat_of(request: Request) -> Heartbeat:
    """The heartbeat of a request: its agent is the client, its script the sequence number."""
    return Heartbeat(agent_id=request.client, sequence=int(request.script or 0), boot_id="b", status="ok")


@lru_cache(maxsize=256)
def content_of(request_id: str, size_bytes: int) -> bytes:
    """The bytes of a file; those of two ids are never the same."""
    return request_id.encode() + Random(request_id).randbytes(size_bytes)  # noqa: S311 - contents, not secrets


class Clients:
    """All clients of a run.

    Args:
        stage: where they are.
        doors: how to get through a service, by the first part of its name.

    Attributes:
        ended: calls that came to an end.
        ends: how many of them how: by phase.
    """

    def __init__(self, stage: Stage, doors: Mapping[str, Door]) -> None:
        self._stage = stage
        self._doors = doors
        self.ended = 0
        self.ends: Counter[Phase] = Counter()

    async def send(self, request: Request) -> None:
        """Send a request at its time; what becomes of it is written down."""
        await asyncio.sleep(request.at_ms / 1000)
        call = self._stage.recorder.new_call()
        operation = OPERATIONS.get(request.action, "submit")
        self._note(request, operation, "invoke", call, self._question(request))
        phase, fields = await self._outcome(self._limited(request))
        if request.cut_after_bytes != UNCUT and phase == "info":
            # Whatever it was told, it was gone before.
            fields = {"reason": "CUT"}
        self.ended += 1
        self.ends[phase] += 1
        self._note(request, operation, phase, call, fields)

    async def _limited(self, request: Request) -> Answer | None:
        """The answer; None when the client lost interest before it came."""
        door = self._doors[request.door.partition("-")[0]]
        sending = asyncio.ensure_future(door.send(request))
        if request.cancel_after_ms:
            await asyncio.wait([sending], timeout=request.cancel_after_ms / 1000)
            if not sending.done():
                sending.cancel()
                await asyncio.wait([sending])
            if sending.cancelled():
                return None
        return await sending

    @staticmethod
    async def _outcome(answering: Awaitable[Answer | None]) -> tuple[Phase, dict[str, Scalar]]:
        """How a call ended: certain to have done something, certain to have done nothing, or unknown."""
        try:
            answer = await answering
        except TaskFailed as error:
            return "fail", {"reason": error.reason, "state": error.state, "task_reason": error.task_reason}
        except EdgeScaleError as error:
            return "fail" if isinstance(error, _REFUSALS) else "info", {"reason": error.reason}
        except TimeoutError:
            return "info", {"reason": "DEADLINE_EXCEEDED"}
        if answer is None:
            return "info", {"reason": "CANCELLED"}
        seen: dict[str, Scalar] = {"state": answer.state, "result_digest": answer.result_digest}
        return "ok", seen | {"attempts": answer.attempts, "file_id": answer.file_id}

    def _question(self, request: Request) -> dict[str, Scalar]:
        via = [request.door]
        if request.door.startswith("gateway"):
            via += self._stage.ingestion_names
        if request.action == "fetch":
            return {"wait_ms": request.deadline_ms, "via": ",".join(via)}
        deadline_ns = self._stage.now_ns() + request.deadline_ms * NS_PER_MS
        if request.action == "cancel":
            return {"deadline_ns": deadline_ns, "via": ",".join(via)}
        fields: dict[str, Scalar] = {
            "kind": request.action,
            "lane": request.action,
            "digest": _digest(request),
            "deadline_ns": deadline_ns,
            **times_of(request, self._stage.clock_ms()),
            **({"ordering_key": request.ordering_key} if request.ordering_key else {}),
            "respond_async": request.respond_async or request.action == "heartbeat",
            "via": ",".join(via),
        }
        if request.action == "file":
            content = content_of(request.request_id, request.size_bytes)
            fields |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            fields["cut"] = request.cut_after_bytes != UNCUT
        return fields

    def _note(self, request: Request, operation: str, phase: Phase, call: int, fields: Mapping[str, Scalar]) -> None:
        self._stage.recorder.write(request.client, operation, phase, call, request.request_id, fields)


def _digest(request: Request) -> str:
    order = [request.ordering_key.encode()] if request.ordering_key else []
    return digest(request.action.encode(), request.script.encode(), b"%d" % request.size_bytes, *order)
