"""Processes for work that would block the loop: spawned, each with one call at a time, replaced when they die."""

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

    Each child has an executor of its own: one that dies breaks its executor for good, by design of concurrent.futures,
    and all calls that were given to it. Calls beyond the number of children wait here, in order.

    Children are spawned, never forked: gRPC and Redis connections must not be inherited.

    Args:
        processes: how many at most; they are started when there is work.
    """

    def __init__(self, processes: int) -> None:
        self._places = asyncio.Semaphore(processes)
        self._idle: list[ProcessPoolExecutor] = []
        self._children: set[ProcessPoolExecutor] = set()
        self._log = get_log()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in a child. Cancelling the call ends that child: nothing else stops what runs there.

        Raises:
            Unavailable: the child died; another one is started for the next call.
        """
        if kwargs:
            raise TypeError("offloaded functions take positional arguments")
        async with self._places:
            child = self._idle.pop() if self._idle else self._new()
            try:
                result = await asyncio.get_running_loop().run_in_executor(child, function, *args)
            except BrokenProcessPool as error:
                self._end(child)
                self._log.warning(Event.POOL_REPLACED)
                raise Unavailable("a process of the handler pool died") from error
            except asyncio.CancelledError:
                self._end(child)
                raise
            except BaseException:
                self._idle.append(child)
                raise
            self._idle.append(child)
            return result

    def _new(self) -> ProcessPoolExecutor:
        child = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
        self._children.add(child)
        return child

    def _end(self, child: ProcessPoolExecutor, *, wait: bool = False) -> None:
        self._children.discard(child)
        for process in list((child._processes or {}).values()):  # noqa: SLF001 - there is no public way
            process.kill()
        child.shutdown(wait=wait)

    def close(self) -> None:
        """End the children; work that is not done is dropped."""
        self._idle.clear()
        for child in list(self._children):
            self._end(child, wait=True)


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
