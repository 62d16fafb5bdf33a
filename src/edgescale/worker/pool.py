"""Processes for work that would block the loop: spawned, replaced when they die."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from threading import Thread  # noqa: TID251 - a child of the pool has no loop; it watches its parent from a thread
from typing import ParamSpec, TypeVar

from edgescale.errors import Unavailable
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

P = ParamSpec("P")
T = TypeVar("T")


class HandlerPool:
    """Runs module-level functions in other processes. It is an `edgescale.handlers.base.Offload`.

    Children are spawned, never forked: gRPC and Redis connections must not be inherited.

    Args:
        processes: how many at most; they are started when there is work.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._executor: ProcessPoolExecutor | None = None
        self._log = get_log()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a child.

        Raises:
            Unavailable: the child died; the pool is made anew for the next call.
        """
        if kwargs:
            raise TypeError("offloaded functions take positional arguments")
        executor = self._executor = self._executor or self._new()
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, function, *args)
        except BrokenProcessPool as error:
            # One dead child breaks a whole executor for good (by design of concurrent.futures).
            if self._executor is executor:
                self._executor = None
                executor.shutdown(wait=False)
                self._log.warning(Event.POOL_REPLACED)
            raise Unavailable("a process of the handler pool died") from error

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)

    def close(self) -> None:
        """End the children; work that is not done is dropped."""
        if self._executor is not None:
            for child in list((self._executor._processes or {}).values()):  # noqa: SLF001 - there is no public way
                child.kill()
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


def _begin() -> None:
    # Ctrl-C reaches the whole foreground group; the parent decides when its children end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent cannot stop its children, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
