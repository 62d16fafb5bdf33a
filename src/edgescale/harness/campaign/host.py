"""A process that has the simulation in memory and lets every few runs be done by a fresh fork of itself.

A run leaves crashed nodes behind, in the midst of their work, and nothing of them may ever run; so no garbage is
collected. That is why a fork does a few runs only, tells each result, and ends without any clean-up. A fork that dies
is a failure of the run it was at, and another one does the rest. A run that does not end is ended by an alarm.
"""

import gc
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgescale.harness.campaign.result import Job, Result, Work, ruined
from edgescale.harness.plan import Plan
from edgescale.local.child import end_with_parent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

RUNS_PER_FORK = 20
# Real seconds after which a run is taken for one that never ends; the longest take a few.
RUN_S_MAX = 120


@dataclass(frozen=True, slots=True)
class Order:
    """What a host is to do, one job after the other.

    Attributes:
        jobs: seeds and plans.
        mutant: under which they are run; "" for none.
        until: a promise; the rest is left undone once a run is found to break it. "" for never.
    """

    jobs: Sequence[Job]
    mutant: str = ""
    until: str = ""

    def reached_by(self, result: Result) -> bool:
        """Whether nothing more is to be done after this result."""
        return bool(self.until) and result.breaks(self.until)


def serve(orders: "Connection[Result | None, Order | None]", work: Work, padding: int) -> None:
    """Take orders until there is None or their sender is gone; answer each with its results and None.

    Args:
        orders: both ways.
        work: does one job.
        padding: so many objects are made first, so that nothing lies at the addresses that it has in another host.
    """
    os.setpgrp()  # so that host and fork can be ended together
    end_with_parent()
    os.dup2(2, 1)  # standard output belongs to the report
    # A world that ends in the midst of its work leaves coroutines that never began.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    kept = [bytearray(number % 4096) for number in range(padding)]
    # A run of nothing: what is made when it is first needed is then there in every fork.
    gc.disable()
    work(Plan(0), "")
    gc.freeze()
    with suppress(EOFError, ConnectionError):
        while (order := orders.recv()) is not None:
            for result in results(order, work):
                orders.send(result)
            orders.send(None)
    del kept
    # As a fork's end: the run of nothing left something, too.
    os._exit(0)


def results(order: Order, work: Work) -> Iterator[Result]:
    """Have all jobs of an order done in forks: one result each, in their order, whatever happens to the forks."""
    left = list(order.jobs)
    while left:
        for result in _fork(Order(left[:RUNS_PER_FORK], order.mutant, order.until), work):
            left.pop(0)
            yield result
            if order.reached_by(result):
                return


def _fork(order: Order, work: Work) -> Iterator[Result]:
    """The results that one fork tells; where it dies, a last one says so."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work_off, args=(order, work, sender))
    process.start()
    sender.close()
    left = list(order.jobs)
    # A fork that dies while it sends leaves half a message, which is an OSError.
    with receiver, suppress(EOFError, OSError):
        while left:
            result = receiver.recv()
            left.pop(0)
            yield result
    process.join()
    if left:
        yield ruined(left[0], *_death(process.exitcode or 0))


def _work_off(order: Order, work: Work, sender: "Connection[Result, None]") -> None:
    """What a fork does."""
    end_with_parent()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for job in order.jobs:
        signal.alarm(RUN_S_MAX)
        result = work(job, order.mutant)
        signal.alarm(0)
        sender.send(result)
        if order.reached_by(result):
            break
    # No handler of the interpreter's end may run: it would close coroutines in the midst of their work.
    os._exit(0)


def _death(status: int) -> tuple[str, str]:
    """Rule and sentence."""
    if status == -signal.SIGALRM:
        return "endless", f"the run did not end within {RUN_S_MAX} s of real time"
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return "died", f"the process {how} in the midst of the run"
