"""beat.lua: one line per agent, whatever order its beats come in."""

import asyncio
import itertools
import random

import pytest

from edgescale.v1 import heartbeat_pb2
from tests.servers import Server
from tests.support import Rig, beat, open_rig

SEQUENCE_MAX = 2**53 - 1
# The server judges silence by its own clock, so beats of these tests are seen a little before now.
RANGES_MAX = 64


class Agent:
    """Beats of one agent, each seen one millisecond after the one before."""

    def __init__(self, rig: Rig, now_ms: int) -> None:
        self.rig = rig
        self.seen_ms = now_ms - 10_000

    async def beats(self, *sequences: int, boot_id: str = "boot-1") -> list[tuple[int, bool]]:
        """Missed beats, and whether it was counted before, for each."""
        receipts = []
        for sequence in sequences:
            self.seen_ms += 1
            receipt = await self.rig.agents.record(beat(sequence, boot_id=boot_id), seen_ms=self.seen_ms)
            receipts.append((receipt.missed_beats, receipt.repeated))
        return receipts

    async def line(self) -> heartbeat_pb2.Agent:
        page = await self.rig.agents.page(size=10, token="")
        [line] = page.agents
        return line


@pytest.fixture
async def agent(rig: Rig) -> Agent:
    return Agent(rig, await rig.now_ms())


async def test_the_first_beat_makes_a_line_in_the_registry(agent: Agent) -> None:
    rig = agent.rig
    given = beat(7, status="degraded", load=0.5, queue=3)
    receipt = await rig.agents.record(given, seen_ms=agent.seen_ms)
    assert (receipt.agent_id, receipt.sequence, receipt.missed_beats, receipt.repeated) == ("a1", 7, 0, False)
    line = await agent.line()
    assert line.agent_id == "a1"
    assert line.state == heartbeat_pb2.AGENT_STATE_ALIVE
    assert line.first_seen_time.ToMilliseconds() == line.last_seen_time.ToMilliseconds() == agent.seen_ms
    assert (line.sequence, line.boot_id, line.beats, line.missed_beats) == (7, "boot-1", 1, 0)
    assert (line.status, dict(line.metrics)) == ("degraded", {"load": 0.5, "queue": 3.0})


async def test_beats_in_order_are_counted_and_none_is_missed(agent: Agent) -> None:
    assert await agent.beats(1, 2, 3, 4) == [(0, False)] * 4
    line = await agent.line()
    assert (line.sequence, line.beats, line.missed_beats) == (4, 4, 0)
    assert line.last_seen_time.ToMilliseconds() - line.first_seen_time.ToMilliseconds() == 3


async def test_a_gap_is_missed_until_late_beats_fill_it(agent: Agent) -> None:
    assert await agent.beats(1, 5) == [(0, False), (3, False)]
    assert await agent.beats(3) == [(2, False)]
    assert await agent.beats(2) == [(1, False)]
    assert await agent.beats(4) == [(0, False)]
    assert (await agent.line()).beats == 5


async def test_a_late_beat_below_the_first_one_counted_begins_the_boot_earlier(agent: Agent) -> None:
    assert await agent.beats(7, 4) == [(0, False), (2, False)]
    assert await agent.beats(5, 4, 6) == [(1, False), (1, True), (0, False)]
    assert (await agent.line()).beats == 4


async def test_a_repeated_beat_changes_no_count(agent: Agent) -> None:
    await agent.beats(1, 2, 5)
    assert await agent.beats(2, 5, 1) == [(2, True)] * 3
    line = await agent.line()
    assert (line.beats, line.missed_beats, line.sequence) == (3, 2, 5)


async def test_a_repeated_beat_is_a_sign_of_life(agent: Agent) -> None:
    await agent.beats(1)
    await agent.beats(1)
    assert (await agent.line()).last_seen_time.ToMilliseconds() == agent.seen_ms


async def test_a_late_fill_does_not_bring_an_old_status_back(agent: Agent) -> None:
    await agent.rig.agents.record(beat(1, status="ok"), seen_ms=agent.seen_ms)
    await agent.rig.agents.record(beat(3, status="degraded", load=9), seen_ms=agent.seen_ms + 2)
    await agent.rig.agents.record(beat(2, status="ok", load=1), seen_ms=agent.seen_ms + 1)
    line = await agent.line()
    assert (line.status, dict(line.metrics), line.sequence) == ("degraded", {"load": 9.0}, 3)
    assert line.last_seen_time.ToMilliseconds() == agent.seen_ms + 2


async def test_a_new_boot_starts_anew_and_keeps_the_total(agent: Agent) -> None:
    await agent.beats(1, 2, 9)
    assert await agent.beats(1, 3, boot_id="boot-2") == [(0, False), (1, False)]
    line = await agent.line()
    assert (line.boot_id, line.sequence, line.beats, line.missed_beats) == ("boot-2", 3, 5, 1)


async def test_a_late_beat_of_an_earlier_boot_changes_nothing(agent: Agent) -> None:
    await agent.beats(1, 2)
    first_boot_ms = agent.seen_ms
    await agent.beats(1, 4, boot_id="boot-2")
    receipt = await agent.rig.agents.record(beat(3, boot_id="boot-1", status="old"), seen_ms=first_boot_ms)
    assert (receipt.missed_beats, receipt.repeated) == (2, True)
    line = await agent.line()
    assert (line.boot_id, line.sequence, line.status) == ("boot-2", 4, "ok")


async def test_without_a_boot_id_a_sequence_that_starts_again_is_a_new_boot(agent: Agent) -> None:
    await agent.beats(1, 2, 7, boot_id="")
    assert await agent.beats(1, 2, boot_id="") == [(0, False), (0, False)]
    line = await agent.line()
    assert (line.sequence, line.beats, line.missed_beats) == (2, 5, 0)


async def test_without_a_boot_id_a_late_first_beat_is_no_new_boot(agent: Agent) -> None:
    await agent.rig.agents.record(beat(0, boot_id=""), seen_ms=agent.seen_ms)
    await agent.rig.agents.record(beat(2, boot_id=""), seen_ms=agent.seen_ms + 2)
    receipt = await agent.rig.agents.record(beat(1, boot_id=""), seen_ms=agent.seen_ms + 1)
    assert (receipt.missed_beats, receipt.repeated) == (0, False)
    assert (await agent.line()).sequence == 2


async def test_every_order_of_the_same_beats_gives_the_same_counts(server: Server) -> None:
    async with open_rig(server.url) as rig:
        seen_ms = await rig.now_ms() - 1_000
        for number, order in enumerate(itertools.permutations([1, 2, 3, 5, 5])):
            name = f"a{number}"
            for sequence in order:
                await rig.agents.record(beat(sequence, agent_id=name), seen_ms=seen_ms + sequence)
        page = await rig.agents.page(size=200, token="")
        assert {(line.sequence, line.beats, line.missed_beats) for line in page.agents} == {(5, 4, 1)}


async def test_a_shuffled_stream_with_losses_and_copies_is_counted_exactly(agent: Agent) -> None:
    dice = random.Random(11)
    sent = list(range(1, 201))
    lost = set(dice.sample(sent[1:-1], 40))
    arrived = [1, *(number for number in sent[1:] if number not in lost)]
    copies = dice.sample(arrived, 30)
    # Beats overtake each other by a few places only, so that no more gaps are open at once than are remembered.
    receipts = await agent.beats(*sorted(arrived + copies, key=lambda number: number + dice.uniform(0, 12)))
    assert sum(repeated for _, repeated in receipts) == len(copies)
    line = await agent.line()
    assert (line.beats, line.missed_beats, line.sequence) == (len(arrived), len(lost), 200)


async def test_gaps_past_the_limit_stay_counted_and_can_no_longer_be_filled(agent: Agent) -> None:
    odd = range(1, 2 * (RANGES_MAX + 10), 2)
    receipts = await agent.beats(*odd)
    gaps = len(odd) - 1
    assert receipts[-1] == (gaps, False)
    # The oldest nine gaps are written off; a beat that would fill one of them counts as seen before.
    assert await agent.beats(2) == [(gaps, True)]
    assert await agent.beats(18) == [(gaps, True)]
    assert await agent.beats(20) == [(gaps - 1, False)]
    stored = await agent.rig.connection.command("HGET", agent.rig.keys.agent("a1"), "missing")
    assert stored.count(b"-") <= RANGES_MAX


async def test_a_new_boot_forgets_what_was_written_off(agent: Agent) -> None:
    await agent.beats(*range(1, 2 * (RANGES_MAX + 10), 2))
    assert await agent.beats(1, 2, boot_id="boot-2") == [(0, False), (0, False)]


async def test_huge_sequence_numbers_are_exact(agent: Agent) -> None:
    top = SEQUENCE_MAX
    assert await agent.beats(top - 5, top) == [(0, False), (4, False)]
    assert await agent.beats(top - 1, top - 3, top - 3) == [(3, False), (2, False), (2, True)]
    line = await agent.line()
    assert (line.sequence, line.missed_beats) == (top, 2)


async def test_huge_gaps_are_exact(agent: Agent) -> None:
    top = SEQUENCE_MAX
    assert await agent.beats(0, top) == [(0, False), (top - 1, False)]
    assert await agent.beats(top // 2 + 1) == [(top - 2, False)]
    assert await agent.beats(3) == [(top - 3, False)]
    assert await agent.beats(top - 1) == [(top - 4, False)]
    assert (await agent.line()).missed_beats == top - 4


async def test_gaps_written_off_near_the_top_are_exact(agent: Agent) -> None:
    base = SEQUENCE_MAX - 4 * RANGES_MAX
    odd = range(base, SEQUENCE_MAX, 2)
    receipts = await agent.beats(*odd)
    assert receipts == [(number, False) for number in range(len(odd))]


async def test_a_huge_gap_that_is_written_off_stays_exact(agent: Agent) -> None:
    base = SEQUENCE_MAX - 4 * RANGES_MAX
    receipts = await agent.beats(1, *range(base, SEQUENCE_MAX, 2))
    assert receipts[1:] == [(base - 2 + number, False) for number in range(len(receipts) - 1)]


@pytest.mark.one_partition
async def test_a_batch_of_many_agents_shares_one_round_trip(agent: Agent) -> None:
    rig = agent.rig
    await rig.agents.record(beat(1, agent_id="warm"), seen_ms=agent.seen_ms)
    await rig.connection.command("CONFIG", "RESETSTAT")
    calls = [rig.agents.record(beat(number, agent_id=f"a{number}"), seen_ms=agent.seen_ms) for number in range(1, 51)]
    receipts = await asyncio.gather(*calls)
    assert await rig.calls("evalsha") == 1
    assert [receipt.agent_id for receipt in receipts] == [f"a{number}" for number in range(1, 51)]


async def test_beats_of_one_agent_in_one_batch_follow_each_other(agent: Agent) -> None:
    calls = [agent.rig.agents.record(beat(number), seen_ms=agent.seen_ms + number) for number in (1, 4, 2, 2)]
    receipts = await asyncio.gather(*calls)
    assert [(receipt.missed_beats, receipt.repeated) for receipt in receipts] == [
        (0, False),
        (2, False),
        (1, False),
        (1, True),
    ]
