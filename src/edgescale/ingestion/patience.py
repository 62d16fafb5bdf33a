"""Answers within the time that somebody listens for them."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from edgescale.config import Settings
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


def patience_for(wait_s: float | None, settings: Settings) -> float:
    """How long to wait for Redis, in milliseconds: half of the caller's time at most, so that it hears of an outage."""
    patience_ms = float(settings.redis_patience_ms)
    return patience_ms if wait_s is None else min(patience_ms, max(wait_s, 0) * 500)
