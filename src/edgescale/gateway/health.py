"""GET /healthz and GET /readyz."""

from fastapi import FastAPI, Response
from grpc.aio import AioRpcError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from edgescale.errors import Unavailable
from edgescale.gateway.answers import OK, json_response
from edgescale.gateway.models import Health
from edgescale.gateway.openapi import responses
from edgescale.gateway.upstream import SERVICE, Ingestion

# Probes usually give up after a second or two, and should hear the reason before that.
CHECK_TIMEOUT_S = 1.0


class HealthRoutes:
    """Answers probes: alive is not ready."""

    def __init__(self, ingestion: Ingestion) -> None:
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the routes, with their documentation."""
        app.add_api_route(
            "/healthz", self.alive, methods=["GET"], tags=["operations"], responses=responses(Health, (OK,))
        )
        app.add_api_route(
            "/readyz", self.ready, methods=["GET"], tags=["operations"], responses=responses(Health, (OK,), 503)
        )

    async def alive(self) -> Response:
        """This process answers; nothing is said of any other."""
        return json_response({"status": "alive"})

    async def ready(self) -> Response:
        """Ingestion serves, so requests make sense here."""
        try:
            reply = await self._ingestion.check_health(HealthCheckRequest(service=SERVICE), timeout=CHECK_TIMEOUT_S)
        except AioRpcError as error:
            raise Unavailable("ingestion does not answer") from error
        if reply.status != HealthCheckResponse.SERVING:
            raise Unavailable("ingestion does not serve now")
        return json_response({"status": "ready"})
