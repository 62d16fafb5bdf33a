"""Strict: whatever a caller is told, replicas have."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from edgescale.broker.connection import Connection
from edgescale.broker.dial import dial
from edgescale.broker.fence import Fence
from edgescale.broker.pool import Pool
from edgescale.broker.script import Script
from edgescale.chance import SystemChance
from edgescale.errors import BrokerUnavailable
from edgescale.telemetry.events import Event
from edgescale.worker.fitness import until_fit
from tests.pairs import Pair, ask, paired
from tests.servers import own_names
from tests.support import Rig, all_of, eventually, open_rig, serving, settlement, submission


@pytest.fixture(params=own_names())
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with paired(request.param, tmp_path) as started:
        yield started


@asynccontextmanager
async def strict(pair: Pair, *, patience_ms: int = 30_000) -> AsyncIterator[Rig]:
    """A rig on the primary that waits for acknowledgements, however long a disk takes."""
    async with open_rig(pair.primary.url, durability="strict", redis_patience_ms=patience_ms) as rig:
        yield rig


def hasty(pair: Pair) -> AbstractAsyncContextManager[Rig]:
    """A rig on the primary that gives up at the first acknowledgement that is missing."""
    return strict(pair, patience_ms=1)


async def test_a_frozen_replica_keeps_submissions_from_being_acknowledged_until_it_is_back(pair: Pair) -> None:
    async with strict(pair) as rig:
        await rig.submit("r1")
        pair.freeze()
        with capture_logs() as logs:
            waiting = asyncio.create_task(rig.broker.submit(submission("r2")))
            await eventually(lambda: any(line["event"] == Event.REPLICAS_BEHIND for line in logs))
            assert await rig.fields("r2"), "it is stored, and may be lost yet"
            assert not waiting.done()
            pair.thaw()
            await waiting
        told = [line["event"] for line in logs if line["event"] in {Event.REPLICAS_BEHIND, Event.REPLICAS_FOLLOW}]
        assert told == [Event.REPLICAS_BEHIND, Event.REPLICAS_FOLLOW], "once for the outage, and once for its end"


async def test_a_worker_that_starts_while_a_replica_is_missing_waits_for_it_and_says_so(pair: Pair) -> None:
    """As one does that is started again right after a failover: exiting would help nobody."""
    await pair.part()
    async with strict(pair) as rig:
        stop = asyncio.Event()
        with capture_logs() as logs:
            starting = asyncio.create_task(
                until_fit(rig.connection, rig.keys, rig.broker, rig.settings, SystemChance(), stop)
            )
            await eventually(lambda: any(line["event"] == Event.BROKER_LOST for line in logs))
            assert not starting.done()
            await pair.follow()
            assert await starting
        [lost, found] = [line for line in logs if line["event"] in {Event.BROKER_LOST, Event.BROKER_FOUND}]
        assert "has 0 replicas online, and EDGESCALE_DURABILITY=strict needs 1" in lost["error"]
        assert found["event"] == Event.BROKER_FOUND


async def test_a_replica_that_follows_nobody_acknowledges_nothing(pair: Pair) -> None:
    async with strict(pair) as rig, hasty(pair) as other:
        await pair.part()
        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            await other.broker.submit(submission("r1"))
        await pair.follow()
        assert not (await rig.broker.submit(submission("r1"))).accepted, "it had been stored before"


async def test_a_repeated_submission_is_not_acknowledged_because_it_has_nothing_left_to_write(pair: Pair) -> None:
    async with strict(pair) as rig, hasty(pair) as one, hasty(pair) as other:
        await rig.submit("r0")
        pair.freeze()
        for caller in (one, one, other):
            with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
                await caller.broker.submit(submission("r1"))


async def test_a_result_is_told_to_nobody_before_it_is_acknowledged(pair: Pair) -> None:
    async with strict(pair) as rig, hasty(pair) as reader:
        [entry] = await rig.submit_and_take("r1")
        pair.freeze()
        settling = asyncio.create_task(rig.broker.settle("worker-1", settlement(entry)))
        await eventually(lambda: _stored(rig, "r1"))
        calls = [reader.broker.lookup("r1"), reader.broker.submit(submission("r1")), reader.canceller.cancel("r1")]
        told = await all_of(calls)
        assert [type(answer) for answer in told] == [BrokerUnavailable] * 3
        assert not settling.done()
        pair.thaw()
        assert await settling == "settled"
        record = await eventually(lambda: reader.broker.lookup("r1"))
        assert record.state == "succeeded"


async def _stored(rig: Rig, request_id: str) -> bool:
    return (await rig.fields(request_id)).get(b"state") == b"succeeded"


async def test_a_waiter_hears_of_its_result_once_the_replica_has_it(pair: Pair) -> None:
    async with strict(pair) as rig, serving(rig.inbox()) as inbox:
        with inbox.expect("r1") as wait:
            task = submission("r1")
            await rig.broker.submit(task, inbox=inbox.name)
            wait.accepted(task)
            [entry] = await rig.take()
            pair.freeze()
            settling = asyncio.create_task(rig.broker.settle("worker-1", settlement(entry)))
            hearing = asyncio.create_task(wait.result(30))
            await eventually(lambda: _stored(rig, "r1"))
            await asyncio.wait([hearing], timeout=0.5)
            assert not hearing.done()
            pair.thaw()
            record = await hearing
            assert record is not None
            assert record.state == "succeeded"
            await settling


async def test_a_failover_takes_nothing_that_was_acknowledged(pair: Pair) -> None:
    accepted: list[str] = []

    async def keep_submitting(rig: Rig, name: str) -> None:
        for number in range(100_000):
            request_id = f"{name}-{number}"
            await rig.broker.submit(submission(request_id))
            accepted.append(request_id)

    async with strict(pair) as rig:
        senders = [asyncio.create_task(keep_submitting(rig, f"sender-{number}")) for number in range(8)]
        await eventually(lambda: len(accepted) > 200, timeout_s=30)
        pair.cut()
        senders.append(asyncio.create_task(keep_submitting(rig, "late")))
        await eventually(lambda: rig.fields("late-0"), timeout_s=30)
        await pair.fail_over()
        for sender in senders:
            sender.cancel()
        await all_of(senders)
    async with open_rig(pair.replica.url) as rig:
        kept = set(await rig.request_ids())
        assert [request_id for request_id in accepted if request_id not in kept] == []


async def test_acknowledged_writes_go_on_when_memory_is_out(pair: Pair) -> None:
    async with strict(pair) as rig:
        [entry] = await rig.submit_and_take("r1")
        await ask(pair.primary, "CONFIG", "SET", "maxmemory", "1")
        assert await rig.broker.settle("worker-1", settlement(entry)) == "settled"


async def test_a_server_that_forgot_the_scripts_is_sent_them_and_still_asked_for_its_replicas(pair: Pair) -> None:
    async with strict(pair) as rig, hasty(pair) as other:
        await rig.submit("r1")
        await ask(pair.primary, "SCRIPT", "FLUSH")
        await rig.submit("r2")
        await ask(pair.primary, "SCRIPT", "FLUSH")
        pair.freeze()
        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            await other.broker.submit(submission("r3"))


async def test_a_replay_that_was_not_acknowledged_is_not_told_as_done_when_it_is_repeated(pair: Pair) -> None:
    async with strict(pair) as rig, hasty(pair) as operator:
        await rig.bury("r1")
        [letter] = (await rig.letters.page()).letters
        pair.freeze()
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
                await operator.letters.replay([str(letter.id)])
        pair.thaw()
        # The mark is asked for once, without patience.
        await eventually(lambda: operator.letters.replay([str(letter.id)]))
        [replay] = await rig.letters.replay([str(letter.id)])
        assert replay.outcome == "replayed"


async def test_renewals_and_reads_go_on_without_the_replica(pair: Pair) -> None:
    async with strict(pair) as rig:
        await rig.submit("r1")
        pair.freeze()
        [entry] = await rig.take()
        assert await rig.broker.renew("worker-1", entry)


async def test_the_fence_expires(pair: Pair) -> None:
    async with strict(pair) as rig:
        await rig.submit("r1")
        assert 0 < int(await rig.connection.command("PTTL", rig.keys.fence(0))) <= 60_000


async def test_standard_writes_no_fence(pair: Pair) -> None:
    async with open_rig(pair.primary.url) as rig:
        await rig.submit("r1")
        assert await rig.connection.command("EXISTS", rig.keys.fence(0)) == 0


async def test_a_failover_takes_no_end_that_a_caller_was_told(pair: Pair) -> None:
    told: dict[str, str] = {}
    rounds: Counter[str] = Counter()

    async def keep_asking(rig: Rig, request_id: str) -> None:
        while request_id not in told:
            with suppress(BrokerUnavailable):
                record = await rig.broker.lookup(request_id)
                if record is not None and record.terminal:
                    told[request_id] = record.state
            rounds[request_id] += 1

    async with strict(pair) as worker, strict(pair) as reader:
        names = [f"r{number}" for number in range(20)]
        entries = await worker.submit_and_take(*names)
        asking = [asyncio.create_task(keep_asking(reader, name)) for name in names]
        for entry in entries[:5]:
            await worker.broker.settle("worker-1", settlement(entry))
        await eventually(lambda: len(told) == 5, timeout_s=30)
        pair.cut()
        settling = [asyncio.create_task(worker.broker.settle("worker-1", settlement(entry))) for entry in entries[5:]]
        await eventually(lambda: _stored(worker, names[-1]))
        asked = Counter(rounds)
        await eventually(lambda: all(name in told or rounds[name] > asked[name] + 1 for name in names), timeout_s=30)
        for task in (*settling, *asking):
            task.cancel()
        await all_of([*settling, *asking])
        await pair.fail_over()
    async with open_rig(pair.replica.url) as rig:
        kept = {name: (await rig.fields(name))[b"state"].decode() for name in told}
        assert kept == told


async def test_a_call_that_is_broken_off_midway_shifts_no_reply(pair: Pair) -> None:
    fence = Fence(replicas=1, timeout_ms=5_000)
    connection = Connection(pair.primary.url, timeout_ms=10_000, connections_max=1, fence=fence)
    keys = ["edgescale:{p0}:task:r1"]
    args = [""]
    assert await connection.run(Script.load("lookup"), keys, args) == [[]]
    pair.freeze()
    for _ in range(5):
        call = asyncio.create_task(connection.run(Script.load("lookup"), keys, args))
        await eventually(lambda: _waits(pair))
        call.cancel()
        await asyncio.wait([call])
        assert await connection.command("ECHO", "mine") == b"mine"
    pair.thaw()
    assert await connection.run(Script.load("lookup"), keys, args) == [[]]
    await connection.close()


async def _waits(pair: Pair) -> bool:
    return "blocked_clients:1" in await ask(pair.primary, "INFO", "clients")


async def test_a_command_that_is_refused_among_others_shifts_no_reply(pair: Pair) -> None:
    pool = Pool(dial(pair.primary.url, timeout_ms=1_000), 1)
    one, refused, three = await pool.exchange_all(("ECHO", "one"), ("NO-SUCH-COMMAND",), ("ECHO", "three"))
    assert (one, three) == (b"one", b"three")
    assert isinstance(refused, Exception)
    assert await pool.exchange("ECHO", "four") == b"four"
    await pool.close()
