"""Commands that ask ingestion: a client for as long as one command lasts."""

import asyncio
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from edgescale.client import Client


def with_client(target: str | None, use: "Callable[[Client], Coroutine[Any, Any, None]]") -> None:
    """Use a client, and close it.

    Args:
        target: `host:port` of ingestion; the setting's when None.
        use: is given the client.

    Raises:
        ConfigError: the environment's settings cannot work.
        EdgeScaleError: whatever `use` raises.
    """
    from edgescale.client import Client  # noqa: PLC0415 - gRPC is slow to import, and `--help` does not need it
    from edgescale.config import load_settings  # noqa: PLC0415 - as above

    async def call() -> None:
        async with Client(load_settings(os.environ, ingestion_target=target).ingestion_target) as client:
            await use(client)

    asyncio.run(call())
