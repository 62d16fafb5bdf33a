"""How simulated clients get through a service: calls cross the simulated network."""

from functools import partial
from typing import TYPE_CHECKING, Any

from edgescale.errors import Unavailable
from edgescale.harness.clients.grpc_door import GrpcDoor
from edgescale.harness.clients.http_call import HttpCall
from edgescale.harness.clients.rest import HttpDoor
from edgescale.harness.plan import Request
from edgescale.harness.simulation.gateway import GatewayLife
from edgescale.harness.simulation.http import http_call

if TYPE_CHECKING:
    from edgescale.harness.clients.clients import Door
    from edgescale.harness.simulation.world import World


class SimulatedGrpcDoor(GrpcDoor):
    """To the methods of an ingestion process."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._world = world

    async def _call(self, request: Request, method: str, message: object, *, timeout_s: float) -> Any:
        life = self._world.ingestions.get(request.door)
        if life is None or (life.node.crashed and not life.node.silent):
            raise Unavailable("nobody listens there")
        served = getattr(life.service, method)
        return await self._world.rpc.call(request.client, life.node, served, message, timeout_s=timeout_s)


class SimulatedHttpDoor(HttpDoor):
    """To the application of a gateway process."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._world = world

    def _call(self, request: Request) -> HttpCall:
        gateway = self._world.services.get(request.door)
        if not isinstance(gateway, GatewayLife):
            raise Unavailable("nobody listens there")
        return partial(http_call, self._world, request.client, gateway)


def doors_of(world: "World") -> dict[str, "Door"]:
    """By the first part of a service's name."""
    return {"ingestion": SimulatedGrpcDoor(world), "gateway": SimulatedHttpDoor(world)}
