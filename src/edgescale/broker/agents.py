"""The agent registry: who sends heartbeats, since when, until when, and how many are missing."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgescale.broker.commit import GroupCommit
from edgescale.broker.connection import Connection, flat_dict
from edgescale.broker.keys import Keys
from edgescale.broker.script import Argument, Script
from edgescale.config import Settings
from edgescale.errors import InvalidInput
from edgescale.v1 import heartbeat_pb2


@dataclass(frozen=True, slots=True)
class AgentPage:
    """Some agents, last seen first, and the token of the next page (empty after the last)."""

    agents: Sequence[heartbeat_pb2.Agent]
    next_page_token: str


class AgentRegistry:
    """Agents in Redis. Beats that arrive together share a round trip.

    Args:
        connection: to the server.
        keys: names of everything there.
        settings: after which silence an agent is stale, gone, forgotten.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self._connection = connection
        self._keys = keys
        self._settings = settings
        self._script = Script.load("beat")
        self._beats: list[GroupCommit[tuple[heartbeat_pb2.Heartbeat, int], Any]] = [
            self._commit(partition) for partition in range(keys.partitions)
        ]

    def _commit(self, partition: int) -> GroupCommit[tuple[heartbeat_pb2.Heartbeat, int], Any]:
        return GroupCommit(lambda items: self._flush(partition, items))

    async def record(self, beat: heartbeat_pb2.Heartbeat, *, seen_ms: int) -> heartbeat_pb2.HeartbeatReceipt:
        """Enter a beat; entering it again changes nothing.

        Args:
            beat: valid.
            seen_ms: when it was accepted, in milliseconds since 1970 by the broker's clock.

        Raises:
            BrokerUnavailable: Redis is away; the beat may be entered again.
        """
        missed, repeated = await self._beats[self._keys.partition_of_agent(beat.agent_id)]((beat, seen_ms))
        return heartbeat_pb2.HeartbeatReceipt(
            agent_id=beat.agent_id, sequence=beat.sequence, missed_beats=missed, repeated=bool(repeated)
        )

    async def _flush(self, partition: int, items: Sequence[tuple[heartbeat_pb2.Heartbeat, int]]) -> Any:
        keys = [self._keys.agents(partition)]
        args: list[Argument] = [self._settings.agent_retention_ms]
        for beat, seen_ms in items:
            keys.append(self._keys.agent(beat.agent_id))
            metrics = json.dumps(dict(beat.metrics), sort_keys=True)
            args += [beat.agent_id, beat.boot_id, beat.sequence, seen_ms, beat.status, metrics]
        return await self._connection.run(self._script, keys, args)

    async def page(self, *, size: int, token: str) -> AgentPage:
        """Agents by their last beat, latest first.

        Args:
            size: agents at most.
            token: from the previous page; empty for the first.

        Raises:
            InvalidInput: the token is not one of ours.
            BrokerUnavailable: Redis is away.
        """
        start = self._offset(token)
        found: list[tuple[float, str]] = []
        for partition in range(self._keys.partitions):
            index = self._keys.agents(partition)
            rows = await self._connection.command(
                "ZRANGE", index, "+inf", "-inf", "BYSCORE", "REV", "LIMIT", 0, start + size + 1, "WITHSCORES"
            )
            found += [(float(score), name.decode()) for name, score in zip(rows[::2], rows[1::2], strict=True)]
        found.sort(reverse=True)
        following = str(start + size) if len(found) > start + size else ""
        # One clock for all: which server's clock a beat was stamped by is not known any more.
        now_ms = await self._connection.now_ms(self._keys.agents(0))
        agents = await asyncio.gather(*(self._agent(name, now_ms) for _, name in found[start : start + size]))
        return AgentPage([agent for agent in agents if agent is not None], following)

    @staticmethod
    def _offset(token: str) -> int:
        if token and not (token.isascii() and token.isdecimal() and len(token) <= 9):  # noqa: PLR2004 - digits of a page
            raise InvalidInput("page_token", "must be the next_page_token of an earlier answer, or empty")
        return int(token or 0)

    async def _agent(self, agent_id: str, now_ms: int) -> heartbeat_pb2.Agent | None:
        flat = flat_dict(await self._connection.command("HGETALL", self._keys.agent(agent_id)))
        if b"sequence" not in flat:
            return None
        agent = heartbeat_pb2.Agent(
            agent_id=agent_id,
            state=self._state(int(flat[b"last_seen_ms"]), now_ms),
            sequence=int(flat[b"sequence"]),
            boot_id=flat[b"boot_id"].decode(),
            beats=int(flat[b"beats"]),
            missed_beats=int(flat[b"missed"]),
            status=flat[b"status"].decode(),
            metrics=json.loads(flat[b"metrics"]),
        )
        agent.first_seen_time.FromMilliseconds(int(flat[b"first_seen_ms"]))
        agent.last_seen_time.FromMilliseconds(int(flat[b"last_seen_ms"]))
        return agent

    def _state(self, last_seen_ms: int, now_ms: int) -> heartbeat_pb2.AgentState.ValueType:
        silence_ms = now_ms - last_seen_ms
        if silence_ms > self._settings.agent_gone_after_ms:
            return heartbeat_pb2.AGENT_STATE_GONE
        if silence_ms > self._settings.agent_stale_after_ms:
            return heartbeat_pb2.AGENT_STATE_STALE
        return heartbeat_pb2.AGENT_STATE_ALIVE
