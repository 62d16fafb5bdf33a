"""What a handler is given, and what it may answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Context:
    """One delivery, seen from its handler.

    Attributes:
        request_id: the same on every attempt; use it to make effects repeatable.
        kind: the name the handler is registered under.
        attempt: 1 for the first delivery. It only grows, so that it can serve as a fencing token.
        attempts_max: the delivery after which the task is dead-lettered.
        accepted_ms: when the task was accepted, in milliseconds since 1970 by the broker's clock.
        agent_id: set for heartbeats, else empty.
        file_id: set for uploads, else empty.
    """

    request_id: str
    kind: str
    attempt: int
    attempts_max: int
    accepted_ms: int
    agent_id: str = ""
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """The task succeeded. `result` is an encoded `edgescale.v1.TaskResult`."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Retry:
    """The task may succeed later, after `delay_ms`; None leaves the time to the backoff of the kind's policy."""

    reason: str
    message: str
    delay_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The task can never succeed.

    Attributes:
        reason: stable, in UPPER_SNAKE_CASE.
        message: one sentence for the caller.
    """

    reason: str
    message: str


Outcome = Completed | Retry | Rejected


class Handler(Protocol):
    """Does the work of one kind. Execution is at-least-once: a handler may see the same request id again.

    It may have an attribute `policy`, a `Policy`, which says how its tasks are tried.
    """

    @property
    def kind(self) -> str:
        """The name that envelopes carry."""

    @property
    def lane(self) -> str:
        """The lane whose stream carries this kind."""

    async def handle(self, payload: bytes, context: Context) -> Outcome:
        """Do the work.

        Raises:
            EdgeScaleError: a retryable one means `Retry`, any other one `Rejected`.
            Exception: one that the policy calls final means `Rejected`; anything else is a defect or a passing trouble,
                and means `Retry`.
        """


class Offload(Protocol):
    """Runs a function where it cannot block the loop; `worker.pool.HandlerPool` is one."""

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Call a module-level function with picklable arguments in another process."""
