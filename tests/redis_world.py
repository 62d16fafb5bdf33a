"""A Redis model on a clock that tests move by hand."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import hiredis

from edgescale.broker.script import Script
from edgescale.harness.simulation.redis import RedisModel, Session
from tests.redis_wire import encode

START_US = 1_700_000_000_000_000


class World:
    """A model, its clock, and its timers."""

    def __init__(self, **options: Any) -> None:
        self.now_us = START_US
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._numbers = itertools.count()
        self.model = RedisModel(lambda: self.now_us, self._call_later, **options)

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> Callable[[], None]:
        number = next(self._numbers)
        heapq.heappush(self._timers, (self.now_us + round(delay_s * 1_000_000), number, callback))
        return lambda: self._cancelled.add(number)

    def sleep(self, duration_ms: float) -> None:
        """Let time pass; timers go off on the way."""
        end_us = self.now_us + round(duration_ms * 1000)
        while self._timers and self._timers[0][0] <= end_us:
            at_us, number, callback = heapq.heappop(self._timers)
            if number not in self._cancelled:
                self.now_us = at_us
                callback()
        self.now_us = end_us

    def client(self) -> "Client":
        """A connection."""
        return Client(self.model)


class Client:
    """One connection to a model."""

    def __init__(self, model: RedisModel) -> None:
        self.writes: list[bytes] = []
        self.closed = False
        self.session: Session = model.connect(self.writes.append, self._close)

    def _close(self) -> None:
        self.closed = True

    def send(self, *words: object) -> None:
        """Send a command."""
        self.session.feed(encode([word if isinstance(word, bytes) else str(word).encode() for word in words]))

    def received(self) -> bytes:
        """What arrived since the last time."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data

    def replies(self) -> list[Any]:
        """The replies among it; errors are values."""
        reader = hiredis.Reader()
        reader.feed(self.received())
        found = []
        while (reply := reader.gets()) is not False:
            found.append(reply)
        return found

    def do_raw(self, *words: object) -> bytes:
        """Send a command; what came back, as it is."""
        self.send(*words)
        return self.received()

    def do(self, *words: object) -> Any:
        """Send a command; its one reply. An error is returned as its text."""
        self.send(*words)
        [reply] = self.replies()
        return str(reply) if isinstance(reply, Exception) else reply

    def run(self, name: str, keys: list[str], args: list[object]) -> Any:
        """Run one of our scripts."""
        return self.do("EVAL", Script.load(name).body, len(keys), *keys, *args)
