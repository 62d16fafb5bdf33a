"""What a person sees of a run on real parts while it goes on: on a terminal a table that lives, elsewhere a line."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from edgescale.harness.chaos.referee import EVENTS_MAX, Referee
from edgescale.harness.chaos.run import Sight, Watcher

FRAME_S, LINE_S = 0.25, 5.0
SO_FAR = {"invalid": "BROKEN", "valid": "kept", "unknown": "open"}


@contextmanager
def watching(title: str, *, quiet: bool = False) -> Iterator[Watcher | None]:
    """A watcher that shows what it sees on standard error.

    Args:
        title: of what runs.
        quiet: show nothing.
    """
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with Live(console=Console(stderr=True), transient=True, refresh_per_second=4) as live:
            yield lambda sight: _frames(live, title, sight)
    else:
        yield lambda sight: _lines(title, sight)


async def _frames(live: Live, title: str, sight: Sight) -> None:
    last = 0
    while True:
        rate, last = (sight.clients.ended - last) / FRAME_S, sight.clients.ended
        live.update(_table(title, sight, rate))
        await asyncio.sleep(FRAME_S)


def _table(title: str, sight: Sight, rate: float) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", justify="right", no_wrap=True)
    for name, told in (("running", title), *_told(sight)):
        table.add_row(name, told)
    table.add_row("rate", f"{rate:,.0f} ended a second")
    return table


def _verdicts(referee: Referee) -> str:
    """So far: those that are kept, may yet turn out, and are broken."""
    of: dict[str, list[str]] = {}
    for verdict in referee.verdicts:
        of.setdefault(verdict.outcome, []).append(verdict.promise)
    told = [f"{word} {' '.join(of[outcome])}" for outcome, word in SO_FAR.items() if outcome in of]
    more = " (the rest is judged at the end)" if referee.seen > EVENTS_MAX else ""
    return f"{', '.join(told)}{more}" if told else "none yet"


async def _lines(title: str, sight: Sight) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        told = ", ".join(f"{name} {told}" for name, told in _told(sight))
        sys.stderr.write(f"edgescale: {title}: {told}\n")
        sys.stderr.flush()


def _told(sight: Sight) -> Iterator[tuple[str, str]]:
    ends = sight.clients.ends
    of_all = f"{sight.clients.ended:,} of {len(sight.plan.requests):,} ended"
    yield (
        "requests",
        f"{of_all} ({ends['ok']:,} answered, {ends['fail']:,} refused or failed, {ends['info']:,} unclear)",
    )
    yield "backlog", " ".join(f"{lane}={backlog}/{pending}" for lane, (backlog, pending) in sight.probe.seen.items())
    yield "down", " ".join(name for name, life in sight.site.lives.items() if not life.running) or "nobody"
    yield "verdicts", _verdicts(sight.referee)
    yield "faults", " ".join(f"{fault.name}({fault.target})" for fault in sight.nemesis.active) or "none"
