"""Ingestion as the gateway sees it: two channels, and what their failures mean.

Uploads have a connection of their own: on a shared one, short calls would queue behind long uploads. How far a sender
may run ahead of a stalled reader is decided by the reader's windows, so bandwidth probing is switched off at ingestion.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Self, TypeVar

from grpc.aio import AioRpcError, Channel, UnaryUnaryMultiCallable, insecure_channel
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from edgescale import errors
from edgescale.config import Settings
from edgescale.errors import EdgeScaleError
from edgescale.status import DETAILS_KEY, from_status
from edgescale.v1 import ingestion_service_pb2
from edgescale.v1.ingestion_service_pb2_grpc import IngestionServiceStub

if TYPE_CHECKING:
    from edgescale.v1.ingestion_service_pb2_grpc import IngestionServiceAsyncStub  # exists for type checkers only

T = TypeVar("T")

SERVICE = ingestion_service_pb2.DESCRIPTOR.services_by_name["IngestionService"].full_name
HEALTH_CHECK = "/grpc.health.v1.Health/Check"

MESSAGE_BYTES_MIN = 4 * 1024 * 1024
MESSAGE_OVERHEAD_BYTES = 64 * 1024
# An ingestion process that restarts is found again within about a second; gRPC's own backoff grows to two minutes.
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
# Finds half-open connections. Servers end a connection that pings more often than they permit while no data flows
# (gRPC guide "Keepalive"); ingestion permits one in ten seconds.
KEEPALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 10_000)]
# Channels with the same target share a connection unless told otherwise.
UPLOADS = [("grpc.use_local_subchannel_pool", 1)]


class Ingestion:
    """The stubs that routes call.

    Attributes:
        unary: for everything but uploads.
        uploads: for `UploadFile` only.
        check_health: asks the standard health service.
    """

    unary: "IngestionServiceAsyncStub"
    uploads: "IngestionServiceAsyncStub"
    check_health: UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse]

    def __init__(self, unary: Channel, uploads: Channel) -> None:
        self._channels = (unary, uploads)
        self.unary = IngestionServiceStub(unary)
        self.uploads = IngestionServiceStub(uploads)
        self.check_health = unary.unary_unary(
            HEALTH_CHECK,
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Channels to `ingestion_target`, made on the running loop; connections follow with the first calls."""
        size = max(MESSAGE_BYTES_MIN, settings.text_bytes_max + MESSAGE_OVERHEAD_BYTES)
        sizes = [("grpc.max_send_message_length", size), ("grpc.max_receive_message_length", size)]
        common = [*RECONNECT, *KEEPALIVE, *sizes]
        return cls(
            insecure_channel(settings.ingestion_target, common),
            insecure_channel(settings.ingestion_target, [*common, *UPLOADS]),
        )

    async def close(self) -> None:
        """Cancel what is open and close both channels."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close."""
        await self.close()


async def answered(call: Awaitable[T]) -> T:
    """The answer of a call that waits for nothing.

    Raises:
        EdgeScaleError: ingestion's answer, or lack of one.
    """
    try:
        return await call
    except AioRpcError as error:
        raise translated(error) from error


def answer_timeout(settings: Settings, wait_ms: int = 0) -> float:
    """Seconds after which ingestion is taken for hung: the wait, its patience with Redis, and time to say so."""
    return (wait_ms + settings.redis_patience_ms + settings.redis_timeout_ms) / 1000 + 1


def translated(error: AioRpcError) -> EdgeScaleError:
    """What a failed call means to the HTTP caller."""
    details = error.trailing_metadata().get(DETAILS_KEY)
    if not isinstance(details, bytes):
        return _without_details(error.code().name)
    revived = from_status(error.code().name, error.details() or "", details)
    if isinstance(revived, errors.InvalidInput):
        return type(revived)(http_field(revived.field), revived.problem)
    return revived


def _without_details(code: str) -> EdgeScaleError:
    # Such a status was made by a gRPC library, not by ingestion, and its sentence names addresses and internals. That
    # the time is up does not mean that the task goes on: only ingestion knows whether it was accepted.
    match code:
        case "DEADLINE_EXCEEDED" | "UNAVAILABLE" | "CANCELLED":
            return errors.Unavailable("ingestion does not answer; try again")
        case "RESOURCE_EXHAUSTED":
            return errors.TooManyRequests("ingestion has its hands full; try again")
        case _:
            return errors.InternalError()


FIELD_GROUPS = ("heartbeat.", "input.", "start.", "metadata.", "filter.")
FIELD_NAMES = {
    "request_id": "Idempotency-Key",
    "content_type": "Content-Type",
    "size_bytes": "Content-Length",
    "page_size": "limit",
    "chunk": "body",
}


def http_field(field: str) -> str:
    """What the HTTP caller calls a field of a gRPC request: `input.text` is `text` there."""
    for group in FIELD_GROUPS:
        field = field.removeprefix(group)
    return FIELD_NAMES.get(field, field)
