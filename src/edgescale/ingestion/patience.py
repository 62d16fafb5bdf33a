"""Answers within the time that somebody listens for them."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from edgescale.errors import BrokerUnavailable

T = TypeVar("T")


async def within(limit_s: float | None, call: Awaitable[T]) -> T:
    """What the broker says; one command to a server that has frozen may take longer than the caller listens.

    Args:
        limit_s: None for no limit but the broker's own.
        call: to the broker.

    Raises:
        BrokerUnavailable: the answer did not come in time; whether the call was carried out is unknown.
    """
    try:
        async with asyncio.timeout(limit_s):
            return await call
    except TimeoutError as error:
        raise BrokerUnavailable("Redis did not answer in time") from error
