"""Tasks with an ordering key, and the sight of their chains in Redis."""

import asyncio
from dataclasses import replace

from edgescale.broker.model import Submission
from tests.support import LANE, Rig, submission


def ordered(request_id: str, payload: bytes = b"hello", *, lane: str = LANE) -> Submission:
    """A task whose ordering key is what stands before the colon of its id."""
    made = submission(request_id, payload, lane=lane)
    return replace(made, envelope=replace(made.envelope, ordering_key=request_id.partition(":")[0]))


async def submit_in_order(rig: Rig, *request_ids: str) -> None:
    """Accept tasks, in one batch, each after the one before it."""
    await asyncio.gather(*(rig.broker.submit(ordered(name)) for name in request_ids))


async def queued(rig: Rig, lane: str = LANE) -> list[str]:
    """The request ids in the lane's streams, oldest first: running ones too."""
    return await rig.request_ids(lane)


async def waiting(rig: Rig, lane: str = LANE) -> list[str]:
    """The request ids that wait for their turn."""
    found = []
    for partition in range(rig.keys.partitions):
        rows = await rig.connection.command("XRANGE", rig.keys.waiting(partition, lane), "-", "+")
        found += [fields[fields.index(b"request_id") + 1].decode() for _, fields in rows]
    return found


async def chain(rig: Rig, key: str, lane: str = LANE) -> list[str]:
    """The request ids of a chain."""
    partition = rig.keys.partition_of(f"{key}:")
    members = await rig.connection.command("ZRANGE", rig.keys.chain(partition, lane, key), 0, -1)
    return [member.decode().partition(" ")[0] for member in members]
