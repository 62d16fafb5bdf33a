"""What can befall a connection, as values: one vocabulary, whichever proxy is between the two ends.

Faults of bytes hold for connections of every kind. Toxiproxy has most of them, and they mean the same there: what a
toxic says is what both do. Faults of commands are aimed at what Redis is asked and what it answers; only the built-in
proxy reads that.

Source of what they share: Toxiproxy 2.12, its `toxics` folder.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, ClassVar

from edgescale.broker.script import Script
from edgescale.harness.chaos.resp import Frame
from edgescale.harness.chaos.toxic import (
    ANY,
    Directed,
    Natural,
    Positive,
    Toxic,
    a_command,
    a_share,
    scripts,
    some_bytes,
)


@cache
def _sha(script: str) -> bytes:
    return Script.load(script).sha.encode()


@dataclass(frozen=True, slots=True)
class Refused(Toxic):
    """The proxy is down: open connections are closed, new ones are refused."""


# --- bytes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Latency(Directed):
    """Bytes arrive later, in order, by the latency and up to the jitter more or less. With the heal they arrive."""

    latency_ms: Natural
    jitter_ms: Natural = 0

    def contradiction(self) -> str:
        """The jitter cannot be more than what it is taken from."""
        if self.jitter_ms > self.latency_ms:
            return f"jitter_ms: must be at most latency_ms ({self.latency_ms}), not {self.jitter_ms}"
        return ""


@dataclass(frozen=True, slots=True)
class Bandwidth(Directed):
    """So many kilobytes (1,000 bytes) arrive in a second. With the heal, what waits arrives."""

    kilobytes_per_s: Positive


@dataclass(frozen=True, slots=True)
class SlowDrip(Directed):
    """Bytes arrive in pieces of about this size, up to the spread larger or smaller, with a pause behind each."""

    piece_bytes: Positive
    spread_bytes: Natural = 0
    pause_us: Natural = 0

    def contradiction(self) -> str:
        """A piece has at least one byte."""
        if self.spread_bytes >= self.piece_bytes:
            return f"spread_bytes: must be less than piece_bytes ({self.piece_bytes}), not {self.spread_bytes}"
        return ""


@dataclass(frozen=True, slots=True)
class BlackHole(Directed):
    """Bytes vanish, the connection stays open. With the heal it is closed, for nobody could make sense of the rest."""


@dataclass(frozen=True, slots=True)
class Reset(Directed):
    """Whatever is sent this way has its connection reset (RST) instead, at both ends.

    Through Toxiproxy, connections that were open before are closed instead.
    """


@dataclass(frozen=True, slots=True)
class LimitBytes(Directed):
    """So many bytes of each connection arrive, then it is closed. Counted from when the fault comes into force."""

    bytes_max: Natural


@dataclass(frozen=True, slots=True)
class HalfOpen(Directed):
    """Bytes vanish, and so does the news that an end has closed, as if a cable had been cut.

    It befalls the connections that are open and those that are made while it is in force; these never heal.
    """

    built_in_only: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Stall(Directed):
    """Nothing that is sent this way is read, so that the buffers before it fill up. With the heal it arrives."""

    built_in_only: ClassVar[bool] = True


# --- commands ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Aimed(Toxic):
    """A fault of some requests to Redis: of those that match, over all connections of the link, from one to another.

    Args:
        command: the name of a command in capitals, such as `XREADGROUP`; the name of a script, such as `submit`, where
            it is run by its hash; or `any`.
        holding: bytes that the request holds somewhere, too.
        nth: which one is the first that it befalls, from 1.
        times: how many it befalls from there on.
    """

    built_in_only: ClassVar[bool] = True

    command: Annotated[str, a_command] = ANY
    holding: Annotated[bytes, some_bytes] = b""
    nth: Positive = 1
    times: Positive = 1

    def matches(self, request: Frame) -> bool:
        """Whether a request is of those that are counted."""
        if self.holding not in request.raw:
            return False
        if self.command in scripts():
            return _sha(self.command) in request.raw
        return self.command in {ANY, request.head.upper().decode("latin-1")}


@dataclass(frozen=True, slots=True)
class ExecuteThenCut(Aimed):
    """The request is passed on, and the connection is closed in place of its reply."""


@dataclass(frozen=True, slots=True)
class RequestLost(Aimed):
    """The connection is reset in place of the request, of which not a byte arrives."""


@dataclass(frozen=True, slots=True)
class Delay(Aimed):
    """The request, and what comes behind it on its connection, arrives later. With the heal it arrives."""

    delay_ms: Positive = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class ResetInBatch(Toxic):
    """A connection is reset in the midst of a pipeline: so many of its requests arrive, the next one does not.

    A pipeline is what is sent while nothing has been answered yet.

    Args:
        after_requests: how many arrive.
        times: how many pipelines it befalls.
    """

    built_in_only: ClassVar[bool] = True

    after_requests: Positive
    times: Positive = 1


@dataclass(frozen=True, slots=True)
class MessageLoss(Toxic):
    """A share of the messages that Redis pushes to subscribers never arrives; everything else does.

    Args:
        share: of all messages, each drawn by itself; 1 for all.
    """

    built_in_only: ClassVar[bool] = True

    share: Annotated[float, a_share]
