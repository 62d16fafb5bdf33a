"""What operators ask ingestion, whoever the caller is."""

from collections.abc import Awaitable
from typing import TypeVar

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edgescale.client.wire import translated
from edgescale.v1 import heartbeat_pb2, ingestion_service_pb2, ingestion_service_pb2_grpc

T = TypeVar("T")


class Operations:
    """Agents, lanes and health; a part of `Client`.

    Args:
        channel: to ingestion.
    """

    def __init__(self, channel: aio.Channel) -> None:
        self._stub = ingestion_service_pb2_grpc.IngestionServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    async def agents(self, *, timeout_s: float = 10.0) -> list[heartbeat_pb2.Agent]:
        """All agents, last seen first.

        Raises:
            EdgeScaleError: see `edgescale.errors`.
        """
        agents: list[heartbeat_pb2.Agent] = []
        token = ""
        while True:
            request = ingestion_service_pb2.ListAgentsRequest(page_token=token)
            page = await self._call(self._stub.ListAgents(request, timeout=timeout_s))
            agents += page.agents
            token = page.next_page_token
            if not token:
                return agents

    async def lanes(self, *, timeout_s: float = 10.0) -> list[ingestion_service_pb2.Lane]:
        """Backlog and workers of each lane.

        Raises:
            EdgeScaleError: see `edgescale.errors`.
        """
        request = ingestion_service_pb2.ListLanesRequest()
        return list((await self._call(self._stub.ListLanes(request, timeout=timeout_s))).lanes)

    async def serving(self, *, timeout_s: float = 2.0) -> bool:
        """Whether ingestion says that it can answer; False when it cannot be reached."""
        try:
            answer = await self._health.Check(  # type: ignore[attr-defined] # the stubs leave it out
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
        except aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    @staticmethod
    async def _call(call: Awaitable[T]) -> T:
        with translated():
            return await call
