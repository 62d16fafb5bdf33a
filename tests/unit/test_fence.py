"""The fence: an outage of replicas is told of once, for each partition by itself."""

import pytest
from structlog.testing import capture_logs

from edgescale.broker.fence import Fence
from edgescale.broker.keys import Keys
from edgescale.errors import BrokerUnavailable
from edgescale.telemetry.events import Event


def test_a_partition_whose_replicas_are_behind_says_nothing_of_another_one() -> None:
    keys, fence = Keys(2), Fence(1, 100)
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
                fence.passed(keys.stream(0, "text"), 0)
            fence.passed(keys.stream(1, "text"), 1)
        fence.passed(keys.dead(0), 1)
    assert [line["event"] for line in lines] == [Event.REPLICAS_BEHIND, Event.REPLICAS_FOLLOW]
