"""The final section of a history: how everything stood at the end, read from the server and the blob store."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgescale.broker.keys import Name
from edgescale.harness.recording.recorder import result_digest
from edgescale.harness.simulation.redis import look

if TYPE_CHECKING:
    from edgescale.harness.simulation.world import World

PROBE = "probe"


def write_final(world: "World", lanes: Sequence[str]) -> None:
    """Write down the end of a run."""
    recorder = world.recorder
    dead = set(_dead(world))
    tasks = dict(_tasks(world))
    for request_id, fields in tasks.items():
        recorder.note(
            PROBE,
            "final",
            request_id=request_id,
            state=fields.get(b"state", b"").decode(),
            result_digest=result_digest(fields.get(b"result", b"")),
            attempts=int(fields.get(b"attempts", b"0")),
            reason=fields.get(b"reason", b"").decode(errors="replace"),
            dead=request_id in dead,
        )
    for lane in lanes:
        backlog, pending = world.server.watch.figures(lane, world.keys.partitions)
        recorder.note(PROBE, "final", lane=lane, backlog=backlog, pending=pending)
    referenced = {fields.get(b"file_id", b"").decode() for fields in tasks.values()}
    for file_id, content in world.store.files.items():
        recorder.note(
            PROBE,
            "final",
            file_id=file_id,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            referenced=file_id in referenced,
            complete=True,
        )


def _tasks(world: "World") -> Iterator[tuple[str, dict[bytes, bytes]]]:
    for key in look.keys(world.server.model):
        name = Name.parse(key.decode(errors="replace"))
        if name is not None and name.family == "task":
            yield name.rest, look.hash_fields(world.server.model, key)


def _dead(world: "World") -> Iterator[str]:
    """The request ids among the dead letters."""
    for partition in range(world.keys.partitions):
        key = world.keys.dead(partition).encode()
        for entry in look.stream_ids(world.server.model, key):
            fields = look.stream_fields(world.server.model, key, entry) or {}
            yield fields.get(b"request_id", b"").decode(errors="replace")
