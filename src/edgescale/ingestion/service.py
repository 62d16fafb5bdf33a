"""The gRPC face of the intake: messages in, messages out, errors as rich statuses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, NoReturn, TypeVar

import grpc
from grpc.aio import ServicerContext

from edgescale.broker.agents import AgentRegistry
from edgescale.broker.cancel import Canceller
from edgescale.broker.dead_letters import DeadLetters
from edgescale.broker.inspect import LaneInspector, LaneStatus
from edgescale.broker.model import TaskRecord
from edgescale.config import Settings
from edgescale.errors import EdgeScaleError, InternalError, InvalidInput, OutOfRange, UploadStalled
from edgescale.ingestion.admission import Admission
from edgescale.ingestion.checks import TRACEPARENT, check_request_id, check_wait
from edgescale.ingestion.dead_letters import DeadLetterCalls
from edgescale.ingestion.intake import Intake
from edgescale.ingestion.patience import within
from edgescale.ingestion.submissions import FILE, HEARTBEAT, TEXT
from edgescale.ingestion.tasks import to_lane, to_task
from edgescale.status import DETAILS_KEY, to_status
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.v1 import ingestion_service_pb2

T = TypeVar("T")
Context = ServicerContext[Any, Any]
PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1000
UPLOAD_IDLE_S = 60.0
# An answer must reach the caller before the caller's own clock runs out, or its details are lost.
ANSWER_MARGIN_S = 0.1


class IngestionService(DeadLetterCalls):
    """Serves `edgescale.v1.IngestionService`.

    Args:
        intake: does the work.
        agents: the registry of agents.
        inspector: figures of the lanes.
        canceller: ends tasks that their callers no longer want.
        letters: the dead letters.
        settings: limits and waits.
    """

    def __init__(
        self,
        intake: Intake,
        agents: AgentRegistry,
        inspector: LaneInspector,
        canceller: Canceller,
        letters: DeadLetters,
        settings: Settings,
    ) -> None:
        super().__init__(letters)
        self._intake = intake
        self._agents = agents
        self._inspector = inspector
        self._canceller = canceller
        self._settings = settings
        self.requests = Admission("requests", settings.requests_in_flight_max)
        self.uploads = Admission("uploads", settings.uploads_in_flight_max)
        self._log = get_log()

    async def SendHeartbeat(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.SendHeartbeatRequest, context: Context
    ) -> ingestion_service_pb2.SendHeartbeatResponse:
        """Answered as soon as the heartbeat is in its stream."""
        call = self._intake.heartbeat(
            request.heartbeat,
            request_id=request.request_id,
            traceparent=_traceparent(context),
            wait_s=self._wait_s(context),
        )
        receipt = await self._guard(context, self.requests, call)
        return ingestion_service_pb2.SendHeartbeatResponse(
            request_id=receipt.record.request_id, repeated=not receipt.accepted
        )

    async def AnalyzeText(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.AnalyzeTextRequest, context: Context
    ) -> ingestion_service_pb2.AnalyzeTextResponse:
        """Answered with the result, within the caller's deadline."""
        call = self._intake.analyze(
            request.input,
            request_id=request.request_id,
            traceparent=_traceparent(context),
            wait_s=self._wait_s(context),
            respond_async=request.respond_async,
            schedule=request.schedule,
            ordering_key=request.ordering_key,
        )
        record = await self._guard(context, self.requests, call)
        return ingestion_service_pb2.AnalyzeTextResponse(task=to_task(record))

    async def UploadFile(  # noqa: N802 - named by the contract
        self, request_iterator: AsyncIterator[ingestion_service_pb2.UploadFileRequest], context: Context
    ) -> ingestion_service_pb2.UploadFileResponse:
        """First message metadata, then chunks; answered with the report."""
        return await self._guard(context, self.uploads, self._upload(request_iterator, context))

    async def _upload(
        self, messages: AsyncIterator[ingestion_service_pb2.UploadFileRequest], context: Context
    ) -> ingestion_service_pb2.UploadFileResponse:
        first = await _next(messages)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidInput("start", "must come first, before any chunk")
        record = await self._intake.upload(
            first.start.metadata,
            _chunks(messages, explicit_end=first.start.explicit_end),
            request_id=first.start.request_id,
            traceparent=_traceparent(context),
            wait_s=_listens_s(context),
            respond_async=first.start.respond_async,
            schedule=first.start.schedule,
            ordering_key=first.start.ordering_key,
        )
        return ingestion_service_pb2.UploadFileResponse(task=to_task(record))

    async def GetTask(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.GetTaskRequest, context: Context
    ) -> ingestion_service_pb2.GetTaskResponse:
        """What is known of a task; waits for a terminal state as long as asked."""
        record, deliveries = await self._guard(context, self.requests, self._task(request, context))
        return ingestion_service_pb2.GetTaskResponse(task=to_task(record, deliveries=deliveries))

    async def _task(self, request: ingestion_service_pb2.GetTaskRequest, context: Context) -> tuple[TaskRecord, int]:
        check_wait(request.wait)
        wait_s = request.wait.seconds + request.wait.nanos / 1e9
        # The wait ends with the whole margin left; what is awaited after it is Redis.
        call = self._intake.task(request.request_id, wait_s=min(wait_s, self._wait_s(context)))
        return await within(_listens_s(context, share=0.5), call)

    async def CancelTask(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.CancelTaskRequest, context: Context
    ) -> ingestion_service_pb2.CancelTaskResponse:
        """Ends a task that has not ended yet; answered with the task as it stands then."""
        record = await self._guard(context, self.requests, self._cancel(request.request_id, context))
        return ingestion_service_pb2.CancelTaskResponse(task=to_task(record))

    async def _cancel(self, request_id: str, context: Context) -> TaskRecord:
        check_request_id(request_id, required=True)
        return await within(_listens_s(context), self._canceller.cancel(request_id))

    async def ListAgents(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.ListAgentsRequest, context: Context
    ) -> ingestion_service_pb2.ListAgentsResponse:
        """The agents that sent heartbeats, last seen first."""
        return await self._guard(context, self.requests, self._list_agents(request, context))

    async def _list_agents(
        self, request: ingestion_service_pb2.ListAgentsRequest, context: Context
    ) -> ingestion_service_pb2.ListAgentsResponse:
        if request.page_size > PAGE_SIZE_MAX:
            raise InvalidInput("page_size", f"must be at most {PAGE_SIZE_MAX}, not {request.page_size}")
        call = self._agents.page(size=request.page_size or PAGE_SIZE_DEFAULT, token=request.page_token)
        page = await within(_listens_s(context), call)
        return ingestion_service_pb2.ListAgentsResponse(agents=page.agents, next_page_token=page.next_page_token)

    async def ListLanes(  # noqa: N802 - named by the contract
        self, request: ingestion_service_pb2.ListLanesRequest, context: Context
    ) -> ingestion_service_pb2.ListLanesResponse:
        """Backlog and workers of each lane."""
        del request
        lanes = await self._guard(context, self.requests, self._list_lanes(context))
        return ingestion_service_pb2.ListLanesResponse(lanes=[to_lane(lane) for lane in lanes])

    async def _list_lanes(self, context: Context) -> list[LaneStatus]:
        names = {HEARTBEAT, TEXT, FILE, *self._settings.worker_lanes, *self._settings.lane_caps}
        return await within(_listens_s(context), self._inspector.lanes(names))

    def _wait_s(self, context: Context) -> float:
        """How long to wait on behalf of this caller."""
        listens_s = _listens_s(context)
        if listens_s is None:
            return self._settings.wait_default_ms / 1000
        return min(listens_s, self._settings.wait_max_ms / 1000)

    async def _guard(self, context: Context, admission: Admission, call: Awaitable[T]) -> T:
        """The one place where errors become statuses; nothing internal leaves."""
        try:
            with admission.place():
                return await call
        except EdgeScaleError as error:
            if isinstance(error, InternalError):
                self._log.exception(Event.REQUEST_FAILED)
            await _abort(context, error)
        except Exception:  # noqa: BLE001 - a defect must not reach the caller as a traceback
            self._log.exception(Event.REQUEST_FAILED)
            await _abort(context, InternalError())
        finally:
            # A call that was refused a place was never awaited.
            if asyncio.iscoroutine(call):
                call.close()


async def _abort(context: Context, error: EdgeScaleError) -> NoReturn:
    details = to_status(error).SerializeToString()
    await context.abort(grpc.StatusCode[error.grpc_status], str(error), ((DETAILS_KEY, details),))


def _listens_s(context: Context, *, share: float = 1.0) -> float | None:
    """How long the caller listens, less a share of what an answer needs to arrive; None when it set no deadline."""
    remaining_s: float | None = context.time_remaining()
    return None if remaining_s is None else remaining_s - share * min(ANSWER_MARGIN_S, remaining_s / 10)


def _traceparent(context: Context) -> str:
    """The caller's trace context; a malformed one is as good as none (W3C Trace Context, 3.2.2)."""
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str) and TRACEPARENT.fullmatch(value):
            return value
    return ""


async def _next(
    messages: AsyncIterator[ingestion_service_pb2.UploadFileRequest],
) -> ingestion_service_pb2.UploadFileRequest | None:
    """The sender's next message, None after the last.

    Raises:
        UploadStalled: it does not come; a place must not be held for ever by a sender who is gone.
    """
    try:
        async with asyncio.timeout(UPLOAD_IDLE_S):
            return await anext(messages, None)
    except TimeoutError as error:
        raise UploadStalled(f"no chunk came for {UPLOAD_IDLE_S:.0f} seconds") from error


async def _chunks(
    messages: AsyncIterator[ingestion_service_pb2.UploadFileRequest], *, explicit_end: bool
) -> AsyncIterator[bytes]:
    while (message := await _next(messages)) is not None and message.WhichOneof("part") != "end":
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput("chunk", "must be set in every message between the first and the end")
        yield message.chunk
    if message is not None and await _next(messages) is not None:
        raise InvalidInput("end", "must be the last message")
    # grpc.aio ends the messages of a call that its sender has cancelled as if all had come, and says so only later.
    if message is None and explicit_end:
        raise OutOfRange("end", "was announced, and the messages ended without it")
