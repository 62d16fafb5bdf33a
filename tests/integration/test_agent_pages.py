"""The agent registry as it is listed: states, expiry, pages."""

import pytest

from edgescale.errors import InvalidInput
from edgescale.v1 import heartbeat_pb2
from tests.servers import Server
from tests.support import Rig, beat, open_rig


@pytest.mark.one_partition
async def test_a_silent_agent_is_stale_then_gone_then_forgotten(server: Server) -> None:
    async with open_rig(server.url) as rig:
        now = await rig.now_ms()
        silence_ms = {"alive": 0, "stale": 60_000, "gone": 400_000, "forgotten": 604_900_000}
        for name, silence in silence_ms.items():
            await rig.agents.record(beat(1, agent_id=name), seen_ms=now - silence)
        await rig.agents.record(beat(2, agent_id="alive"), seen_ms=now)
        page = await rig.agents.page(size=10, token="")
        assert [(line.agent_id, heartbeat_pb2.AgentState.Name(line.state)) for line in page.agents] == [
            ("alive", "AGENT_STATE_ALIVE"),
            ("stale", "AGENT_STATE_STALE"),
            ("gone", "AGENT_STATE_GONE"),
        ]


async def test_an_agent_expires_after_its_retention(server: Server) -> None:
    async with open_rig(server.url, agent_retention_ms=400_000, agent_gone_after_ms=300_000) as rig:
        await rig.agents.record(beat(1), seen_ms=await rig.now_ms())
        assert 390_000 < await rig.connection.command("PTTL", rig.keys.agent("a1")) <= 400_000


async def test_pages_follow_each_other_last_seen_first_over_all_partitions(server: Server) -> None:
    async with open_rig(server.url, partitions=3) as rig:
        now = await rig.now_ms() - 1_000
        names = [f"a{number:02}" for number in range(25)]
        for number, name in enumerate(names):
            await rig.agents.record(beat(1, agent_id=name), seen_ms=now + number)
        seen: list[str] = []
        token = ""
        for size in (10, 10, 5):
            page = await rig.agents.page(size=10, token=token)
            assert len(page.agents) == size
            seen += [line.agent_id for line in page.agents]
            token = page.next_page_token
        assert token == ""
        assert seen == names[::-1]


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "٣", "9999999999", " 1"])
async def test_a_token_of_somebody_else_is_refused(rig: Rig, token: str) -> None:
    with pytest.raises(InvalidInput, match="page_token"):
        await rig.agents.page(size=10, token=token)


async def test_the_registry_is_empty_at_first(rig: Rig) -> None:
    page = await rig.agents.page(size=10, token="")
    assert (list(page.agents), page.next_page_token) == ([], "")
