"""What chance decides in the built-in proxy comes from the connection's seed, within the toxic's bounds."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgescale.harness.chaos.effect import Effect, End, Piece
from edgescale.harness.chaos.effects import ON_BYTES
from edgescale.harness.chaos.line import WAITING_BYTES_MAX, Line, Socket, Waiting
from edgescale.harness.chaos.toxic import Toxic
from edgescale.harness.chaos.toxics import Bandwidth, Latency, LimitBytes, SlowDrip


class Bystander:
    """A connection that nothing happens to."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)

    def end(self, how: End) -> None:
        raise AssertionError(how)


def effect(toxic: Toxic) -> Effect[Any]:
    return ON_BYTES[type(toxic)](toxic, Counter())


def piece(data: bytes = b"x", line: Bystander | None = None) -> Piece:
    return Piece(line or Bystander(), "downstream", 1_000.0, data)


def lateness_ms(toxic: Latency, seed: int) -> list[float]:
    late, line = effect(toxic), Bystander(seed)
    return [late.delay_s(piece(line=line)) * 1_000 for _ in range(50)]


def test_lateness_stays_within_its_jitter_and_is_drawn_from_the_seed() -> None:
    drawn = lateness_ms(Latency(100, 20), seed=1)

    assert drawn == lateness_ms(Latency(100, 20), seed=1) != lateness_ms(Latency(100, 20), seed=2)
    assert all(79.9 < late < 120.1 for late in drawn)
    assert max(drawn) - min(drawn) > 20
    assert lateness_ms(Latency(100), seed=1) == pytest.approx([100] * 50)


def parts_of(steps: Iterator[bytes | float]) -> tuple[list[bytes], float]:
    """The pieces, and how many seconds go by in all."""
    listed = list(steps)
    parts = [step for step in listed if isinstance(step, bytes)]
    return parts, sum(step for step in listed if not isinstance(step, bytes))


@given(st.binary(max_size=300), st.integers(1, 20), st.integers(0, 19), st.integers())
def test_a_drip_is_cut_within_its_bounds_and_loses_nothing(data: bytes, size: int, spread: int, seed: int) -> None:
    spread = min(spread, size - 1)
    parts, pauses_s = parts_of(effect(SlowDrip(size, spread, 1_000)).steps(data, random.Random(seed)))

    assert b"".join(parts) == data
    assert all(size - spread <= len(part) <= size + spread for part in parts[:-1])
    assert all(1 <= len(part) <= size + spread for part in parts)
    assert pauses_s == pytest.approx(len(parts) / 1_000)


@given(st.binary(max_size=2_000), st.integers(1, 5))
def test_what_is_narrow_takes_as_long_as_its_bytes_do(data: bytes, kilobytes_per_s: int) -> None:
    parts, pauses_s = parts_of(effect(Bandwidth(kilobytes_per_s)).steps(data, random.Random(0)))

    assert b"".join(parts) == data
    assert pauses_s == pytest.approx(len(data) / (kilobytes_per_s * 1_000))


@given(st.lists(st.integers(1, 50)), st.integers(0, 300))
def test_a_limit_lets_exactly_so_many_bytes_pass(sizes: list[int], bytes_max: int) -> None:
    limit, line, passed = effect(LimitBytes(bytes_max)), Bystander(), 0
    for size in sizes:
        fate = limit.fate(piece(bytes(size), line))
        passed += size if fate.passes_bytes is None else fate.passes_bytes
        if fate.end is End.CLOSE:
            break
    assert passed == min(sum(sizes), bytes_max)


class Sink:
    """An end that takes everything."""

    def write(self, data: bytes) -> None:
        assert data == b"x"

    async def drain(self) -> None:
        pass


@pytest.mark.parametrize(("over_after_s", "gone_after_s"), [(9.0, 0.15), (0.02, 0.07)])
async def test_delays_add_up_unless_one_is_over_early(
    monkeypatch: pytest.MonkeyPatch, over_after_s: float, gone_after_s: float
) -> None:
    clock_s = [1_000.0]
    late, later = effect(Latency(100)), effect(Latency(50))

    def pausing(longest_s: float) -> Callable[[float], Awaitable[None]]:
        async def pause(seconds: float) -> None:
            clock_s[0] += min(seconds, longest_s)

        return pause

    monkeypatch.setattr(late, "pause", pausing(over_after_s))
    monkeypatch.setattr(later, "pause", pausing(9.0))
    sink: Any = Sink()
    end = Socket(asyncio.StreamReader(), sink)
    way = Line(end, end, [late, later], random.Random(0), speaks_resp=False)._ways[1]
    monkeypatch.setattr(way, "_now_s", lambda: clock_s[0])

    await way._let_go(piece())

    assert clock_s[0] - 1_000 == pytest.approx(gone_after_s)


async def test_who_sends_more_than_can_wait_must_wait() -> None:
    waiting = Waiting()
    half = bytes(WAITING_BYTES_MAX // 2)
    for _ in range(2):
        await asyncio.wait_for(waiting.put(piece(half)), 5)
    third = asyncio.create_task(waiting.put(piece(b"third")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not third.done()

    arrived = [await waiting.get() for _ in range(3)]

    assert [one.data for one in arrived] == [half, half, b"third"]
    await third


async def test_a_pause_ends_with_the_change_and_with_the_heal() -> None:
    late = effect(Latency(10))

    async def lift() -> None:
        late.lift()

    for wake in (late.change(Latency(20)), lift()):
        pause = asyncio.create_task(late.pause(3_600))
        await asyncio.sleep(0)
        await wake
        await asyncio.wait_for(pause, 5)
    await asyncio.wait_for(late.pause(3_600), 5)
