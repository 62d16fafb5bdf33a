"""A cluster whose primary is killed under load, or hands over: its replica is found, and everybody goes on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.clusters import Cluster, clustered
from tests.load import Load, name_in, under_load
from tests.parts import Deed, answer_with_attempt, said, working
from tests.servers import own_names
from tests.support import eventually, open_rig, serving
from tests.waiting import NEVER_MS

IMPATIENT: dict[str, Any] = {"redis_timeout_ms": 500, "inbox_recheck_ms": 500, "lease_ms": 2_000}
TAKEN_OVER_WITHIN_S = 20.0
# Each test has processes of its own; where kinds of servers cannot differ, one of them is enough.
ONE_KIND = pytest.mark.parametrize("cluster", ["valkey"], indirect=True)


@pytest.fixture(params=own_names())
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster of the test's own."""
    async with clustered(tmp_path, request.param) as running:
        yield running


async def test_a_primary_is_killed_under_load_and_every_accepted_task_is_answered_once(cluster: Cluster) -> None:
    first, second = Deed(), Deed()
    async with (
        open_rig(cluster.url, **IMPATIENT) as rig,
        serving(rig.inbox()) as inbox,
        working(cluster.url, first, **IMPATIENT),
        working(cluster.url, second, **IMPATIENT),
        under_load(rig, inbox) as load,
    ):
        await cluster.kill_owner(1)
        await load.goes_on()
        before = len(first.ended), len(second.ended)
        # Both workers, none of which was started again.
        await eventually(lambda: len(first.ended) > before[0] and len(second.ended) > before[1])
        await eventually(inbox.ready.is_set)
    assert load.all_were_answered_once()


@ONE_KIND
async def test_what_the_replica_had_not_got_is_submitted_again_for_its_waiter(cluster: Cluster) -> None:
    async with open_rig(cluster.url, **IMPATIENT) as rig, serving(rig.inbox()) as inbox:
        doomed = await cluster.owner(1)
        replica = await cluster.replica_of(doomed)
        # It is cut off from what it should copy, and may stand for election all the same.
        await doomed.command("ACL", "SETUSER", "default", "-psync", "-sync")
        await doomed.command("CLIENT", "KILL", "TYPE", "replica")
        request_id = name_in(rig.keys, 1)
        answer = asyncio.create_task(Load(rig, inbox).ask(request_id))
        await eventually(lambda: rig.fields(request_id))
        with capture_logs() as lines:
            await cluster.kill_owner(1)
            async with working(cluster.url, answer_with_attempt, **IMPATIENT):
                assert said(await answer) == f"{request_id} by attempt 1"
    assert await cluster.owner(1) is replica
    assert [line["request_id"] for line in lines if line["event"] == "task.resubmitted"] == [request_id]


@ONE_KIND
async def test_a_primary_that_hands_over_loses_nothing_and_keeps_nobody_waiting_for_a_timer(cluster: Cluster) -> None:
    # No slow timer: only a subscription at the new primary can tell of a result.
    patient = IMPATIENT | {"inbox_recheck_ms": NEVER_MS}
    async with (
        open_rig(cluster.url, **patient) as rig,
        serving(rig.inbox()) as inbox,
        working(cluster.url, answer_with_attempt, **patient),
        under_load(rig, inbox) as load,
    ):
        replica = await cluster.replica_of(await cluster.owner(1))
        await replica.command("CLUSTER", "FAILOVER")
        await eventually(lambda: is_owner(cluster, replica), TAKEN_OVER_WITHIN_S)
        await load.goes_on()
        stored = {request_id: await rig.broker.lookup(request_id) for request_id in [*load.answers]}
        assert stored == {
            request_id: records[0] for request_id, records in load.answers.items() if request_id in stored
        }
    assert load.all_were_answered_once()


async def is_owner(cluster: Cluster, node: object) -> bool:
    return await cluster.owner(1) is node
