"""An event loop in which time passes only when nothing else can happen, and chance comes from one seed.

Ready callbacks run in an order drawn from the seed; when none is ready, the clock jumps to the next timer. A window of
turns can be set outside of which they run first in, first out, to find out which turn's order it is that matters.

Nothing real is in reach: threads, sockets, signals and subprocesses raise. What is scheduled belongs to the node (see
`node.py`) whose code scheduled it, and once that node has crashed it is never run: a crash is no cancellation, no
`finally` runs.
"""

import asyncio
import contextvars
import gc
import sys
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Coroutine
from heapq import heappop, heappush
from random import Random  # noqa: TID251 - the seed of a simulation is the one source of its chance
from typing import Any, Protocol, TypeVar

from edgescale.harness.simulation.order import shuffle
from edgescale.harness.simulation.real import NothingReal
from edgescale.harness.simulation.tasks import (
    OWNER,
    Deadlock,
    Handle,
    Livelock,
    NotSimulated,
    SimulatedFuture,
    SimulatedTask,
    SimulationError,
)

T = TypeVar("T")
NS = 1_000_000_000
# Turns without time passing after which the simulation is taken for stuck in a circle.
LIVELOCK_TURNS = 100_000


class Network(Protocol):
    """Where connections are made; see `network.py`."""

    async def create_connection(
        self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a listener."""


class SimulationLoop(NothingReal):
    """Runs coroutines in virtual time.

    Args:
        rng: draws the order of ready callbacks.
        network: what `create_connection` leads to; None refuses it.
        end_ns: the virtual time at which a run that still goes on is given up.
        shuffled: the first turn whose callbacks run in an order drawn from the seed, and the turn before which that
            ends; a negative one never comes. In all other turns they run first in, first out.

    Attributes:
        now_ns: the virtual time.
        turns: how many are over; while one runs, its number, from 0.
    """

    def __init__(
        self,
        rng: Random,
        *,
        network: Network | None = None,
        end_ns: int = 86_400 * NS,
        shuffled: tuple[int, int] = (0, -1),
    ) -> None:
        self.network = network
        self.now_ns = 0
        self.turns = 0
        self._shuffled_from, end = shuffled
        self._shuffled_to = end if end >= 0 else sys.maxsize
        self._rng = rng
        self._end_ns = end_ns
        self._ready: list[Handle] = []
        # By time, and by number where times are equal.
        self._timers: list[tuple[int, int, Handle]] = []
        self._numbers = 0
        self._last_advance = 0
        self._running = False
        self._closed = False
        self._failures: list[BaseException] = []

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now_ns / NS

    # --- scheduling -----------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override] # the same, without the type variables
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in the next turn, in any order with the others of that turn."""
        handle = Handle(self.now_ns, callback, args, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override] # the same, without the type variables
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        # Whole nanoseconds, so that no two runs round differently.
        return self.call_at_ns(round(when * NS), callback, args, context)

    def call_later(  # type: ignore[override] # the same, without the type variables
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after a virtual delay, in seconds."""
        return self.call_at_ns(self.now_ns + round(delay * NS), callback, args, context)

    def call_at_ns(
        self,
        when_ns: int,
        callback: Callable[..., object],
        args: tuple[Any, ...] = (),
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time in nanoseconds, or now if that is past."""
        when_ns = max(when_ns, self.now_ns)
        handle = Handle(when_ns, callback, args, contextvars.copy_context() if context is None else context)
        self._numbers += 1
        heappush(self._timers, (when_ns, self._numbers, handle))
        return handle

    def requeue(self, handle: Handle) -> None:
        """Make a handle ready that came due while its owner was frozen."""
        self._ready.append(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return SimulatedFuture(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """A task of this loop."""
        if options.get("name") is None:
            # asyncio would number them through all loops of the process.
            options["name"] = f"task-{self.next_number()}"
        return SimulatedTask(coro, loop=self, **options)

    def next_number(self) -> int:
        """A number that the loop has not given out yet."""
        self._numbers += 1
        return self._numbers

    # --- running --------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override] # coroutines only
        """Run until the future is done, and return its result.

        The garbage collector is off meanwhile: when it runs depends on all that the process has ever done, and what it
        finalises may be part of the simulation.

        Raises:
            Deadlock: nothing will ever happen again, and it is not done.
            Livelock: time no longer passes.
            SimulationError: the time of the simulation is over.
        """
        task = self.create_task(future)
        before, hooks, collects = events._get_running_loop(), sys.get_asyncgen_hooks(), gc.isenabled()  # noqa: SLF001 - as every event loop must
        gc.disable()
        sys.set_asyncgen_hooks(finalizer=self._close_generator)
        events._set_running_loop(self)  # noqa: SLF001 - as every event loop must
        self._running = True
        try:
            while not task.done():
                self._turn()
                if self._failures:
                    raise self._failures[0]
        finally:
            self._running = False
            events._set_running_loop(before)  # noqa: SLF001 - as every event loop must
            sys.set_asyncgen_hooks(*hooks)
            if collects:
                gc.enable()
        result: T = task.result()
        return result

    def _close_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        """An asynchronous generator was left before its end; as in any other loop, a task runs its `finally`."""
        self.call_soon(self.create_task, generator.aclose())

    def _turn(self) -> None:
        if not self._ready:
            self._advance()
        turn, self._ready = self._ready, []
        # One draw a turn, whatever is made of it: no turn's chance depends on what was ready in those before it.
        drawn = self._rng.getrandbits(64)
        if len(turn) > 1 and self._shuffled_from <= self.turns < self._shuffled_to:
            shuffle(turn, drawn)
        for handle in turn:
            if handle.callback is not None:
                owner = handle.context.get(OWNER)
                if owner is None or owner.running:
                    handle.context.run(handle.callback, *handle.args)
                elif not owner.crashed:
                    owner.postpone(handle)
        self.turns += 1
        if self.turns - self._last_advance > LIVELOCK_TURNS:
            raise Livelock(f"{LIVELOCK_TURNS} turns at {self.time():.6f} s; the last one was {turn!r}")

    def _advance(self) -> None:
        """Let the clock jump to the next timers, and make all that are due ready."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heappop(timers)
        if not timers:
            raise Deadlock(f"nothing will ever happen again after {self.time():.6f} s")
        now_ns = self.now_ns = timers[0][0]
        self._last_advance = self.turns
        if now_ns > self._end_ns:
            raise SimulationError(f"the simulation did not end within {self._end_ns / NS:.0f} s of virtual time")
        while timers and timers[0][0] <= now_ns:
            self._ready.append(heappop(timers)[2])

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._running

    def is_closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Drop all that is scheduled."""
        self._closed = True
        self._ready.clear()
        self._timers.clear()

    # --- errors ---------------------------------------------------------------------------------------------------

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that nobody took ends the run: here it is a bug of the program or of the harness."""
        error = context.get("exception")
        self._failures.append(error if isinstance(error, BaseException) else SimulationError(str(context["message"])))

    def get_debug(self) -> bool:
        """Never: asyncio's debug mode reads the real clock."""
        return False

    # --- connections ----------------------------------------------------------------------------------------------

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Connect through the simulated network."""
        if self.network is None or host is None:
            raise NotSimulated(f"create_connection({host!r}, {options!r})")
        return await self.network.create_connection(protocol_factory, str(host), int(port))
