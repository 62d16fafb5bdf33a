"""What Redis holds of tasks survives a snapshot or a rewritten log, and work goes on from there."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgescale.broker.keys import GROUP
from edgescale.broker.model import Entry, GiveBack
from edgescale.local.valkey import EmbeddedValkey
from tests.parts import Deed, working
from tests.servers import own_names, own_server
from tests.support import LANE, Rig, beat, eventually, open_rig, settlement

LATER_MS = 3_600_000
LONG_MS = 60_000


class SnapshotOnly(EmbeddedValkey):
    """A server without a log of writes: what it knows after a restart, it knows from its last snapshot."""

    def _options(self) -> list[str]:
        options = super()._options()
        options[options.index("--appendonly") + 1] = "no"
        return options


@pytest.fixture(params=[(name, how) for name in own_names() for how in ("snapshot", "rewritten log")], ids="-".join)
async def persisting(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[EmbeddedValkey]:
    """A server of the test's own, that keeps what it holds in one of two ways."""
    name, how = request.param
    server = own_server(name, tmp_path, kind=SnapshotOnly if how == "snapshot" else EmbeddedValkey)
    await server.start()
    yield server
    await server.stop()


async def persist_and_restart(server: EmbeddedValkey, rig: Rig) -> None:
    """Have the server write all it holds, kill it, and start it from that."""
    snapshot = isinstance(server, SnapshotOnly)
    await rig.connection.command("BGSAVE" if snapshot else "BGREWRITEAOF")

    async def written() -> bool:
        facts = (await rig.connection.command("INFO", "persistence")).decode().split("\r\n")
        busy = {"rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"} - set(facts)
        good = {"rdb_last_bgsave_status:ok", "aof_last_bgrewrite_status:ok"} <= set(facts)
        return good and not busy

    await eventually(written)
    await server.kill()
    await server.start()
    await eventually(lambda: rig.connection.command("PING"))


async def held(rig: Rig) -> dict[str, Any]:
    """All that Redis holds of the lane, its tasks, letters and agents, but for times that go on."""
    keys = sorted(key.decode() for key in await rig.connection.command("KEYS", "*"))
    stream, command = rig.keys.stream(0, LANE), rig.connection.command
    [group] = await command("XINFO", "GROUPS", stream)
    return {
        "keys": keys,
        "lasting": [key for key in keys if await command("PTTL", key) == -1],
        "entries": await command("XRANGE", stream, "-", "+"),
        "last id": (await command("XINFO", "STREAM", stream))[7],
        "group": (group[1], group[5], group[7]),
        "pending": await rig.pending(),
        "schedule": await command("ZRANGE", rig.keys.schedule(0, LANE), 0, -1, "WITHSCORES"),
        "letters": await command("XRANGE", rig.keys.dead(0), "-", "+"),
        "agents": await command("ZRANGE", rig.keys.agents(0), 0, -1, "WITHSCORES"),
        "records": {key: await rig.fields(key.rpartition(":")[2]) for key in keys if ":task:" in key},
    }


async def fill(rig: Rig) -> dict[str, Entry]:
    """Tasks in every state; the entries of those that a worker has, or had."""
    await rig.bury("dead")
    entries = dict(
        zip(
            ("done", "running", "tried", "later"),
            await rig.submit_and_take("done", "running", "tried", "later"),
            strict=True,
        )
    )
    assert await rig.broker.settle("worker-1", settlement(entries["done"])) == "settled"
    for consumer in ("worker-2", "worker-3"):
        await rig.silence(entries["tried"], owner=rig_owner(await rig.pending(), entries["tried"]))
        _, [entries["tried"]] = await rig.broker.reclaim(0, LANE, consumer, cursor="0-0", count=10)
        await rig.broker.renew(consumer, entries["tried"])
    handed = GiveBack(entries["later"], "later", delay_ms=LATER_MS, deliveries=1, reason="NOT_YET", message="Not yet.")
    assert await rig.broker.give_back("worker-1", handed)
    await rig.submit("queued")
    await rig.agents.record(beat(1), seen_ms=await rig.now_ms())
    return entries


def rig_owner(pending: list[tuple[str, str, int]], entry: Entry) -> str:
    return next(owner for entry_id, owner, _ in pending if entry_id == entry.entry_id)


async def test_everything_is_there_again_after_a_restart(persisting: EmbeddedValkey) -> None:
    async with open_rig(persisting.url, lease_ms=LONG_MS) as rig:
        entries = await fill(rig)
        before = await held(rig)
        assert [row[1:] for row in before["pending"]] == [("worker-1", 1), ("worker-3", 3), ("worker-1", 1)]
        assert before["schedule"][0] == entries["later"].entry_id.encode()
        await persist_and_restart(persisting, rig)
        assert await held(rig) == before


async def test_owners_go_on_after_a_restart_and_what_was_settled_stays_settled(persisting: EmbeddedValkey) -> None:
    async with open_rig(persisting.url, lease_ms=LONG_MS) as rig:
        entries = await fill(rig)
        await persist_and_restart(persisting, rig)
        assert await rig.broker.renew("worker-3", entries["tried"])
        assert not await rig.broker.renew("worker-1", entries["tried"]), "it was taken over before"
        assert await rig.broker.settle("worker-1", settlement(entries["running"])) == "settled"
        assert await rig.broker.settle("worker-9", settlement(entries["done"])) == "superseded"
        assert [entry.fields[b"request_id"] for entry in await rig.take(consumer="worker-1")] == [b"queued"]
        assert not (await rig.broker.reclaim(0, LANE, "worker-9", cursor="0-0", count=10))[1], "all leases go on"


async def test_workers_finish_after_a_restart_what_was_open_and_nothing_else(persisting: EmbeddedValkey) -> None:
    deed = Deed()
    async with open_rig(persisting.url) as rig:
        entries = await fill(rig)
        await persist_and_restart(persisting, rig)
        for name in ("running", "tried"):
            await rig.silence(entries[name], owner=rig_owner(await rig.pending(), entries[name]))
        # Without a log of writes nothing less is asked of a server.
        async with working(persisting.url, deed, durability="none"):
            await eventually(lambda: len(deed.ended) == 3)
        attempts = {context.request_id: context.attempt for context in deed.begun}
        # `silence` counts as many deliveries as the entry has had when it was read.
        assert attempts == {"running": 2, "tried": 4, "queued": 1}
        assert await rig.backlog() == 1, "one waits for its time"
        groups = await rig.connection.command("XINFO", "GROUPS", rig.keys.stream(0, LANE))
        assert [group[1] for group in groups] == [GROUP.encode()]
