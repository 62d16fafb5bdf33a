"""The watchdog of a worker's loop: says which handler blocks it, while it does.

A handler that computes or waits without `await` holds up everything else in its process: other tasks, renewals, and so
leases. Nothing in the loop can tell of that until it is over, so a thread looks.
"""

import asyncio
import sys
import threading  # noqa: TID251 - who watches the loop must not depend on it
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

# How often the loop must come round; what takes longer is told once, when it has taken so long.
BLOCKED_S = 0.5
_WATCHES = 4


class Watchdog:
    """Watches the running loop from a thread.

    Args:
        blocked_s: how long one callback may take before it is told of.
    """

    def __init__(self, *, blocked_s: float = BLOCKED_S) -> None:
        self._blocked_s = blocked_s
        self._loop = asyncio.get_running_loop()
        self._ticks = 0
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._log = get_log()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within the block; enter it in the thread of the loop."""
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._tick()
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _tick(self) -> None:
        self._ticks += 1
        if not self._over.is_set():
            self._loop.call_later(self._blocked_s / _WATCHES, self._tick)

    def _watch(self) -> None:
        """Count the looks at which nothing has moved; after some of them the loop is blocked."""
        seen, still, told = self._ticks, 0, False
        while not self._over.wait(self._blocked_s / _WATCHES):
            if self._ticks != seen:
                seen, still, told = self._ticks, 0, False
                continue
            still += 1
            if still > _WATCHES and not told:
                told = True
                self._tell()

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - there is no public way to look into a thread
        task = asyncio.current_task(self._loop)
        self._log.warning(
            Event.LOOP_BLOCKED,
            task=task.get_name() if task is not None else "",
            blocked_ms=int(self._blocked_s * 1000),
            at=_place(frame),
        )


def _place(frame: FrameType | None) -> str:
    """Where the thread is: the innermost line, and who called it."""
    lines = traceback.extract_stack(frame)[-3:] if frame is not None else []
    return " < ".join(f"{line.name} ({line.filename.rpartition('/')[2]}:{line.lineno})" for line in reversed(lines))
