"""Handlers of simulated workers: the real ones for heartbeats and files, and for texts one that does as it is told."""

from edgescale.handlers.base import Handler
from edgescale.handlers.file import FileHandler
from edgescale.handlers.heartbeat import HeartbeatHandler
from edgescale.harness.scripted import ScriptedHandler
from edgescale.harness.simulation.services import Parts

REBIRTH_S = 1.0


def simulated_handlers(parts: Parts) -> list[Handler]:
    """The handlers of one simulated worker."""
    world, node = parts.world, parts.node

    async def die() -> None:
        """The process ends in the midst of the task; it is started again after a while."""
        world.loop.call_later(REBIRTH_S, lambda: world.start_again(node), context=world.outside)
        world.crash(node)
        # Nothing of this process runs any more, this line's continuation included.
        await world.loop.create_future()

    scripted = ScriptedHandler(node.actor, world.now_ns, die)
    return [HeartbeatHandler(parts.agents), scripted, FileHandler(world.store)]
