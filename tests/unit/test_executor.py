"""The executor: what becomes of one delivery, whatever its bytes are and whatever its handler does."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from edgescale.broker.clock import BrokerClock
from edgescale.broker.model import Entry, GiveBack, Settlement, SettleStatus
from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable, InternalError, InvalidInput, StoreUnavailable
from edgescale.handlers.base import Completed, Context, Outcome, Rejected, Retry
from edgescale.handlers.policy import Policy
from edgescale.handlers.registry import Registry
from edgescale.worker.deliveries import Delivery
from edgescale.worker.executor import Executor
from tests.parts import Acting, Deed, RecordingBroker, done, entry_of, turns
from tests.support import SeededChance

LEASE_MS = 5_000
ATTEMPTS_MAX = 3


def answering(outcome: Any) -> Callable[[bytes, Context], Awaitable[Outcome]]:
    """A handler's function that answers or raises this."""

    async def act(payload: bytes, context: Context) -> Outcome:
        del payload, context
        if isinstance(outcome, BaseException):
            raise outcome
        answer: Outcome = outcome
        return answer

    return act


class Bench:
    """An executor whose broker writes down what it is told."""

    def __init__(
        self, act: Callable[[bytes, Context], Awaitable[Outcome]], *, policy: Policy | None = None, **changes: Any
    ) -> None:
        self.broker = RecordingBroker()
        settings = Settings(**{"lease_ms": LEASE_MS, "attempts_max": ATTEMPTS_MAX, **changes})
        handler = Acting(act)
        if policy is not None:
            handler.policy = policy
        registry = Registry([handler])
        self.executor = Executor(self.broker, registry, settings, SeededChance(), consumer="worker-1")

    async def execute(self, entry: Entry) -> Settlement | GiveBack:
        """The one thing that the broker was told of this delivery."""
        await self.executor.execute(Delivery(entry))
        told: list[Settlement | GiveBack] = [*self.broker.settled, *self.broker.handed]
        assert len(told) == 1
        return told[0]

    async def settlement(self, entry: Entry) -> Settlement:
        ending = await self.execute(entry)
        assert isinstance(ending, Settlement)
        return ending

    async def hand_back(self, entry: Entry) -> GiveBack:
        ending = await self.execute(entry)
        assert isinstance(ending, GiveBack)
        return ending


async def test_a_completed_task_is_settled_with_its_result() -> None:
    ending = await Bench(answering(done("well"))).settlement(entry_of("r7"))
    assert ending == Settlement(entry_of("r7"), "r7", "text", "succeeded", result=done("well").result)


async def test_the_outcome_of_an_entry_that_came_again_meanwhile_is_stored_as_that_deliverys() -> None:
    bench = Bench(answering(done("well")))
    delivery = Delivery(entry_of("r7"))

    async def settle(consumer: str, settlement: Settlement) -> SettleStatus:
        del consumer
        bench.broker.settled.append(settlement)
        if settlement.entry.deliveries == 2:
            return "settled"
        delivery.entry = entry_of("r7", deliveries=2)
        return "lost"

    bench.broker.settle = settle  # type: ignore[method-assign]
    with capture_logs() as logs:
        await bench.executor.execute(delivery)

    assert [settlement.entry.deliveries for settlement in bench.broker.settled] == [1, 2]
    assert [settlement.result for settlement in bench.broker.settled] == [done("well").result] * 2
    assert [entry["event"] for entry in logs] == ["task.started", "task.settled"]


async def test_a_rejected_task_fails_for_good_at_its_first_attempt() -> None:
    ending = await Bench(answering(Rejected("TOO_OLD", "It is too old."))).settlement(entry_of())
    assert (ending.state, ending.reason, ending.message, ending.result) == ("failed", "TOO_OLD", "It is too old.", b"")


async def test_the_handler_is_told_which_delivery_it_serves() -> None:
    deed = Deed()
    entry = entry_of("r7", deliveries=2)
    await Bench(deed).execute(entry)
    assert deed.begun == [Context("r7", "text", attempt=2, attempts_max=ATTEMPTS_MAX, accepted_ms=1_700_000_000_000)]


async def test_a_retry_goes_back_with_the_delay_that_the_handler_asked_for() -> None:
    ending = await Bench(answering(Retry("NOT_YET", "Not yet.", delay_ms=1_200))).hand_back(entry_of(deliveries=2))
    assert (ending.delay_ms, ending.deliveries) == (1_200, 2)
    assert (ending.reason, ending.message) == ("NOT_YET", "Not yet.")


async def test_a_retry_without_a_reason_is_given_one() -> None:
    ending = await Bench(answering(Retry("", ""))).hand_back(entry_of())
    assert (ending.reason, ending.deliveries) == ("UNSPECIFIED", 1)


@pytest.mark.parametrize(("asked_ms", "delay_ms"), [(0, 0), (-5, 0), (LEASE_MS * 9, LEASE_MS * 9)])
async def test_a_delay_may_be_longer_than_a_lease_and_is_never_negative(asked_ms: int, delay_ms: int) -> None:
    ending = await Bench(answering(Retry("NOT_YET", "", delay_ms=asked_ms))).hand_back(entry_of())
    assert ending.delay_ms == delay_ms


async def test_retries_wait_longer_and_longer_but_no_longer_than_the_policy_says() -> None:
    async def longest_ms(deliveries: int) -> int:
        policy = Policy(attempts_max=100, backoff_base_ms=200, backoff_max_ms=9_000)
        bench = Bench(answering(Retry("NOT_YET", "")), policy=policy)
        for _ in range(200):
            await bench.executor.execute(Delivery(entry_of(deliveries=deliveries)))
        return max(ending.delay_ms for ending in bench.broker.handed)

    waits_ms = [await longest_ms(deliveries) for deliveries in (1, 2, 3, 90)]
    bounds_ms = [200, 400, 800, 9_000]
    assert all(bound_ms * 0.9 < wait_ms <= bound_ms for wait_ms, bound_ms in zip(waits_ms, bounds_ms, strict=True))


async def test_a_kind_has_attempts_and_a_timeout_of_its_own() -> None:
    deed = Deed(held=True)
    policy = Policy(attempts_max=7, timeout_ms=20)
    handed = await Bench(deed, policy=policy).hand_back(entry_of(deliveries=6))
    assert (handed.reason, handed.message) == ("TIMEOUT", "the handler took longer than 20 ms")
    assert [context.attempts_max for context in deed.begun] == [7]
    assert (await Bench(Deed(held=True), policy=policy).settlement(entry_of(deliveries=7))).state == "dead_lettered"


@pytest.mark.parametrize(("error", "state"), [(KeyError("k"), "failed"), (LookupError("l"), "failed")])
async def test_an_error_that_the_policy_calls_final_is_not_tried_again(error: Exception, state: str) -> None:
    ending = await Bench(answering(error), policy=Policy(final=(LookupError,))).settlement(entry_of())
    assert (ending.state, ending.reason) == (state, "HANDLER_ERROR")


async def test_a_task_that_is_not_due_waits_without_an_attempt() -> None:
    deed = Deed()
    bench = Bench(deed)
    bench.broker.clocks[0].heard(1_700_000_000_000, bench.broker.clocks[0].ask())
    handed = await bench.hand_back(entry_of(not_before_ms=1_700_000_060_000, expires_ms=1_700_000_090_000))
    assert 59_000 < handed.delay_ms <= 60_000
    assert (handed.deliveries, handed.reason, deed.begun) == (0, "", [])


async def test_a_task_past_its_deadline_is_not_started() -> None:
    deed = Deed()
    bench = Bench(deed)
    bench.broker.clocks[0].heard(1_700_000_000_000, bench.broker.clocks[0].ask())
    ending = await bench.settlement(entry_of(expires_ms=1_700_000_000_000))
    assert (ending.state, ending.reason, deed.begun) == ("expired", "EXPIRED", [])


async def test_a_deadline_is_by_the_clock_of_the_entrys_own_partition() -> None:
    bench = Bench(Deed())
    bench.broker.clocks = [BrokerClock(), BrokerClock()]
    for clock, told_ms in zip(bench.broker.clocks, (1_700_000_060_000, 1_700_000_000_000), strict=True):
        clock.heard(told_ms, clock.ask())
    entry = entry_of(expires_ms=1_700_000_030_000)
    assert (await bench.settlement(entry)).state == "expired"
    bench.broker.settled.clear()
    assert (await bench.settlement(dataclasses.replace(entry, partition=1))).state == "succeeded"


@pytest.mark.parametrize("now_ms", [None, 1_700_000_000_000])
async def test_a_task_that_is_due_and_in_time_is_started(now_ms: int | None) -> None:
    """As is one of which nobody can tell, the broker's clock not being known yet."""
    bench = Bench(Deed())
    if now_ms is not None:
        bench.broker.clocks[0].heard(now_ms, bench.broker.clocks[0].ask())
    entry = entry_of(not_before_ms=1_700_000_000_000, expires_ms=1_700_000_005_000)
    assert (await bench.settlement(entry)).state == "succeeded"


async def test_the_last_attempt_that_fails_is_dead_lettered() -> None:
    bench = Bench(answering(Retry("NOT_YET", "Not yet.", delay_ms=1)))
    ending = await bench.settlement(entry_of(deliveries=ATTEMPTS_MAX))
    assert (ending.state, ending.reason, ending.message) == ("dead_lettered", "NOT_YET", "Not yet.")


async def test_an_entry_whose_deliveries_are_used_up_is_dead_lettered_without_another_attempt() -> None:
    deed = Deed()
    ending = await Bench(deed).settlement(entry_of(deliveries=ATTEMPTS_MAX + 1))
    assert (ending.state, ending.reason) == ("dead_lettered", "ATTEMPTS_EXHAUSTED")
    assert deed.begun == []


async def test_a_kind_that_nobody_here_knows_is_left_to_others_and_dead_lettered_in_the_end() -> None:
    handed = await Bench(Deed()).hand_back(entry_of(kind="novel"))
    assert (handed.reason, handed.message) == ("UNKNOWN_KIND", "no handler for kind 'novel'")
    ending = await Bench(Deed()).settlement(entry_of(kind="novel", deliveries=ATTEMPTS_MAX))
    assert (ending.state, ending.reason, ending.kind) == ("dead_lettered", "UNKNOWN_KIND", "novel")


async def test_an_error_that_is_retryable_means_retry_and_any_other_of_the_tree_means_rejected() -> None:
    handed = await Bench(answering(StoreUnavailable("The store is away."))).hand_back(entry_of())
    assert (handed.reason, handed.message) == ("STORE_UNAVAILABLE", "The store is away.")
    ending = await Bench(answering(InvalidInput("text", "must not be empty"))).settlement(entry_of())
    assert (ending.state, ending.reason, ending.message) == ("failed", "INVALID_INPUT", "text: must not be empty")


async def test_a_foreign_exception_is_retried_and_its_words_stay_inside() -> None:
    handed = await Bench(answering(ZeroDivisionError("secret"))).hand_back(entry_of())
    assert (handed.reason, handed.message) == ("HANDLER_ERROR", "the handler raised ZeroDivisionError")


async def test_a_handler_that_takes_too_long_is_stopped_and_tried_again() -> None:
    deed = Deed(held=True)
    handed = await Bench(deed, handler_timeout_ms=20).hand_back(entry_of())
    assert (handed.reason, handed.message) == ("TIMEOUT", "the handler took longer than 20 ms")
    assert deed.running == 1


async def test_a_timeout_of_the_handlers_own_is_not_taken_for_ours() -> None:
    handed = await Bench(answering(TimeoutError())).hand_back(entry_of())
    assert handed.reason == "HANDLER_ERROR"


async def test_a_cancellation_of_the_handlers_own_is_a_failed_attempt() -> None:
    async def act(payload: bytes, context: Context) -> Outcome:
        del payload, context
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner
        raise AssertionError("unreachable")

    handed = await Bench(act).hand_back(entry_of())
    assert (handed.reason, handed.message) == ("HANDLER_ERROR", "the handler raised CancelledError")


@pytest.mark.parametrize("answer", [None, True, b"bytes", Completed(None), Completed("text")])  # type: ignore[arg-type]
async def test_an_answer_that_is_no_outcome_is_a_failed_attempt(answer: Any) -> None:
    handed = await Bench(answering(answer)).hand_back(entry_of())
    assert handed.reason == "HANDLER_ERROR"
    ending = await Bench(answering(answer)).settlement(entry_of(deliveries=ATTEMPTS_MAX))
    assert (ending.state, ending.reason) == ("dead_lettered", "HANDLER_ERROR")


async def test_a_message_is_cut_to_what_a_status_can_carry() -> None:
    ending = await Bench(answering(Rejected("TOO_LONG", "ä€😀" * 500))).settlement(entry_of())
    assert 900 < len(ending.message.encode()) <= 1_000
    assert ending.message.startswith("ä€😀")
    assert ending.message.endswith("…")


@pytest.mark.parametrize("spoilt", [{b"envelope": b"\xff\xff"}, {b"envelope": b""}, {b"other": b"field"}])
async def test_an_entry_that_does_not_decode_is_dead_lettered_under_its_request_id(spoilt: dict[bytes, bytes]) -> None:
    deed = Deed()
    entry = Entry(0, "text", "1-1", 1, {b"request_id": b"r1", **spoilt})
    ending = await Bench(deed).settlement(entry)
    assert (ending.request_id, ending.state, ending.reason) == ("r1", "dead_lettered", "UNDECODABLE")
    assert deed.begun == []


@pytest.mark.parametrize("fields", [{}, {b"request_id": b"", b"envelope": b""}, {b"envelope": b"\xff"}])
async def test_an_entry_without_a_request_id_is_dead_lettered_under_its_own_id(fields: dict[bytes, bytes]) -> None:
    ending = await Bench(Deed()).settlement(Entry(0, "text", "1-1", 1, fields))
    assert (ending.request_id, ending.state) == ("entry-1-1", "dead_lettered")


async def test_a_stop_from_outside_ends_the_handler_and_leaves_the_entry_as_it_is() -> None:
    bench = Bench(Deed(held=True))
    running = asyncio.create_task(bench.executor.execute(Delivery(entry_of())))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (bench.broker.settled, bench.broker.handed) == ([], [])


async def test_from_the_moment_the_outcome_is_on_its_way_the_delivery_says_so() -> None:
    seen: list[bool] = []
    delivery = Delivery(entry_of())

    class Watching(RecordingBroker):
        async def settle(self, consumer: str, settlement: Settlement) -> Any:
            seen.append(delivery.settling)
            return await super().settle(consumer, settlement)

    bench = Bench(Deed())
    bench.executor = Executor(Watching(), Registry([Acting(Deed())]), Settings(), SeededChance(), consumer="worker-1")
    await bench.executor.execute(delivery)
    assert seen == [True]


@pytest.mark.parametrize("trouble", [BrokerUnavailable("away"), InternalError()])
@pytest.mark.parametrize("outcome", [done(), Retry("NOT_YET", "")])
async def test_an_outcome_that_cannot_be_stored_does_not_end_the_worker(trouble: Exception, outcome: Outcome) -> None:
    bench = Bench(answering(outcome))
    bench.broker.trouble = trouble
    with capture_logs() as lines:
        await bench.executor.execute(Delivery(entry_of()))
    assert "task.lost" in [line["event"] for line in lines]
