"""A campaign: many runs in many processes, and their results as they come."""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Self

from edgescale.harness.campaign.host import RUNS_PER_FORK, Order, serve
from edgescale.harness.campaign.result import Job, Result, Work, ruined

# Objects that the hosts of a variation make first, for each unit.
PADDING = 10_007


class _Host:
    """A host process, and what is still awaited from it.

    Args:
        work: does one job.
        variation: see `Hosts`.
    """

    def __init__(self, work: Work, variation: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.order = Order(())
        self.told = 0
        self.orders: Connection[Order | None, Result | None]
        self.orders, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, work, variation * PADDING))
        with _environment(_variables(variation)), _ctrl_c_later():
            self._process.start()
        theirs.close()

    def take(self, order: Order) -> None:
        self.order, self.told = order, 0
        # A host that is gone is noticed when its results are read.
        with suppress(ConnectionError):
            self.orders.send(order)

    def next(self) -> Result | None:
        """The next result that has come; None after the last one.

        Raises:
            EOFError, OSError: the host is gone.
        """
        result = self.orders.recv()
        self.told += 1
        return result

    def end(self) -> None:
        """End it and its fork, wherever they are."""
        self.orders.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()


class Hosts:
    """Host processes that run jobs. To be used in a `with`; leaving it ends them, whatever they are at.

    Args:
        count: how many.
        work: does one job.
        variation: 0 for processes as they come; hosts of another number have another PYTHONHASHSEED and other addresses
            on their heap. Runs that differ between variations depend on what they must not depend on.
    """

    def __init__(self, count: int, work: Work, *, variation: int = 0) -> None:
        self._count = count
        self._work = work
        self._variation = variation
        self._hosts: set[_Host] = set()

    def __enter__(self) -> Self:
        """Start nothing yet: hosts are started as they are needed."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End all hosts."""
        for host in self._hosts:
            host.end()
        self._hosts.clear()

    def run(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Result]]:
        """Have orders done, each by one host; yield every result as it comes. Orders are taken when a host is free.

        A host that dies is a failure of the job it was at, and another one does the rest of its order.
        """
        waiting = iter(orders)
        left_over: list[Order] = []
        idle = list(self._hosts)
        busy: dict[object, _Host] = {}
        while True:
            while idle or len(self._hosts) < self._count:
                order = left_over.pop() if left_over else next(waiting, None)
                if order is None:
                    break
                host = idle.pop() if idle else self._new()
                host.take(order)
                busy[host.orders] = host
            if not busy:
                return
            for ready in wait([host.orders for host in busy.values()]):
                host = busy[ready]
                try:
                    result = host.next()
                except (EOFError, OSError):
                    result = self._bury(busy.pop(ready), left_over)
                if result is None:
                    idle.append(busy.pop(ready))
                else:
                    yield host.order, result

    def judge(self, job: Job, mutant: str = "") -> Result:
        """Run one job."""
        ((_, result),) = self.run([Order((job,), mutant)])
        return result

    def _new(self) -> _Host:
        host = _Host(self._work, self._variation)
        self._hosts.add(host)
        return host

    def _bury(self, host: _Host, left_over: list[Order]) -> Result:
        """The result of the job that a dead host was at; what it had not begun yet is left over."""
        self._hosts.discard(host)
        host.end()
        job, *others = host.order.jobs[host.told :]
        if others:
            left_over.append(Order(others, host.order.mutant, host.order.until))
        return ruined(job, "died", "the process that runs simulations died")


def orders_of(jobs: Sequence[Job], *, mutant: str = "", hosts: int = 1) -> Iterator[Order]:
    """Orders that keep all hosts busy: large enough to be few, small enough that the last ones are done together."""
    size = max(1, min(RUNS_PER_FORK, len(jobs) // (2 * hosts)))
    for start in range(0, len(jobs), size):
        yield Order(jobs[start : start + size], mutant)


def cores() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _variables(variation: int) -> dict[str, str]:
    # gRPC's own handlers of forks can crash a child; nobody here uses gRPC after a fork.
    # Source: gRPC Core, doc/environment_variables.md and doc/fork_support.md.
    variables = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    return variables | {"PYTHONHASHSEED": str(variation)} if variation else variables


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables for the processes that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back until the block is over; processes that are started in the block never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
