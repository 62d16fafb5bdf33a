"""The janitor: removes what nobody needs any more and what would otherwise stay for ever."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from edgescale.broker.connection import Connection
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.reconnect import pause
from edgescale.broker.script import Script
from edgescale.chance import Chance
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# Every worker looks; that they all do so at once would be of no use.
LOOKS_PER_SILENCE = 4
# Letters that one command removes, so that no command takes long.
LETTERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in milliseconds.

    Attributes:
        consumers_ms: a consumer that owns nothing, after its last call. One that still lives is made anew by its next
            read, and loses nothing.
        agents_ms: the line of an agent in the index, after its last beat; its record expires by itself after as long.
        letters_ms: a dead letter, after it was buried; 0 for without end.
    """

    consumers_ms: int
    agents_ms: int
    letters_ms: int


class Janitor:
    """Every start of a worker makes a consumer in each group, every agent a line, every failure a letter.

    Args:
        connection: to the server.
        keys: names of everything there.
        chance: jitter.
        lanes: to look at, in every partition.
        retention: how long things are kept.
        stop: ends a pause early.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        chance: Chance,
        *,
        lanes: Iterable[str],
        retention: Retention,
        stop: asyncio.Event,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._lanes = tuple(lanes)
        self._chance = chance
        self._retention = retention
        self._stop = stop
        self._script = Script.load("retire")
        self._log = get_log()

    async def step(self) -> None:
        """One round: a pause, then every partition.

        Raises:
            BrokerUnavailable: Redis is away; the round is repeated.
        """
        longest_ms = self._retention.consumers_ms / LOOKS_PER_SILENCE
        await pause(self._chance.uniform(longest_ms / 2, longest_ms), self._stop)
        if not self._stop.is_set():
            await self.tidy()

    async def tidy(self) -> None:
        """Look at every partition.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        for partition in range(self._keys.partitions):
            now_ms = await self._connection.now_ms(self._keys.dead(partition))
            for lane in self._lanes:
                await self._retire(self._keys.stream(partition, lane))
            await self._forget_agents(partition, now_ms - self._retention.agents_ms)
            if self._retention.letters_ms:
                await self._remove_letters(partition, now_ms - self._retention.letters_ms)

    async def _retire(self, stream: str) -> None:
        for name in await self._connection.run(self._script, [stream], [GROUP, self._retention.consumers_ms]):
            self._log.info(Event.CONSUMER_RETIRED, consumer=name.decode(errors="replace"))

    async def _forget_agents(self, partition: int, until_ms: int) -> None:
        index = self._keys.agents(partition)
        if count := int(await self._connection.command("ZREMRANGEBYSCORE", index, "-inf", until_ms)):
            self._log.info(Event.AGENTS_FORGOTTEN, partition=partition, count=count)

    async def _remove_letters(self, partition: int, until_ms: int) -> None:
        """Remove the letters that were buried before a moment.

        Whole nodes of the stream go first, so many a call; then, exactly, what is left in the node that they end in.
        Source: Redis, XTRIM: `~` removes whole nodes, and only with it a LIMIT may be set.
        """
        dead, oldest, removed = self._keys.dead(partition), f"{until_ms}-0", 0
        while count := int(await self._connection.command("XTRIM", dead, "MINID", "~", oldest, "LIMIT", LETTERS_MAX)):
            removed += count
        removed += int(await self._connection.command("XTRIM", dead, "MINID", "=", oldest))
        if removed:
            self._log.info(Event.DEAD_LETTERS_PURGED, partition=partition, count=removed)
