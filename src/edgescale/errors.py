"""Every error that EdgeScale raises on purpose, in one tree.

    EdgeScaleError
    ├── ConfigError                the settings cannot work; raised at start only
    ├── InvalidInput               a field is wrong
    │   ├── TooLarge               a field or body is over its limit
    │   ├── OutOfRange             what arrived is not what was declared
    │   └── UnsupportedMediaType   a body of a type that nothing here reads
    ├── NotFound                   no such task
    ├── Conflict                   the request id is taken by other content
    ├── RetryLater                 what may be over soon
    │   ├── Overloaded             no room now
    │   │   ├── LaneFull           the lane's backlog is at its cap
    │   │   └── TooManyRequests    this process has its hands full
    │   └── Unavailable            a part that is needed is away
    │       ├── BrokerUnavailable  Redis did not answer in time
    │       │   └── GroupMissing   the stream or its consumer group is gone; it is made anew
    │       ├── StoreUnavailable   the blob store did not answer
    │       └── NotServing         this process is starting, or about to stop
    ├── UploadStalled              the sender of a file fell silent
    ├── WaitExpired                the answer did not come in time; the task goes on
    ├── TaskFailed                 the task ended without a result
    │   └── TaskExpired            its deadline passed before it was started
    ├── EnvelopeError              an entry does not decode
    └── InternalError              a defect; says nothing of its cause to the outside

Each class knows its stable reason (`google.rpc.ErrorInfo`, problem type), whether the same request may be sent again,
and its gRPC status and HTTP status (source: google/rpc/code.proto, RFC 9110, RFC 6585).
"""

from typing import ClassVar


class EdgeScaleError(Exception):
    """Root of the tree. `str(error)` is a sentence for the caller and holds nothing internal."""

    reason: ClassVar[str] = "INTERNAL"
    grpc_status: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    @property
    def metadata(self) -> dict[str, str]:
        """Facts for programs, sent as ErrorInfo metadata and problem members."""
        return {}


class ConfigError(EdgeScaleError):
    """The settings cannot work. The message says which one and what to do."""

    reason = "CONFIG_INVALID"
    grpc_status = "FAILED_PRECONDITION"


class InvalidInput(EdgeScaleError):
    """A field of the request is wrong.

    Args:
        field: path of the field in the request, such as `heartbeat.agent_id`.
        problem: what is wrong and what would be right.
    """

    reason = "INVALID_INPUT"
    grpc_status = "INVALID_ARGUMENT"
    http_status = 422

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class TooLarge(InvalidInput):
    """A field or body is over its limit."""

    reason = "TOO_LARGE"
    http_status = 413


class OutOfRange(InvalidInput):
    """What arrived is not what was declared."""

    reason = "NOT_AS_DECLARED"
    grpc_status = "OUT_OF_RANGE"


class UnsupportedMediaType(InvalidInput):
    """A body of a media type that nothing here reads."""

    reason = "UNSUPPORTED_MEDIA_TYPE"
    http_status = 415


class NotFound(EdgeScaleError):
    """No task is known under this request id: it was never accepted, or its record has expired."""

    reason = "TASK_NOT_FOUND"
    grpc_status = "NOT_FOUND"
    http_status = 404


class Conflict(EdgeScaleError):
    """The request id is taken by a request with other content."""

    reason = "REQUEST_ID_CONFLICT"
    grpc_status = "ALREADY_EXISTS"
    http_status = 409


class RetryLater(EdgeScaleError):
    """What may be over soon.

    Args:
        message: a sentence for the caller.
        retry_after_ms: when to try again.
    """

    reason = "RETRY_LATER"
    grpc_status = "UNAVAILABLE"
    http_status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Overloaded(RetryLater):
    """There is no room now. Nothing was queued; the same request may be sent again after a while."""

    reason = "OVERLOADED"
    grpc_status = "RESOURCE_EXHAUSTED"
    http_status = 429


class LaneFull(Overloaded):
    """The lane's backlog is at its cap."""

    reason = "LANE_FULL"

    def __init__(self, lane: str, *, cap: int, retry_after_ms: int = 1000) -> None:
        super().__init__(f"lane {lane!r} is full ({cap} tasks queued and running)", retry_after_ms=retry_after_ms)
        self.lane = lane
        self.cap = cap

    @property
    def metadata(self) -> dict[str, str]:
        """Lane and cap."""
        return {"lane": self.lane, "cap": str(self.cap)}


class TooManyRequests(Overloaded):
    """This process already serves as many requests as it may."""

    reason = "TOO_MANY_REQUESTS"


class Unavailable(RetryLater):
    """A part that is needed is away. Whether the request was accepted may be unknown; the same id may be sent again."""

    reason = "UNAVAILABLE"


class BrokerUnavailable(Unavailable):
    """Redis did not answer in time, or answered that it cannot serve now."""

    reason = "BROKER_UNAVAILABLE"


class GroupMissing(BrokerUnavailable):
    """The stream or its consumer group is gone: flushed, evicted, or never there. The broker makes it anew."""


class StoreUnavailable(Unavailable):
    """The blob store did not answer, or refused."""

    reason = "STORE_UNAVAILABLE"


class NotServing(Unavailable):
    """This process is starting, or about to stop; another one may take the request."""

    reason = "NOT_SERVING"


class UploadStalled(EdgeScaleError):
    """The sender of a file fell silent; nothing of the file is kept, and it may be sent again."""

    reason = "UPLOAD_STALLED"
    grpc_status = "ABORTED"
    http_status = 408
    retryable = True


class WaitExpired(EdgeScaleError):
    """The answer did not come within the caller's time. The task goes on, and its result can be asked for by its id."""

    reason = "WAIT_EXPIRED"
    grpc_status = "DEADLINE_EXCEEDED"
    http_status = 504

    def __init__(self, request_id: str) -> None:
        super().__init__(f"no result within the time given; task {request_id} goes on and can be asked for later")
        self.request_id = request_id

    @property
    def metadata(self) -> dict[str, str]:
        """The request id."""
        return {"request_id": self.request_id}


class TaskFailed(EdgeScaleError):
    """The task ended without a result: failed, dead-lettered, expired or cancelled.

    Args:
        request_id, state, task_reason, message: as stored; the state in lower case, the reason in UPPER_SNAKE_CASE.
    """

    reason = "TASK_FAILED"
    grpc_status = "ABORTED"
    http_status = 422

    def __init__(self, request_id: str, *, state: str, task_reason: str, message: str) -> None:
        super().__init__(f"task {request_id} {state.replace('_', '-')}: {message}")
        self.request_id = request_id
        self.state = state
        self.task_reason = task_reason

    @property
    def metadata(self) -> dict[str, str]:
        """Request id, terminal state and stored reason."""
        return {"request_id": self.request_id, "state": self.state, "task_reason": self.task_reason}


class TaskExpired(TaskFailed):
    """The task was not started by its deadline, and never will be."""

    reason = "TASK_EXPIRED"
    grpc_status = "DEADLINE_EXCEEDED"
    http_status = 504


class EnvelopeError(EdgeScaleError):
    """An entry of a stream does not decode."""

    reason = "UNDECODABLE"


class InternalError(EdgeScaleError):
    """A defect. The cause is in the log; the outside is told the request id only."""

    def __init__(self, message: str = "internal error; the log has the cause") -> None:
        super().__init__(message)
