"""An event loop in which time passes only when nothing else can happen, and chance comes from one seed.

Ready callbacks run in an order drawn from the seed; when none is ready, the clock jumps to the next timer. A window of
turns can be set outside of which they run first in, first out, to find out which turn's order it is that matters.

Nothing real is in reach: threads, sockets, signals and subprocesses raise. What is scheduled belongs to the node (see
`node.py`) whose code scheduled it, and once that node has crashed it is never run: a crash is no cancellation, no
`finally` runs.
"""

import asyncio
import contextvars
import heapq
import sys
from asyncio import events
from collections.abc import Callable, Coroutine
from random import Random  # noqa: TID251 - the seed of a simulation is the one source of its chance
from typing import Any, Protocol, TypeVar

from edgescale.harness.simulation.order import shuffle
from edgescale.harness.simulation.real import NothingReal
from edgescale.harness.simulation.tasks import (
    OWNER,
    Deadlock,
    Livelock,
    NotSimulated,
    SimulatedFuture,
    SimulatedTask,
    SimulationError,
)

T = TypeVar("T")
NS = 1_000_000_000
# Callbacks without time passing after which the simulation is taken for stuck in a circle.
LIVELOCK_CALLBACKS = 1_000_000


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
        turns: how many are over; while one runs, its number, from 0.
        callbacks_run: how many of those were run that were not cancelled.
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
        self.callbacks_run = 0
        self._shuffled_from, end = shuffled
        self._shuffled_to = end if end >= 0 else sys.maxsize
        self._rng = rng
        self._end_ns = end_ns
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._running = False
        self._closed = False
        self._failures: list[BaseException] = []
        self._since_advance = 0

    # --- time -----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now_ns / NS

    # --- scheduling -----------------------------------------------------------------------------------------------

    def call_soon(  # type: ignore[override] # the same, without the type variables
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in the next turn, in any order with the others of that turn."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override] # the same, without the type variables
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        # Whole nanoseconds, so that no two runs round differently; never in the past.
        heapq.heappush(self._timers, (max(round(when * NS), self.now_ns), self._next_number(), handle))
        return handle

    def call_later(  # type: ignore[override] # the same, without the type variables
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after a virtual delay, in seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def requeue(self, handle: asyncio.Handle) -> None:
        """Make a handle ready that came due while its owner was frozen."""
        self._ready.append(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return SimulatedFuture(loop=self, number=self._next_number())

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """A task of this loop."""
        options.setdefault("name", f"task-{self._numbers}")
        return SimulatedTask(coro, loop=self, number=self._next_number(), **options)

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is dropped when its time comes."""

    # --- running --------------------------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override] # coroutines only
        """Run until the future is done, and return its result.

        Raises:
            Deadlock: nothing will ever happen again, and it is not done.
            Livelock: time no longer passes.
            SimulationError: the time of the simulation is over.
        """
        task = self.create_task(future)
        before = events._get_running_loop()  # noqa: SLF001 - as every event loop must
        events._set_running_loop(self)  # noqa: SLF001
        self._running = True
        try:
            while not task.done():
                self._turn()
                if self._failures:
                    raise self._failures[0]
        finally:
            self._running = False
            events._set_running_loop(before)  # noqa: SLF001
        result: T = task.result()
        return result

    def _turn(self) -> None:
        if not self._ready:
            self._advance()
        turn, self._ready = self._ready, []
        # One draw a turn, whatever is made of it: no turn's chance depends on what was ready in those before it.
        drawn = self._rng.getrandbits(64)
        if self._shuffled_from <= self.turns < self._shuffled_to:
            shuffle(turn, drawn)
        for handle in turn:
            self._run_handle(handle)
        self.turns += 1

    def _run_handle(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]  # noqa: SLF001 - the handle's own context
        if owner is not None and not owner.running:
            if not owner.crashed:
                owner.postpone(handle)
            return
        self.callbacks_run += 1
        self._since_advance += 1
        if self._since_advance > LIVELOCK_CALLBACKS:
            raise Livelock(f"{LIVELOCK_CALLBACKS} callbacks at {self.time():.6f} s; the last one is {handle!r}")
        handle._run()  # noqa: SLF001 - as every event loop must

    def _advance(self) -> None:
        """Let the clock jump to the next timers, and make all that are due ready."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock(f"nothing will ever happen again after {self.time():.6f} s")
        self.now_ns = self._timers[0][0]
        self._since_advance = 0
        if self.now_ns > self._end_ns:
            raise SimulationError(f"the simulation did not end within {self._end_ns / NS:.0f} s of virtual time")
        while self._timers and self._timers[0][0] <= self.now_ns:
            self._ready.append(heapq.heappop(self._timers)[2])

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

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As `call_exception_handler`."""
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        """There is none but the loop's own."""

    def get_debug(self) -> bool:
        """Never: asyncio's debug mode reads the real clock."""
        return False

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Without effect."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators of crashed nodes must not be closed."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio's signature
        """Nothing to do: there is none."""

    # --- connections ----------------------------------------------------------------------------------------------

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Connect through the simulated network."""
        if self.network is None or host is None:
            raise NotSimulated(f"create_connection({host!r}, {options!r})")
        return await self.network.create_connection(protocol_factory, str(host), int(port))
