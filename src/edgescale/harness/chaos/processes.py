"""Services as processes that are killed, frozen and started again, each life of which leaves its own history."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from edgescale.errors import ConfigError
from edgescale.harness.chaos.node import Orders

READY_TIMEOUT_S = 60.0
LAST_WORDS_BYTES = 2_000


class Life:
    """One life of a service.

    Attributes:
        orders: what it is.
        ready: set once it serves.
        ended: its exit status, once it has ended.
        killed: whether it ended because a signal made it.
    """

    def __init__(self, orders: Orders, process: Process, log: Path) -> None:
        self.orders = orders
        self.ready = asyncio.Event()
        self._process = process
        self._log = log
        self._paused = False
        self.ended = asyncio.create_task(self._listen())

    @property
    def running(self) -> bool:
        """Whether it has not ended; it may be frozen."""
        return not self.ended.done()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    @property
    def killed(self) -> bool:
        """See the class."""
        return self.ended.done() and self.ended.result() < 0

    async def _listen(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        while line := await self._process.stdout.readline():
            if line.startswith(b"ready "):
                self.ready.set()
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def until_ready(self) -> None:
        """Return once it serves.

        Raises:
            ConfigError: it ended instead, or takes for ever; its last words are quoted.
        """
        ready = asyncio.create_task(self.ready.wait())
        await asyncio.wait([ready, self.ended], timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self.ready.is_set():
            raise ConfigError(f"{self.orders.actor} did not start: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").strip() or "it said nothing"


async def begin_life(orders: Orders, settings: Mapping[str, str], log: Path) -> Life:
    """Start a process; it serves when its life says so.

    Args:
        orders: what it is to be.
        settings: its variables, beside those of this process that are no settings.
        log: a file for what it says.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EDGESCALE_")}
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgescale.harness.chaos.node",
            orders.text(),
            # The open pipe is the process's sign that we live.
            stdin=PIPE,
            stdout=PIPE,
            stderr=out,
            env=inherited | dict(settings),
            # Ctrl-C on a terminal goes to the whole group; the order of the end is ours to decide.
            start_new_session=True,
        )
    return Life(orders, process, log)
