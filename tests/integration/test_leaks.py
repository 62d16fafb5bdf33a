"""The look at what a test leaves behind, which every test on a shared server ends with, finds what would stay."""

import pytest

from edgescale.broker.keys import PREFIX
from tests.leaks import leaked
from tests.support import Rig, beat, settlement

pytestmark = pytest.mark.parametrize("shared_server", ["valkey"], indirect=True, scope="session")


async def test_what_open_tasks_agents_and_letters_need_is_no_leak(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.submit("r2")
    await rig.bury("r3")
    await rig.broker.settle("worker-1", settlement(entry))
    await rig.agents.record(beat(1), seen_ms=await rig.now_ms())
    assert await leaked(rig) == []


async def test_what_does_not_expire_and_is_kept_for_no_reason_is_a_leak(rig: Rig) -> None:
    [entry] = await rig.submit_and_take("r1")
    await rig.broker.settle("worker-1", settlement(entry))
    await rig.agents.record(beat(1), seen_ms=await rig.now_ms())
    lasting = [rig.keys.task("r1"), rig.keys.agent("a1")]
    for key in lasting:
        await rig.connection.command("PERSIST", key)
    strange = [f"{PREFIX}:{{p0}}:lock:text", "counter"]
    for key in strange:
        await rig.connection.command("SET", key, "1")
    assert await leaked(rig) == sorted([*lasting, *strange])
    for key in [*lasting, *strange]:
        await rig.connection.command("DEL", key)
