"""What a worker waits for before it takes work: a server that can be worked with."""

import asyncio

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.inspect import check_server
from edgescale.broker.keys import Keys
from edgescale.broker.reconnect import persist_to_start
from edgescale.chance import Chance
from edgescale.config import Settings


async def until_fit(
    connection: Connection, keys: Keys, broker: Broker, settings: Settings, chance: Chance, stop: asyncio.Event
) -> bool:
    """Wait for a server that can be worked with; False when a stop was asked for before there was one.

    Raises:
        ConfigError: the server is there, and not fit.
    """

    async def check() -> None:
        await check_server(connection, settings)
        # Before the first entry is taken: it may not be due yet.
        for partition, clock in enumerate(broker.clocks):
            asked = clock.ask()
            clock.heard(await connection.now_ms(keys.dead(partition)), asked)

    checking = asyncio.create_task(persist_to_start(check, chance))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([checking, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if checking.done():
        checking.result()
        return True
    checking.cancel()
    return False
