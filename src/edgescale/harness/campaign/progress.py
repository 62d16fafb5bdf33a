"""How far a campaign is: a bar on a terminal, a line now and then elsewhere; both on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Between two lines, in real time.
LINE_S = 10.0


class Shown(Protocol):
    """Tells how far something is."""

    def __call__(self, done: int, told: str) -> None:
        """So much is done; `told` stands beside it."""


@contextmanager
def progress(what: str, total: int, *, quiet: bool = False) -> Iterator[Shown]:
    """Show progress while the block runs.

    Args:
        what: is being done.
        total: how much there is to do.
        quiet: show nothing.
    """
    if quiet:
        yield lambda done, told: None  # noqa: ARG005 - a protocol's names
    elif sys.stderr.isatty():
        with _bar(what, total) as shown:
            yield shown
    else:
        yield _Lines(what, total)


def say(line: str) -> None:
    """Tell of something at once, above the bar if there is one."""
    # Sought anew: a bar puts itself in the place of standard error.
    sys.stderr.write(f"edgescale: {line}\n")
    sys.stderr.flush()


@contextmanager
def _bar(what: str, total: int) -> Iterator[Shown]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, told="")
        yield lambda done, told: bar.update(task, completed=done, told=told)


class _Lines:
    """A line at the beginning, and one every LINE_S."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._last_s = perf_counter()
        sys.stderr.write(f"edgescale: {what}, {total:,} to do\n")

    def __call__(self, done: int, told: str) -> None:
        now_s = perf_counter()
        if now_s - self._last_s >= LINE_S:
            self._last_s = now_s
            sys.stderr.write(f"edgescale: {self._what}, {done:,} of {self._total:,}: {told}\n")
            sys.stderr.flush()
