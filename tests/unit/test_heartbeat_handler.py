import pytest

from edgescale.errors import BrokerUnavailable, InvalidInput
from edgescale.handlers.base import Context
from edgescale.handlers.heartbeat import HeartbeatHandler
from edgescale.v1.heartbeat_pb2 import Heartbeat, HeartbeatReceipt
from edgescale.v1.task_pb2 import TaskResult


class Registry:
    """Remembers beats, or is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.seen: list[tuple[Heartbeat, int]] = []

    async def record(self, beat: Heartbeat, *, seen_ms: int) -> HeartbeatReceipt:
        if self.away:
            raise BrokerUnavailable("Redis did not answer")
        self.seen.append((beat, seen_ms))
        return HeartbeatReceipt(agent_id=beat.agent_id, sequence=beat.sequence, missed_beats=2)


BEAT = Heartbeat(agent_id="a1", sequence=7, boot_id="b", status="ok", metrics={"load": 0.5})


def context(attempt: int = 1) -> Context:
    return Context(request_id="r", kind="heartbeat", attempt=attempt, attempts_max=5, accepted_ms=1_700_000_000_123)


async def test_a_beat_is_entered_and_its_receipt_returned() -> None:
    agents = Registry()

    outcome = await HeartbeatHandler(agents).handle(BEAT.SerializeToString(), context())

    receipt = TaskResult.FromString(outcome.result).heartbeat_receipt
    assert receipt == HeartbeatReceipt(agent_id="a1", sequence=7, missed_beats=2)
    assert agents.seen == [(BEAT, 1_700_000_000_123)]


async def test_a_beat_was_seen_when_it_was_accepted_on_every_attempt() -> None:
    agents = Registry()
    for attempt in (1, 2, 5):
        await HeartbeatHandler(agents).handle(BEAT.SerializeToString(), context(attempt))
    assert {seen_ms for _, seen_ms in agents.seen} == {1_700_000_000_123}


async def test_a_payload_that_is_no_heartbeat_is_refused() -> None:
    with pytest.raises(InvalidInput, match="payload"):
        await HeartbeatHandler(Registry()).handle(b"\x0a\xff", context())


async def test_a_registry_that_is_away_is_tried_again() -> None:
    with pytest.raises(BrokerUnavailable) as raised:
        await HeartbeatHandler(Registry(away=True)).handle(BEAT.SerializeToString(), context())
    assert raised.value.retryable
