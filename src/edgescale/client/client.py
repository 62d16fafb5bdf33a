"""An asynchronous, typed client: requests in, tasks out, errors of the tree."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from edgescale.chance import Chance, SystemChance
from edgescale.client.dead_letters import DeadLetters
from edgescale.client.operations import Operations
from edgescale.client.wire import built, read, upload
from edgescale.envelope import ordered_id
from edgescale.v1 import (
    file_pb2,
    heartbeat_pb2,
    ingestion_service_pb2,
    task_pb2,
    text_pb2,
)

T = TypeVar("T")
OPTIONS = (
    # A sender that outruns ingestion is slowed down by HTTP/2 windows; probing would widen them to megabytes.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class Client(Operations):
    """Talks to one ingestion service. Use it as an async context manager, or call `close`.

    Every request gets a request id here unless the caller gives one. Who gives one may repeat a request after an
    `edgescale.errors.Unavailable`, and can never have the work done twice.

    Args:
        target: `host:port` of ingestion.
        chance: source of request ids; the system's when None.

    Attributes:
        dead_letters: lists, shows, replays and purges them.
    """

    def __init__(self, target: str, *, chance: Chance | None = None) -> None:
        self._channel = aio.insecure_channel(target, options=OPTIONS)
        super().__init__(self._channel)
        self.dead_letters = DeadLetters(self._stub)
        self._chance = chance or SystemChance()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def send_heartbeat(
        self,
        agent_id: str,
        *,
        sequence: int,
        boot_id: str = "",
        status: str = "",
        metrics: Mapping[str, float] | None = None,
        sent_ms: int | None = None,
        request_id: str = "",
        timeout_s: float | None = 10.0,
    ) -> ingestion_service_pb2.SendHeartbeatResponse:
        """Send a sign of life; returns once it is queued.

        Args:
            agent_id: 1 to 128 characters.
            sequence: counts up by one per beat within one boot.
            boot_id: names one run of the agent; a new one starts the sequence anew.
            status: free words of the agent on itself.
            metrics: gauges by name.
            sent_ms: the agent's own clock, in milliseconds since 1970; this process's when None.
            request_id: made here when empty.
            timeout_s: None for no limit.

        Raises:
            EdgeScaleError: see `edgescale.errors`; `retryable` says whether the same call may be repeated.
        """
        with built("heartbeat"):
            sent = Timestamp()
            sent.FromMilliseconds(self._chance.wall_ms() if sent_ms is None else sent_ms)
            beat = heartbeat_pb2.Heartbeat(
                agent_id=agent_id, sequence=sequence, boot_id=boot_id, status=status, metrics=metrics, sent_time=sent
            )
            request = ingestion_service_pb2.SendHeartbeatRequest(heartbeat=beat, request_id=self._id(request_id))
        return await self._call(self._stub.SendHeartbeat(request, timeout=timeout_s))

    async def analyze_text(
        self,
        text: str,
        *,
        top_terms: int = 0,
        request_id: str = "",
        respond_async: bool = False,
        schedule: task_pb2.Schedule | None = None,
        ordering_key: str = "",
        timeout_s: float | None = 60.0,
    ) -> task_pb2.Task:
        """Have a text analysed; returns the succeeded task, its result in `result.text_analysis`.

        Args:
            text: 1 byte to 1 MiB of UTF-8.
            top_terms: how many of the most frequent terms to return; 10 when 0.
            request_id: made here when empty.
            respond_async: return once the task is accepted; `task` brings the result later.
            schedule: when it may be started; at once, and however late, when None.
            ordering_key: tasks of one key are done one at a time, in the order of acceptance; empty for none. A request
                id that is given with it begins with it and a colon.
            timeout_s: None for the server's default.

        Raises:
            WaitExpired: no result in time; the task goes on under its request id.
            TaskFailed: the task ended without a result.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("input"):
            request = ingestion_service_pb2.AnalyzeTextRequest(
                input=text_pb2.TextInput(text=text, top_terms=top_terms),
                request_id=self._id(request_id, ordering_key),
                respond_async=respond_async,
                schedule=schedule,
                ordering_key=ordering_key,
            )
        return (await self._call(self._stub.AnalyzeText(request, timeout=timeout_s))).task

    async def upload_file(
        self,
        source: Path | AsyncIterator[bytes],
        *,
        name: str = "",
        content_type: str = "",
        size_bytes: int | None = None,
        sha256: str = "",
        request_id: str = "",
        respond_async: bool = False,
        schedule: task_pb2.Schedule | None = None,
        ordering_key: str = "",
        timeout_s: float | None = None,
    ) -> task_pb2.Task:
        """Stream a file; returns the succeeded task, its report in `result.file_report`.

        Args:
            source: a path, or chunks of 1 byte to 64 KiB; taken no faster than they can be stored.
            name: kept as data; the path's own when empty.
            content_type: by the sender's word.
            size_bytes: checked against what arrives, when given.
            sha256: checked against what arrives, when given.
            request_id: made here when empty.
            respond_async: return once the task is accepted; `task` brings the report later.
            schedule: when it may be started; at once, and however late, when None.
            ordering_key: tasks of one key are done one at a time, in the order of acceptance; empty for none. A request
                id that is given with it begins with it and a colon.
            timeout_s: None for as long as the upload takes.

        Raises:
            OSError: the path cannot be read.
            WaitExpired: no report in time; the task goes on under its request id.
            TaskFailed: the task ended without a report.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("metadata"):
            metadata = file_pb2.FileMetadata(
                name=name or (source.name if isinstance(source, Path) else ""),
                content_type=content_type,
                size_bytes=size_bytes,
                sha256=sha256,
            )
            start = ingestion_service_pb2.UploadFileStart(
                metadata=metadata,
                request_id=self._id(request_id, ordering_key),
                respond_async=respond_async,
                explicit_end=True,
                schedule=schedule,
                ordering_key=ordering_key,
            )
        chunks = read(source) if isinstance(source, Path) else source
        return (await upload(self._stub.UploadFile(timeout=timeout_s), start, chunks)).task

    async def task(self, request_id: str, *, wait_s: float = 0.0) -> task_pb2.Task:
        """What is known of a task.

        Args:
            request_id: of the task.
            wait_s: how long to wait for a terminal state.

        Raises:
            NotFound: there is no such task.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("wait"):
            wait = Duration()
            wait.FromMilliseconds(int(wait_s * 1000))
            request = ingestion_service_pb2.GetTaskRequest(request_id=request_id, wait=wait)
        return (await self._call(self._stub.GetTask(request, timeout=wait_s + 10.0))).task

    async def cancel_task(self, request_id: str, *, timeout_s: float = 10.0) -> task_pb2.Task:
        """Cancel a task; returns it as it stands then: cancelled, or as it had ended before. May be repeated.

        Raises:
            NotFound: there is no such task.
            EdgeScaleError: see `edgescale.errors`.
        """
        with built("request_id"):
            request = ingestion_service_pb2.CancelTaskRequest(request_id=request_id)
        return (await self._call(self._stub.CancelTask(request, timeout=timeout_s))).task

    def _id(self, given: str, ordering_key: str = "") -> str:
        return given or ordered_id(ordering_key, self._chance.new_id())
