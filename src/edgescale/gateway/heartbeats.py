"""POST /v1/heartbeats."""

from fastapi import FastAPI, Request, Response

from edgescale.config import Settings
from edgescale.gateway.answers import ACCEPTED, json_response
from edgescale.gateway.bodies import read_json
from edgescale.gateway.headers import idempotency_key, trace_metadata
from edgescale.gateway.models import HeartbeatAccepted, HeartbeatRequest
from edgescale.gateway.openapi import SUBMISSION_HEADERS, json_body, responses
from edgescale.gateway.problems import note_ids
from edgescale.gateway.upstream import Ingestion, answer_timeout, answered
from edgescale.v1.heartbeat_pb2 import Heartbeat
from edgescale.v1.ingestion_service_pb2 import SendHeartbeatRequest

# 64 metrics with names of 64 characters, each written as an escape, with room to spare.
BODY_BYTES_MAX = 64 * 1024


class HeartbeatRoutes:
    """Takes heartbeats in."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._timeout_s = answer_timeout(settings)
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the route, with its documentation."""
        app.add_api_route(
            "/v1/heartbeats",
            self.send,
            methods=["POST"],
            tags=["heartbeats"],
            status_code=ACCEPTED,
            summary="Send a heartbeat",
            responses=responses(HeartbeatAccepted, (ACCEPTED,), 409, 413, 415, 422, 429, 503),
            openapi_extra=json_body(HeartbeatRequest) | SUBMISSION_HEADERS,
        )

    async def send(self, request: Request) -> Response:
        """Answered as soon as the heartbeat is in its stream."""
        body = await read_json(request, HeartbeatRequest, BODY_BYTES_MAX)
        key = idempotency_key(request.headers)
        note_ids(request, request_id=key, agent_id=body.agent_id)
        message = SendHeartbeatRequest(heartbeat=_heartbeat(body), request_id=key)
        call = self._ingestion.unary.SendHeartbeat(
            message, timeout=self._timeout_s, metadata=trace_metadata(request.headers)
        )
        reply = await answered(call)
        return json_response({"request_id": reply.request_id, "repeated": reply.repeated}, ACCEPTED)


def _heartbeat(body: HeartbeatRequest) -> Heartbeat:
    heartbeat = Heartbeat(
        agent_id=body.agent_id,
        sequence=body.sequence,
        boot_id=body.boot_id,
        status=body.status,
        metrics=body.metrics,
    )
    if body.sent_time is not None:
        heartbeat.sent_time.FromDatetime(body.sent_time)
    return heartbeat
