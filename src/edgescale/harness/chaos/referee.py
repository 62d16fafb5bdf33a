"""What can be said of the promises while a run goes on: the checkers on what has been seen so far."""

import asyncio
import sys
from typing import TYPE_CHECKING, Protocol

from edgescale.harness.checkers import Verdict, judge
from edgescale.harness.header import NS_PER_MS, Header
from edgescale.harness.history import History

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgescale.harness.event import Event

# What is younger may not be seen whole yet: of two processes, the one that is read later tells more.
SETTLED_MS = 500
# A judgement takes this much of the time at most: it shares the interpreter with the clients.
SHARE, PAUSE_S = 0.05, 1.0
# With more than that, judging holds up clients and proxies for so long that services take it for an outage: found by a
# soak. It is left to the end.
EVENTS_MAX = 20_000
# How long the clients and the proxies wait for the interpreter each time that they have waited for a socket.
TURN_S = 0.0005


class Seen(Protocol):
    """What a run has seen so far."""

    def now_ns(self) -> int:
        """Nanoseconds since it began."""

    def events(self) -> "Iterable[Event]":
        """In no order."""


class Referee:
    """Judges again and again, as far as the end of the run is not needed for that.

    Args:
        site: what was seen.
        header: the terms.

    Attributes:
        verdicts: the last ones, P1 first; empty before the first judgement. What only the end can tell is unknown.
        seen: events judged.
    """

    def __init__(self, site: Seen, header: Header) -> None:
        self._site = site
        self._header = header
        self.verdicts: Sequence[Verdict] = ()
        self.seen = 0

    async def watch(self) -> None:
        """Judge until cancelled, or until there is too much to judge."""
        loop = asyncio.get_running_loop()
        sys.setswitchinterval(TURN_S)
        while self.seen <= EVENTS_MAX:
            began_s = loop.time()
            await asyncio.to_thread(self.judge)
            await asyncio.sleep(max(PAUSE_S, (loop.time() - began_s) / SHARE))

    def judge(self) -> None:
        """Judge what has been seen by now."""
        until_ns = self._site.now_ns() - SETTLED_MS * NS_PER_MS
        events = [event for event in self._site.events() if event.time_ns <= until_ns]
        self.seen = len(events)
        if self.seen <= EVENTS_MAX:
            self.verdicts = judge(History.ordered(self._header, events))
