"""What benches share: figures, bars that are held or missed, and the tests' own processes, proxy and faults."""

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# gRPC's handlers of forks complain whenever a process is started. Read by grpc when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Benches are run by their paths, and use what the tests use to start processes and to disturb them.
ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))


@dataclass(frozen=True)
class Bar:
    """A figure with the most that it may be.

    Attributes:
        name: says what was measured.
        value: None when there is nothing to show, and then the bar is missed.
        limit: the most.
        unit: of both.
    """

    name: str
    value: float | None
    limit: float
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether the figure is there and within its limit."""
        return self.value is not None and self.value <= self.limit

    def __str__(self) -> str:
        """One line for people."""
        seen = "nothing" if self.value is None else f"{self.value:,.10g} {self.unit}".strip()
        return f"  {'ok    ' if self.held else 'MISSED'} {self.name}: {seen} (at most {self.limit:,.10g} {self.unit})"


@dataclass(frozen=True)
class Spread:
    """How a figure was spread over its samples; milliseconds."""

    samples: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread | None":
        """Of durations in seconds; None without any."""
        if not seconds:
            return None
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return round(ordered[math.ceil(share * len(ordered)) - 1] * 1000, 1)

        return cls(len(ordered), at(0.5), at(0.99), at(1))

    def __str__(self) -> str:
        """One line for people."""
        return f"p50 {self.p50_ms:,.0f} ms, p99 {self.p99_ms:,.0f} ms, max {self.max_ms:,.0f} ms of {self.samples}"


def say(words: str) -> None:
    """Tell of progress."""
    print(words, file=sys.stderr, flush=True)


def conclude(figures: dict[str, Any], bars: Sequence[Bar], *, as_json: bool) -> int:
    """Print what was measured and the bars; 1 when one was missed."""
    if as_json:
        rows = [asdict(bar) | {"held": bar.held} for bar in bars]
        print(json.dumps({**figures, "bars": rows}, default=lambda value: vars(value) if value is not None else None))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
        for bar in bars:
            print(bar)
    return 0 if bars and all(bar.held for bar in bars) else 1
