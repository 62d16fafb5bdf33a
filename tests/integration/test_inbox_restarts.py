"""The inbox when its server restarts: with its data, without them, after a kill."""

import asyncio

from edgescale.local.valkey import EmbeddedValkey
from tests.support import eventually, open_rig, serving, submission
from tests.waiting import (
    NEVER_MS,
    kill_subscriptions,
    settle_all,
    succeeded,
    wait_for_accepted,
)


async def test_a_server_that_restarts_with_its_data_keeps_its_waiters(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1", 10))
        await eventually(rig.backlog)
        await private_server.stop()
        await asyncio.wait_for(inbox.lost.wait(), 5)
        await private_server.start()
        await asyncio.wait_for(inbox.ready.wait(), 5)
        await settle_all(rig)
        assert succeeded(await waiting)


async def test_a_result_survives_the_death_of_its_server(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig:
        await rig.connection.command("CONFIG", "SET", "appendfsync", "always")
        async with serving(rig.inbox()) as inbox:
            with inbox.expect("r1") as wait:
                await rig.broker.submit(submission(), inbox=inbox.name)
                await kill_subscriptions(rig)
                await settle_all(rig)
                await private_server.kill()
                await private_server.start()
                assert succeeded(await wait.result(10))


async def test_tasks_of_a_server_that_restarts_empty_are_submitted_again(private_server: EmbeddedValkey) -> None:
    async with open_rig(private_server.url, inbox_recheck_ms=NEVER_MS) as rig, serving(rig.inbox()) as inbox:
        waiting = asyncio.create_task(wait_for_accepted(rig, inbox, "r1", 10))
        await eventually(rig.backlog)
        await rig.connection.command("CONFIG", "SET", "appendonly", "no")
        await private_server.kill()
        for path in (private_server.log_path.parent / "appendonlydir").iterdir():
            path.unlink()
        await private_server.start()
        await eventually(rig.backlog)
        await settle_all(rig)
        assert succeeded(await waiting)
