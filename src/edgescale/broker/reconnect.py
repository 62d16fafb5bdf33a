"""The one policy for a Redis that is away: jittered, growing to a cap, without end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgescale.chance import Chance
from edgescale.errors import EdgeScaleError, Overloaded, Unavailable
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

T = TypeVar("T")
BASE_MS = 20
# Well below the five seconds within which every service consumes again after Redis is back.
CAP_MS = 1_000


class Backoff:
    """Waits that double up to a cap, each drawn from the upper half of its range, so that services come back apart.

    Args:
        chance: source of the jitter.
        base_ms: upper bound of the first wait.
        cap_ms: upper bound of all waits.
    """

    def __init__(self, chance: Chance, *, base_ms: float = BASE_MS, cap_ms: float = CAP_MS) -> None:
        self._chance = chance
        self._base_ms = base_ms
        self._cap_ms = cap_ms
        self._bound_ms = base_ms

    def next_ms(self) -> float:
        """The next wait, between half its bound and its bound, in milliseconds."""
        wait_ms = self._chance.uniform(self._bound_ms / 2, self._bound_ms)
        self._bound_ms = min(self._bound_ms * 2, self._cap_ms)
        return wait_ms

    def reset(self) -> None:
        """Begin with the first wait again; call it after a success."""
        self._bound_ms = self._base_ms


class Outage:
    """What one duty does while Redis is away: it says so once, waits longer each time, and says when it is over.

    Args:
        duty: names the duty in the log.
        chance: source of the jitter.
        cap_ms: upper bound of all waits.
    """

    def __init__(self, duty: str, chance: Chance, *, cap_ms: float = CAP_MS) -> None:
        self._log = get_log(duty=duty)
        self._backoff = Backoff(chance, cap_ms=cap_ms)
        self._noticed = False

    async def sit_out(self, error: EdgeScaleError, stop: asyncio.Event | None = None) -> None:
        """Wait before the next attempt, but no longer than until `stop` is set."""
        wait_ms = self._backoff.next_ms()
        if not self._noticed:
            # Once per outage: a line per attempt would flood the log for as long as it lasts.
            self._log.warning(
                Event.BROKER_LOST, error=str(error), cause=repr(error.__cause__), retry_in_ms=round(wait_ms)
            )
        self._noticed = True
        await pause(wait_ms, stop)

    def over(self) -> None:
        """Redis answered."""
        if self._noticed:
            self._log.info(Event.BROKER_FOUND)
        self._noticed = False
        self._backoff.reset()


async def keep_running(
    duty: str,
    step: Callable[[], Awaitable[None]],
    chance: Chance,
    *,
    stop: asyncio.Event | None = None,
    cap_ms: float = CAP_MS,
) -> None:
    """Call `step` again and again; when the broker is away, wait and go on, without end.

    An exception that is no trouble of the broker leaves the loop: that is a defect, and the process had better end
    loudly than go on deaf.

    Args:
        duty: names the loop in the log.
        step: does one round; raises a retryable EdgeScaleError when the broker is away.
        chance: source of the jitter.
        stop: ends the loop between two rounds; None for never. Cancelling a round instead could lose entries that
            were delivered to it.
        cap_ms: the longest wait while the broker is away.
    """
    outage = Outage(duty, chance, cap_ms=cap_ms)
    while stop is None or not stop.is_set():
        try:
            await step()
        except EdgeScaleError as error:
            await outage.sit_out(error, stop)
        else:
            outage.over()


async def pause(wait_ms: float, stop: asyncio.Event | None = None) -> None:
    """Wait, but no longer than until `stop` is set."""
    if stop is None:
        await asyncio.sleep(wait_ms / 1000)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_ms / 1000):
            await stop.wait()


async def persist(call: Callable[[], Awaitable[T]], chance: Chance, *, patience_ms: float) -> T:
    """Repeat a call that may be repeated until it succeeds or patience ends.

    Args:
        call: idempotent; raises a retryable EdgeScaleError when the broker is away.
        chance: source of the jitter.
        patience_ms: how long to go on; infinity never gives up.

    Raises:
        Unavailable: the last one, when patience ended. Where there has been no room since, too: that refuses the last
            attempt, and an earlier one may have been carried out, or still be on its way to the server.
        EdgeScaleError: any other error of the call, at once.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_ms / 1000
    backoff = Backoff(chance)
    unclear: Unavailable | None = None
    while True:
        try:
            return await call()
        except Unavailable as away:
            unclear = away
        except Overloaded:
            if unclear is None:
                raise
        wait_s = backoff.next_ms() / 1000
        if loop.time() + wait_s > give_up:
            raise unclear
        await asyncio.sleep(wait_s)


async def persist_to_start(call: Callable[[], Awaitable[None]], chance: Chance) -> None:
    """Repeat what a service must have done before it serves for as long as that takes, and log that it waits, and why.

    Args:
        call: idempotent; raises a retryable EdgeScaleError when the broker is away.
        chance: source of the jitter.

    Raises:
        EdgeScaleError: any other error of the call, at once.
    """
    waits, log = False, get_log()

    async def told() -> None:
        nonlocal waits
        try:
            await call()
        except Unavailable as error:
            if not waits:
                # Or nobody could tell a service that waits from one that has nothing to do.
                log.warning(Event.BROKER_LOST, duty="start", error=str(error), cause=repr(error.__cause__))
            waits = True
            raise

    await persist(told, chance, patience_ms=float("inf"))
    if waits:
        log.info(Event.BROKER_FOUND, duty="start")
