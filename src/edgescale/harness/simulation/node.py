"""A node: a simulated process with a clock of its own that can crash, freeze, thaw and be started again."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from random import Random  # noqa: TID251 - drawn from the simulation's seed
from typing import Any

from edgescale.harness.simulation.loop import SimulationLoop
from edgescale.harness.simulation.tasks import OWNER, Handle

# 2026-01-01T00:00:00Z: the wall clock of a simulation starts here on every node, before its own offset.
EPOCH_MS = 1_767_225_600_000


class SimulatedChance:
    """Clock, randomness and ids of one node; an `edgescale.chance.Chance`.

    Args:
        loop: virtual time.
        rng: drawn from the simulation's seed, one for each node, so that nodes do not disturb each other's draws.
        wall_offset_ms: how wrong the node's clock is.
    """

    def __init__(self, loop: SimulationLoop, rng: Random, *, wall_offset_ms: int = 0) -> None:
        self._loop = loop
        self._rng = rng
        self.wall_offset_ms = wall_offset_ms

    def wall_ms(self) -> int:
        """Milliseconds since 1970 by this node's clock."""
        return EPOCH_MS + self._loop.now_ns // 1_000_000 + self.wall_offset_ms

    def uniform(self, low: float, high: float) -> float:
        """A number between low and high."""
        return self._rng.uniform(low, high)

    def new_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._rng.getrandbits(128):032x}"


class Node:
    """One life of a process. After a crash, the next life is another Node of the same name.

    Attributes:
        died: done once it has crashed, for others to wait for.
        silent: whether nobody is told that it has crashed.

    Args:
        loop: where it runs.
        name: of the process; connections and rules know it by this.
        incarnation: 1 for the first life.
    """

    def __init__(self, loop: SimulationLoop, name: str, incarnation: int = 1) -> None:
        self.name = name
        self.incarnation = incarnation
        self.running = True
        self.crashed = False
        self.silent = False
        self.died: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._postponed: list[Handle] = []
        self._kept: list[object] = []
        self.context = contextvars.copy_context()
        self.context.run(OWNER.set, self)

    @property
    def actor(self) -> str:
        """`name#incarnation`, as histories name it."""
        return f"{self.name}#{self.incarnation}"

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine as part of this process."""
        # A copy, as every task has one: what a request binds must not show in the next one.
        task: asyncio.Task[Any] = self._loop.create_task(coroutine, context=self.context.copy(), name=name)
        self._kept.append(task)
        return task

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback as part of this process."""
        self._loop.call_soon(callback, *args, context=self.context)

    def postpone(self, handle: Handle) -> None:
        """Keep what comes due while the process is frozen."""
        self._postponed.append(handle)

    def pause(self) -> None:
        """Freeze: nothing of it runs until `resume`, while the world goes on."""
        self.running = False

    def resume(self) -> None:
        """Thaw: everything that came due meanwhile happens now."""
        if self.crashed:
            return
        self.running = True
        postponed, self._postponed = self._postponed, []
        for handle in postponed:
            self._loop.requeue(handle)

    def crash(self, *, silent: bool = False) -> None:
        """End without running another line: no `finally`, no callback; `silent` as when the whole machine is gone.

        Its coroutines are kept, so that the garbage collector does not close them and run their `finally` after all.
        What is dead stays dead.
        """
        if self.crashed:
            return
        self.running = False
        self.crashed = True
        self.silent = silent
        self.died.set_result(None)
        self._kept.extend(self._postponed)
        GRAVEYARD.append(self)


# Crashed nodes stay referenced until the process that simulates ends its run and clears this.
GRAVEYARD: list[object] = []
