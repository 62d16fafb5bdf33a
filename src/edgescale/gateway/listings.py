"""GET /v1/agents and GET /v1/lanes."""

from typing import Annotated

from fastapi import FastAPI, Query, Response

from edgescale.config import Settings
from edgescale.gateway.answers import OK, json_response
from edgescale.gateway.documents import document
from edgescale.gateway.models import AgentPage, LaneList
from edgescale.gateway.openapi import responses
from edgescale.gateway.upstream import Ingestion, answer_timeout, answered
from edgescale.v1.ingestion_service_pb2 import ListAgentsRequest, ListLanesRequest

Limit = Annotated[int, Query(ge=1, le=1000, description="Agents on a page, at most.")]
PageToken = Annotated[str, Query(description="From the previous page; empty for the first.")]


class ListingRoutes:
    """Shows operators who is there and how much is queued."""

    def __init__(self, settings: Settings, ingestion: Ingestion) -> None:
        self._timeout_s = answer_timeout(settings)
        self._ingestion = ingestion

    def install(self, app: FastAPI) -> None:
        """Add the routes, with their documentation."""
        app.add_api_route(
            "/v1/agents",
            self.agents,
            methods=["GET"],
            tags=["operations"],
            summary="List agents",
            responses=responses(AgentPage, (OK,), 422, 429, 503),
        )
        app.add_api_route(
            "/v1/lanes",
            self.lanes,
            methods=["GET"],
            tags=["operations"],
            summary="List lanes",
            responses=responses(LaneList, (OK,), 429, 503),
        )

    async def agents(self, limit: Limit = 100, page_token: PageToken = "") -> Response:
        """The agents that sent heartbeats, last seen first."""
        message = ListAgentsRequest(page_size=limit, page_token=page_token)
        page = await answered(self._ingestion.unary.ListAgents(message, timeout=self._timeout_s))
        return json_response({**document(page), "next_page_token": page.next_page_token or None})

    async def lanes(self) -> Response:
        """Backlog and workers of each lane."""
        return json_response(
            document(await answered(self._ingestion.unary.ListLanes(ListLanesRequest(), timeout=self._timeout_s)))
        )
