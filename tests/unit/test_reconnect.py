"""What a loop and a call do while Redis is away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from edgescale.broker.reconnect import CAP_MS, Backoff, keep_running, pause, persist
from edgescale.errors import BrokerUnavailable, Conflict, Overloaded
from tests.support import SeededChance, eventually


class Server:
    """Fails as often as it is told, then succeeds; counts."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        await asyncio.sleep(0)


AWAY = BrokerUnavailable("away")
RunDuty = Callable[[Server], Awaitable[list[str]]]


async def events_of(server: Server, calls: int) -> list[str]:
    """Events logged until the duty has been called so often."""
    with capture_logs() as lines:
        duty = asyncio.create_task(keep_running("duty", server, SeededChance()))
        await eventually(lambda: server.calls >= calls)
        duty.cancel()
        await asyncio.gather(duty, return_exceptions=True)
    return [str(line["event"]) for line in lines]


async def test_a_duty_goes_on_after_redis_was_away() -> None:
    server = Server(AWAY, AWAY, None, None)
    await events_of(server, 5)


async def test_an_outage_is_logged_once_and_its_end_too() -> None:
    assert await events_of(Server(AWAY, AWAY, AWAY, None), 6) == ["broker.lost", "broker.found"]


async def test_every_outage_is_logged() -> None:
    events = await events_of(Server(AWAY, None, AWAY, AWAY, None), 7)
    assert events == ["broker.lost", "broker.found", "broker.lost", "broker.found"]


async def test_a_defect_ends_the_duty_loudly() -> None:
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(keep_running("duty", Server(ZeroDivisionError()), SeededChance()), 1)


async def test_a_stopped_duty_ends_between_two_rounds() -> None:
    stop = asyncio.Event()
    rounds = []

    async def step() -> None:
        stop.set()
        await asyncio.sleep(0)
        rounds.append("whole")

    await asyncio.wait_for(keep_running("duty", step, SeededChance(), stop=stop), 1)
    assert rounds == ["whole"]


async def test_a_stop_is_heard_while_redis_is_away() -> None:
    stop = asyncio.Event()
    server = Server(*[AWAY] * 1_000)
    duty = asyncio.create_task(keep_running("duty", server, SeededChance(), stop=stop))
    await eventually(lambda: server.calls >= 6)
    stop.set()
    loop = asyncio.get_running_loop()
    asked_s = loop.time()
    await asyncio.wait_for(duty, 1)
    # The pause under way was drawn from 320 to 640 ms.
    assert loop.time() - asked_s < 0.25


async def test_a_pause_ends_when_its_time_is_up() -> None:
    stop = asyncio.Event()
    await asyncio.wait_for(pause(1, stop), 1)
    assert not stop.is_set()


async def test_a_call_is_repeated_until_it_succeeds() -> None:
    server = Server(AWAY, AWAY)
    await persist(server, SeededChance(), patience_ms=1_000)
    assert server.calls == 3


async def test_patience_ends_with_the_last_error() -> None:
    server = Server(*[AWAY] * 1_000)
    with pytest.raises(BrokerUnavailable) as raised:
        await asyncio.wait_for(persist(server, SeededChance(), patience_ms=100), 1)
    assert raised.value is AWAY
    assert server.calls > 1


async def test_without_patience_a_call_is_made_once() -> None:
    server = Server(AWAY)
    with pytest.raises(BrokerUnavailable):
        await persist(server, SeededChance(), patience_ms=0)
    assert server.calls == 1


@pytest.mark.parametrize("refusal", [Conflict("taken"), Overloaded("full"), ZeroDivisionError()])
async def test_a_refusal_is_never_repeated(refusal: Exception) -> None:
    server = Server(refusal)
    with pytest.raises(type(refusal)):
        await persist(server, SeededChance(), patience_ms=float("inf"))
    assert server.calls == 1


async def test_out_of_memory_after_an_unclear_attempt_is_no_refusal() -> None:
    # The attempt before may have been carried out: nobody may be told for certain that it was not.
    full = Overloaded("out of memory")
    with pytest.raises(BrokerUnavailable):
        await persist(Server(AWAY, *[full] * 1_000), SeededChance(), patience_ms=100)

    server = Server(AWAY, full)
    await persist(server, SeededChance(), patience_ms=1_000)
    assert server.calls == 3


def test_waits_double_up_to_the_cap_and_start_anew_after_a_success() -> None:
    class Highest(SeededChance):
        def uniform(self, low: float, high: float) -> float:
            assert low == high / 2
            return high

    backoff = Backoff(Highest(), base_ms=20, cap_ms=100)
    assert [backoff.next_ms() for _ in range(5)] == [20, 40, 80, 100, 100]
    backoff.reset()
    assert backoff.next_ms() == 20


def test_the_cap_leaves_room_to_be_back_within_five_seconds() -> None:
    assert CAP_MS <= 2_000
