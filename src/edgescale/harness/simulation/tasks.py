"""What the simulation's loop is made of: its errors, who owns a callback, and handles and tasks of its own."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

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
    def name(self) -> str:
        """As the network knows it."""

    @property
    def running(self) -> bool:
        """False when it has crashed or is frozen."""

    @property
    def crashed(self) -> bool:
        """True when it will never run again."""

    def postpone(self, handle: "Handle") -> None:
        """Keep a handle until the node thaws."""


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("simulated_node", default=None)


class Handle(asyncio.TimerHandle):
    """A callback that is to be run, soon or at its time.

    As asyncio's, without what that keeps for its debug mode: most of what a loop costs is making and running these.

    Attributes:
        callback: None once it is cancelled.
        args: of the callback.
        context: in which it is run; who owns it stands there.
        when_ns: not before.
    """

    __slots__ = ("args", "callback", "context", "when_ns")

    def __init__(
        self, when_ns: int, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context
    ) -> None:
        # Not asyncio's constructor: nothing of what it sets is looked at here.
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self.when_ns = when_ns

    def cancel(self) -> None:
        """Do not run it; what it holds is let go at once."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.callback is None

    def when(self) -> float:
        """When it is due, in seconds of the loop's clock."""
        return self.when_ns / 1_000_000_000

    def __repr__(self) -> str:
        """Says what is called."""
        return f"<Handle of {self.callback!r}>"


class SimulatedTask(asyncio.Task[T]):
    """A task whose place in sets is the same in every run."""

    __slots__ = ("_number",)
    _number: int

    def __hash__(self) -> int:
        """As `number_of`."""
        return number_of(self)


class SimulatedFuture(asyncio.Future[T]):
    """A future whose place in sets is the same in every run."""

    __slots__ = ("_number",)
    _number: int

    def __hash__(self) -> int:
        """As `number_of`."""
        return number_of(self)


def number_of(item: SimulatedTask[Any] | SimulatedFuture[Any]) -> int:
    """What it hashes by: sets are walked in that order, and addresses, which asyncio hashes by, differ from run to run.

    Most are never in a set, and so they are numbered when they are hashed first.
    """
    try:
        return item._number  # noqa: SLF001 - it is kept there for this function alone
    except AttributeError:
        loop = cast("SimulationLoop", item.get_loop())
        item._number = loop.next_number()  # noqa: SLF001 - as above
        return item._number  # noqa: SLF001 - as above
