"""The janitor: forgets the consumers of workers that are long dead, once they own nothing any more."""

import asyncio
from collections.abc import Iterable

from edgescale.broker.connection import Connection
from edgescale.broker.keys import GROUP, Keys
from edgescale.broker.reconnect import pause
from edgescale.broker.script import Script
from edgescale.chance import Chance
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# Every worker looks; that they all do so at once would be of no use.
LOOKS_PER_SILENCE = 4


class Janitor:
    """Every start of a worker makes a consumer in each group, for its name is unlike any other; this removes them.

    Args:
        connection: to the server.
        keys: names of the streams.
        chance: jitter.
        lanes: to look at, in every partition.
        silence_ms: after which a consumer that owns nothing is forgotten. One that still lives is made anew by its next
            read, and loses nothing.
        stop: ends a pause early.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        chance: Chance,
        *,
        lanes: Iterable[str],
        silence_ms: int,
        stop: asyncio.Event,
    ) -> None:
        self._connection = connection
        self._streams = [keys.stream(partition, lane) for partition in range(keys.partitions) for lane in lanes]
        self._chance = chance
        self._silence_ms = silence_ms
        self._stop = stop
        self._script = Script.load("retire")
        self._log = get_log()

    async def step(self) -> None:
        """One round: a pause, then every stream.

        Raises:
            BrokerUnavailable: Redis is away; the round is repeated.
        """
        longest_ms = self._silence_ms / LOOKS_PER_SILENCE
        await pause(self._chance.uniform(longest_ms / 2, longest_ms), self._stop)
        if not self._stop.is_set():
            await self.tidy()

    async def tidy(self) -> None:
        """Look at every stream.

        Raises:
            BrokerUnavailable: Redis is away.
        """
        for stream in self._streams:
            for name in await self._connection.run(self._script, [stream], [GROUP, self._silence_ms]):
                self._log.info(Event.CONSUMER_RETIRED, consumer=name.decode(errors="replace"))
