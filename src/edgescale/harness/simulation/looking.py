"""Somebody asks for what waits: where the first one of a key was taken away by hand, that lets the next one go."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from edgescale.broker.connection import Connection
from edgescale.broker.lookups import Lookups
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.errors import EdgeScaleError
from edgescale.harness.simulation.redis import look
from edgescale.harness.simulation.server import URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgescale.harness.simulation.world import World


async def ask_for_all_who_wait(world: "World", lanes: "Sequence[str]") -> None:
    """Read the record of each task that waits for its turn, from a process of its own."""
    if not (waiting := list(_waiting(world, lanes))):
        return
    node, _ = world.new_node("onlooker")
    connection = Connection(URL, timeout_ms=world.settings.redis_timeout_ms)
    lookups = Lookups(connection, world.keys)

    async def ask() -> None:
        for request_id in waiting:
            with suppress(EdgeScaleError):
                await lookups.find(request_id)
        await connection.close()

    await asyncio.wait([node.spawn(ask())])
    node.crash()
    world.network.reset_all("onlooker")


def _waiting(world: "World", lanes: "Sequence[str]") -> "Iterator[str]":
    for partition in range(world.keys.partitions):
        for lane in lanes:
            key = world.keys.waiting(partition, lane).encode()
            for entry in look.stream_ids(world.server.model, key):
                fields = look.stream_fields(world.server.model, key, entry) or {}
                yield fields.get(REQUEST_ID_FIELD, b"").decode(errors="replace")
