"""What the simulation's loop is made of: its errors, who owns a callback, and tasks that are the same in every run."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from edgescale.harness.simulation.loop import SimulationLoop

T = TypeVar("T")


class SimulationError(Exception):
    """The simulated program did what no simulation can do, or can never go on."""


class Deadlock(SimulationError):
    """Somebody waits, and nothing will ever happen again."""


class Livelock(SimulationError):
    """Callbacks follow each other without end while time stands still."""


class NotSimulated(SimulationError):
    """Something real was asked for: a thread, a socket, a signal, a process."""


class Owner(Protocol):
    """Whoever scheduled something; a node."""

    @property
    def running(self) -> bool:
        """False when it has crashed or is frozen."""

    @property
    def crashed(self) -> bool:
        """True when it will never run again."""

    def postpone(self, handle: asyncio.Handle) -> None:
        """Keep a handle until the node thaws."""


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("simulated_node", default=None)


class _Numbered:
    """Hashes by a sequence number: sets of tasks are walked in hash order, and addresses differ from run to run."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class SimulatedTask(_Numbered, asyncio.Task[T]):
    """A task whose place in sets is the same in every run."""

    def __init__(self, coro: Coroutine[Any, Any, T], *, loop: "SimulationLoop", number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, loop=loop, **options)


class SimulatedFuture(_Numbered, asyncio.Future[T]):
    """A future whose place in sets is the same in every run."""

    def __init__(self, *, loop: "SimulationLoop", number: int) -> None:
        self._number = number
        super().__init__(loop=loop)
