"""Service processes for tests: started, asked for their address, killed, paused, and never left behind."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from edgescale.config import ENV_PREFIX

# A process imports its libraries first, on a machine that may be busy with other tests.
START_S = 30.0
END_S = 30.0


class Running:
    """A process with what it has written so far.

    Attributes:
        process: its handle.
        lines: of its standard output.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._errors: list[bytes] = []
        self._news = asyncio.Event()
        self._readers = [asyncio.create_task(self._read_lines()), asyncio.create_task(self._read_errors())]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return b"".join(self._errors).decode(errors="replace")

    async def _read_lines(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()
        self._news.set()

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(65_536):
            self._errors.append(data)

    async def line(self, start: str, timeout_s: float = START_S) -> str:
        """The first line of its output that begins so; fails with its standard error when there is none in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (found := [line for line in self.lines if line.startswith(start)]):
                    if self._readers[0].done():
                        raise AssertionError(f"it ended without a line {start!r}: {self.lines} {self.errors}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no line {start!r} within {timeout_s} s: {self.lines} {self.errors}") from None
        return found[0]

    async def address(self) -> str:
        """What it says when it serves: `host:port`, or a worker's name."""
        return (await self.line("ready ")).split()[-1]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended already is left alone."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    async def status(self, timeout_s: float = END_S) -> int:
        """Its exit status, once it has ended and all its words are read; fails when that takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                status = await self.process.wait()
                await asyncio.gather(*self._readers)
        except TimeoutError:
            raise AssertionError(f"process {self.pid} goes on: {self.lines} {self.errors}") from None
        return status

    async def end(self) -> None:
        """Kill it and all its descendants, whatever state they are in."""
        for process in descendants(self.pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.kill()
        self.signal(signal.SIGCONT)
        await self.process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()


def descendants(pid: int) -> list[psutil.Process]:
    """Children of a process, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; who only waits to be reaped does not."""
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def environment(**settings: Any) -> dict[str, str]:
    """This process's environment without settings of its own, and these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return inherited | {f"{ENV_PREFIX}{name.upper()}": as_text(value) for name, value in settings.items()}


def as_text(value: object) -> str:
    """A setting as the environment has it."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


@asynccontextmanager
async def program(*arguments: str, cwd: Path | None = None, **settings: Any) -> AsyncIterator[Running]:
    """A Python program; killed, with all that it started, at the end of the block.

    Args:
        arguments: of the interpreter, such as `-m edgescale worker`.
        cwd: where it runs.
        settings: put into its environment.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(**settings), cwd=cwd
    )
    async with Running(process) as running:
        yield running


@asynccontextmanager
async def service(name: str, **settings: Any) -> AsyncIterator[Running]:
    """A service that serves, as `edgescale <name>` starts it, under supervision as in `edgescale up`."""
    async with program("-m", "edgescale", name, "--until-stdin-closes", **settings) as running:
        await running.address()
        yield running


async def command(
    *arguments: str, stdin: bytes = b"", cwd: Path | None = None, **settings: Any
) -> tuple[int, str, str]:
    """Exit status, output and standard error of one `edgescale` command."""
    async with program("-m", "edgescale", *arguments, cwd=cwd, **settings) as running:
        assert running.process.stdin is not None
        running.process.stdin.write(stdin)
        running.process.stdin.close()
        status = await running.status()
        return status, "\n".join(running.lines), running.errors
