"""A primary behind sentinels is replaced, by order or because it died: it is found, and everybody goes on."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgescale.broker.connection import Connection
from edgescale.broker.inspect import check_server
from edgescale.errors import BrokerUnavailable, ConfigError
from tests.load import Load, under_load
from tests.parts import Deed, answer_with_attempt, said, working
from tests.sentinels import PRIMARY, Watched, watched_by_sentinels
from tests.servers import own_names
from tests.support import eventually, open_rig, serving

IMPATIENT: dict[str, Any] = {"redis_timeout_ms": 500, "inbox_recheck_ms": 500, "lease_ms": 2_000}
TAKEN_OVER_WITHIN_S = 20.0
# Each test has processes of its own; where kinds of servers cannot differ, one of them is enough.
ONE_KIND = pytest.mark.parametrize("watched", ["valkey"], indirect=True)


@pytest.fixture(params=own_names())
async def watched(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    """A primary with its replica and sentinels, of the test's own."""
    async with watched_by_sentinels(tmp_path, request.param) as running:
        yield running


@pytest.mark.parametrize("how", ["by order", "killed"])
async def test_a_primary_is_replaced_under_load_and_every_accepted_task_is_answered_once(
    watched: Watched, how: str
) -> None:
    first, second = Deed(), Deed()
    async with (
        open_rig(watched.url, **IMPATIENT) as rig,
        serving(rig.inbox()) as inbox,
        working(watched.url, first, **IMPATIENT),
        working(watched.url, second, **IMPATIENT),
        under_load(rig, inbox) as load,
    ):
        before = await watched.primary()
        if how == "killed":
            await before.kill()
        else:
            await watched.fail_over()
        await eventually(lambda: has_another(watched, before), TAKEN_OVER_WITHIN_S)
        await load.goes_on()
        done = len(first.ended), len(second.ended)
        await eventually(lambda: len(first.ended) > done[0] and len(second.ended) > done[1])
        await eventually(inbox.ready.is_set)
    assert load.all_were_answered_once()


async def has_another(watched: Watched, before: object) -> bool:
    return await watched.primary() is not before


@ONE_KIND
async def test_what_the_replica_had_not_got_is_submitted_again_for_its_waiter(watched: Watched) -> None:
    async with open_rig(watched.url, **IMPATIENT) as rig, serving(rig.inbox()) as inbox:
        doomed = Connection((await watched.primary()).url, timeout_ms=1_000)
        await doomed.command("ACL", "SETUSER", "default", "-psync", "-sync")
        await doomed.command("CLIENT", "KILL", "TYPE", "replica")
        await doomed.close()
        answer = asyncio.create_task(Load(rig, inbox).ask("r1"))
        await eventually(lambda: rig.fields("r1"))
        before = await watched.primary()
        with capture_logs() as lines:
            await before.kill()
            await eventually(lambda: has_another(watched, before), TAKEN_OVER_WITHIN_S)
            async with working(watched.url, answer_with_attempt, **IMPATIENT):
                assert said(await answer) == "r1 by attempt 1"
    assert [line["request_id"] for line in lines if line["event"] == "task.resubmitted"] == ["r1"]


@ONE_KIND
async def test_a_primary_that_was_replaced_while_it_was_well_is_left_before_it_knows(watched: Watched) -> None:
    # No slow timer: the result must be heard of where the primary is now.
    patient = IMPATIENT | {"inbox_recheck_ms": 1_000}
    async with (
        open_rig(watched.url, **patient) as rig,
        serving(rig.inbox()) as inbox,
        working(watched.url, answer_with_attempt, **patient),
    ):
        await Load(rig, inbox).ask("before")
        old = Connection((await watched.primary()).url, timeout_ms=1_000)
        await watched.fail_over()
        new = Connection((await watched.primary()).url, timeout_ms=1_000)
        sent = 0

        async def arrived() -> bool:
            nonlocal sent
            sent += 1
            await Load(rig, inbox).ask(f"after{sent}")
            task = rig.keys.task(f"after{sent}")
            # What the old one accepted is missed at the new one, and submitted there again.
            return bool(await new.command("EXISTS", task)) and not await old.command("EXISTS", task)

        await eventually(arrived)
        # Sentinels tell it some seconds later, and whatever it took until then is lost.
        assert b"role:master" in await old.command("INFO", "replication")
        await old.close()
        await new.close()


@ONE_KIND
async def test_a_sentinel_that_fell_silent_leaves_time_to_ask_the_next_one(watched: Watched) -> None:
    silent = watched.sentinels[0].pid
    assert silent is not None
    os.kill(silent, signal.SIGSTOP)
    try:
        async with open_rig(watched.url, redis_timeout_ms=1_000) as rig:
            await rig.submit("r1")
            assert await rig.request_ids() == ["r1"]
    finally:
        os.kill(silent, signal.SIGCONT)


@ONE_KIND
async def test_what_the_url_names_must_be_what_is_there(watched: Watched) -> None:
    sentinel = watched.sentinels[0]
    async with open_rig(sentinel.url) as rig:
        with pytest.raises(ConfigError, match=r"this is a sentinel, .* redis\+sentinel://"):
            await check_server(rig.connection, rig.settings)
    async with open_rig(f"redis+sentinel://127.0.0.1:{watched.servers[0].port}/{PRIMARY}") as rig:
        with pytest.raises(ConfigError, match=r"this is no sentinel; .* redis://"):
            await check_server(rig.connection, rig.settings)
    async with open_rig(watched.url.replace(f"/{PRIMARY}/", "/nobody/")) as rig:
        with pytest.raises(BrokerUnavailable) as away:
            await check_server(rig.connection, rig.settings)
        assert "No master found for 'nobody'" in str(away.value.__cause__)
    async with open_rig(watched.url) as rig:
        await check_server(rig.connection, rig.settings)
