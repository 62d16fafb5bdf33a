"""Heartbeats: each one is entered in the registry of agents."""

from typing import Protocol

from edgescale.handlers.base import Completed, Context
from edgescale.handlers.payload import decode
from edgescale.v1 import heartbeat_pb2, task_pb2


class Agents(Protocol):
    """The registry of agents; the broker has it."""

    async def record(self, beat: heartbeat_pb2.Heartbeat, *, seen_ms: int) -> heartbeat_pb2.HeartbeatReceipt:
        """Enter a beat, seen at `seen_ms` since 1970 by the broker's clock; entering it again changes nothing."""


class HeartbeatHandler:
    """Enters beats in the registry.

    Args:
        agents: the registry.
    """

    kind = "heartbeat"
    lane = "heartbeat"

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def handle(self, payload: bytes, context: Context) -> Completed:
        """Enter one `edgescale.v1.Heartbeat`; the result is its receipt.

        Raises:
            InvalidInput: the payload is no heartbeat.
            BrokerUnavailable: the registry is away; the beat is entered later.
        """
        beat = decode(heartbeat_pb2.Heartbeat, payload)
        # The time of acceptance, not the present: it is the same on every attempt, and a backlog makes no agent young.
        receipt = await self._agents.record(beat, seen_ms=context.accepted_ms)
        return Completed(task_pb2.TaskResult(heartbeat_receipt=receipt).SerializeToString(deterministic=True))
