"""Progress: whether the loops of a process that read from the server still come round.

A process that lives, answers and has open connections may have stopped to consume all the same. So each read loop notes
when the server has last answered it, and what says that the process consumes asks for that, not for the process.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

# What a loop of a busy machine may be late without anything being wrong.
MARGIN_MS = 500


class Progress:
    """When one loop has last come round, by the clock of the running loop.

    Args:
        bound_ms: it stands still when it has not come round for longer.
        behind: what its waits are judged by: it comes round with the end of each wait, of all that wait for the same.
            None where it may wait for as long as it likes.
    """

    def __init__(self, bound_ms: float, behind: "Progress | None" = None) -> None:
        self._bound_s = bound_ms / 1000
        self._behind = behind
        self._waits_since_s: float | None = None
        self._clock = asyncio.get_running_loop().time
        self._last_s = self._clock()

    def note(self) -> None:
        """It has come round."""
        self._last_s = self._clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within the block it waits for something of this process, not of the server, and its own time stands still.

        It has not come round by that: a loop that fails again and again waits in between, too.
        """
        self._waits_since_s = self._clock()
        try:
            yield
        finally:
            self._last_s += self._clock() - self._waits_since_s
            self._waits_since_s = None
            if self._behind is not None:
                self._behind.note()

    def stalled_ms(self) -> int:
        """How long it has stood still; 0 while that is within its bound."""
        waits = self._waits_since_s is not None
        silent_s = (self._waits_since_s if self._waits_since_s is not None else self._clock()) - self._last_s
        if silent_s > self._bound_s:
            return round(silent_s * 1000)
        return self._behind.stalled_ms() if waits and self._behind is not None else 0


class Loops:
    """The read loops of a process, by name.

    Args:
        timeout_ms: how long one command may take; a loop that waits for longer has lost its server.
    """

    def __init__(self, *, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._loops: dict[str, Progress] = {}

    def add(self, name: str, *, round_ms: float, behind: Progress | None = None) -> Progress:
        """A loop that begins now.

        Args:
            name: tells people which one it is.
            round_ms: how long a round takes at most when the server answers at once.
            behind: see `Progress`.
        """
        progress = self._loops[name] = Progress(round_ms + self._timeout_ms + MARGIN_MS, behind)
        return progress

    def stalled(self) -> Mapping[str, int]:
        """The loops that stand still, each with how long it has, in milliseconds; empty when all is well."""
        silences = {name: progress.stalled_ms() for name, progress in self._loops.items()}
        return {name: silence_ms for name, silence_ms in silences.items() if silence_ms}


State = Literal["starting", "consuming", "stalled", "draining"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a process consumes.

    Attributes:
        state: `starting` until it takes work for the first time, `draining` from the moment it was asked to stop;
            between the two it is `consuming`, unless some loop has `stalled`.
        stalled: these, with how long they have stood still, in milliseconds.
    """

    state: State
    stalled: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, loops: Loops) -> "Readiness":
        """That of a process that has begun and was not asked to stop."""
        stalled = loops.stalled()
        return cls("stalled" if stalled else "consuming", stalled)

    @property
    def sentence(self) -> str:
        """The same for people."""
        if self.state != "stalled":
            return f"this process is {self.state}"
        loops = ", ".join(f"{name} for {silence_ms} ms" for name, silence_ms in self.stalled.items())
        return f"read loops stand still: {loops}"
