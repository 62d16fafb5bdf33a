"""The gateway's application."""

from fastapi import FastAPI

from edgescale import __version__
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.gateway.dead_letters import DeadLetterRoutes
from edgescale.gateway.files import FileRoutes
from edgescale.gateway.health import HealthRoutes
from edgescale.gateway.heartbeats import HeartbeatRoutes
from edgescale.gateway.listings import ListingRoutes
from edgescale.gateway.openapi import complete_openapi
from edgescale.gateway.problems import Problems
from edgescale.gateway.tasks import TaskRoutes
from edgescale.gateway.texts import TextRoutes
from edgescale.gateway.upstream import Ingestion

DESCRIPTION = """
Takes heartbeats, texts and files in, and answers for them. Sending a request again under the same `Idempotency-Key`
attaches to the first one. Errors are problem documents (RFC 9457) with a stable `reason`.
"""


def make_app(settings: Settings, ingestion: Ingestion, chance: Chance) -> FastAPI:
    """The application, without any state of its own; whoever opened `ingestion` closes it after the last request.

    Args:
        settings: limits and waits.
        ingestion: where requests go.
        chance: makes ids.
    """
    app = FastAPI(
        title="EdgeScale",
        version=__version__,
        description=DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,  # a redirected upload would be sent twice
        telemetry={"tracing": False, "metrics": False, "logs": False},  # would look for providers at each request
    )
    Problems(chance).install(app)
    for routes in (
        HeartbeatRoutes(settings, ingestion),
        TextRoutes(settings, ingestion, chance),
        FileRoutes(settings, ingestion),
        TaskRoutes(settings, ingestion),
        ListingRoutes(settings, ingestion),
        DeadLetterRoutes(settings, ingestion),
        HealthRoutes(ingestion),
    ):
        routes.install(app)
    complete_openapi(app)
    return app
