"""The executor: one delivery from its entry's bytes to its outcome in the store."""

import asyncio
from dataclasses import replace

from edgescale.broker.broker import Broker
from edgescale.broker.model import Entry, GiveBack, Settlement, TerminalState
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.envelope import REQUEST_ID_FIELD, Envelope
from edgescale.errors import EdgeScaleError, EnvelopeError
from edgescale.handlers.base import Completed, Context, Handler, Outcome, Rejected, Retry
from edgescale.handlers.policy import Terms
from edgescale.handlers.registry import Registry
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import bound_ids, get_log
from edgescale.worker.deliveries import Delivery

# Reason and message travel in the trailers of a response, of which gRPC takes 8 KiB, and percent-encoding trebles them.
MESSAGE_BYTES_MAX = 1_000


class Executor:
    """Decode, resolve, run, normalise, settle, report.

    Args:
        broker: takes the outcome.
        registry: knows the handlers.
        settings: attempts, timeout, lease.
        chance: jitter of retries.
        consumer: this worker's name.
    """

    def __init__(
        self, broker: Broker, registry: Registry, settings: Settings, chance: Chance, *, consumer: str
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._settings = settings
        self._chance = chance
        self._consumer = consumer
        self._log = get_log()

    async def execute(self, delivery: Delivery) -> None:
        """Do all that is to be done with a delivery.

        Cancellation stops the handler and leaves the entry as it is: the canceller knows why.
        """
        entry = delivery.entry
        try:
            envelope = Envelope.decode(entry.fields)
        except EnvelopeError as error:
            self._log.warning(Event.TASK_UNDECODABLE, lane=entry.lane, entry=entry.entry_id, error=str(error))
            await self._finish(delivery, self._undecodable(entry, error))
            return
        with bound_ids(request_id=envelope.request_id, file_id=envelope.file_id, agent_id=envelope.agent_id):
            ending = self._untimely(entry, envelope)
            if ending is None:
                terms = self._registry.policy(envelope.kind).filled(self._settings)
                outcome = await self._run(entry, envelope, terms)
                ending = self._ending(delivery.entry, envelope, outcome, terms)
            await self._finish(delivery, ending)

    async def _finish(self, delivery: Delivery, ending: Settlement | GiveBack) -> None:
        delivery.settling = True
        try:
            if isinstance(ending, Settlement):
                await self._settle(delivery, ending)
            else:
                await delivery.let_go()
                await self._retry(ending)
        except EdgeScaleError as error:
            # The entry stays pending and unrenewed, so it is reclaimed after its lease.
            self._log.warning(Event.TASK_LOST, lane=delivery.entry.lane, error=str(error))

    def _untimely(self, entry: Entry, envelope: Envelope) -> Settlement | GiveBack | None:
        """What becomes of a task that may not be started now: it waits, without an attempt, or has expired."""
        now_ms = self._broker.clocks[entry.partition].now_ms()
        if now_ms is None or not (envelope.not_before_ms or envelope.expires_ms):
            return None
        if 0 < envelope.expires_ms <= now_ms:
            late_ms = now_ms - envelope.expires_ms
            message = f"its deadline passed {late_ms} ms ago, and no attempt begins after it"
            return Settlement(entry, envelope.request_id, envelope.kind, "expired", reason="EXPIRED", message=message)
        if now_ms < envelope.not_before_ms:
            return GiveBack(entry, envelope.request_id, envelope.not_before_ms - now_ms, entry.deliveries - 1)
        return None

    async def _run(self, entry: Entry, envelope: Envelope, terms: Terms) -> Outcome:
        if entry.deliveries > terms.attempts_max:
            return Retry("ATTEMPTS_EXHAUSTED", f"{entry.deliveries - 1} deliveries ended without an outcome")
        handler = self._registry.get(envelope.kind)
        if handler is None:
            # Another worker may know it, as during a rolling upgrade.
            return Retry("UNKNOWN_KIND", f"no handler for kind {envelope.kind!r}")
        self._log.debug(Event.TASK_STARTED, kind=envelope.kind, attempt=entry.deliveries)
        # Whoever looks for what blocks the loop finds the handler by this.
        if (task := asyncio.current_task()) is not None:
            task.set_name(f"{envelope.kind} {envelope.request_id}")
        context = Context(
            request_id=envelope.request_id,
            kind=envelope.kind,
            attempt=entry.deliveries,
            attempts_max=terms.attempts_max,
            accepted_ms=entry.accepted_ms,
            agent_id=envelope.agent_id,
            file_id=envelope.file_id,
        )
        return await self._handle(handler, envelope, context, terms)

    async def _handle(self, handler: Handler, envelope: Envelope, context: Context, terms: Terms) -> Outcome:
        """The handler's outcome; whatever it raises becomes one."""
        term = asyncio.timeout(terms.timeout_ms / 1000)
        try:
            async with term:
                return _checked(await handler.handle(envelope.payload, context))
        except EdgeScaleError as error:
            return (Retry if error.retryable else Rejected)(error.reason, str(error))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, TimeoutError) and term.expired():
                return Retry("TIMEOUT", f"the handler took longer than {terms.timeout_ms} ms")
            if isinstance(error, asyncio.CancelledError) and _told_to_stop():
                raise
            self._log.exception(Event.HANDLER_FAILED, kind=envelope.kind, attempt=context.attempt)
            # The type alone: messages of foreign errors may hold what callers must not see.
            kind = Rejected if isinstance(error, terms.final) else Retry
            return kind("HANDLER_ERROR", f"the handler raised {type(error).__name__}")

    def _ending(self, entry: Entry, envelope: Envelope, outcome: Outcome, terms: Terms) -> Settlement | GiveBack:
        request_id, kind = envelope.request_id, envelope.kind
        if isinstance(outcome, Completed):
            return Settlement(entry, request_id, kind, "succeeded", result=outcome.result)
        # Without a reason it would look like a task that only waits.
        reason, message = _bounded(outcome.reason) or "UNSPECIFIED", _bounded(outcome.message)
        if isinstance(outcome, Retry) and entry.deliveries < terms.attempts_max:
            delay_ms = self._delay_ms(entry, outcome.delay_ms, terms)
            return GiveBack(entry, request_id, delay_ms, entry.deliveries, reason=reason, message=message)
        state: TerminalState = "dead_lettered" if isinstance(outcome, Retry) else "failed"
        return Settlement(entry, request_id, kind, state, reason=reason, message=message)

    def _delay_ms(self, entry: Entry, asked_ms: int | None, terms: Terms) -> int:
        if asked_ms is not None:
            return max(asked_ms, 0)
        return int(self._chance.uniform(0, terms.pause_max_ms(entry.deliveries)))

    def _undecodable(self, entry: Entry, error: EnvelopeError) -> Settlement:
        named = entry.fields.get(REQUEST_ID_FIELD, b"").decode(errors="replace")
        # Without a request id nobody can wait for it; the entry's own id lets an operator ask.
        request_id = named or f"entry-{entry.entry_id}"
        return Settlement(entry, request_id, "", "dead_lettered", reason=error.reason, message=str(error))

    async def _settle(self, delivery: Delivery, settlement: Settlement) -> None:
        status = await self._broker.settle(self._consumer, settlement)
        while status == "lost" and delivery.entry != settlement.entry:
            # It came again meanwhile, and the outcome is that of the delivery which it goes on as.
            settlement = replace(settlement, entry=delivery.entry)
            status = await self._broker.settle(self._consumer, settlement)
        event = {"settled": Event.TASK_SETTLED, "superseded": Event.TASK_SUPERSEDED, "lost": Event.TASK_LOST}[status]
        self._log.info(
            event,
            lane=settlement.entry.lane,
            state=settlement.state,
            attempt=settlement.entry.deliveries,
            **({"reason": settlement.reason, "error": settlement.message} if settlement.reason else {}),
        )

    async def _retry(self, handed: GiveBack) -> None:
        kept = await self._broker.give_back(self._consumer, handed)
        if kept and not handed.reason:
            self._log.info(Event.TASK_DELAYED, lane=handed.entry.lane, due_in_ms=handed.delay_ms)
            return
        self._log.warning(
            Event.TASK_RETRIED if kept else Event.TASK_LOST,
            lane=handed.entry.lane,
            attempt=handed.entry.deliveries,
            reason=handed.reason,
            error=handed.message,
            retry_in_ms=handed.delay_ms,
        )


def _told_to_stop() -> bool:
    """Whether somebody cancelled this very task; a cancellation within the handler is the handler's own affair."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _checked(answer: object) -> Outcome:
    """What a handler answered, if that can be stored.

    Raises:
        TypeError: it cannot; types are not checked where handlers are written without them.
    """
    match answer:
        case Completed(result=bytes()):
            return answer
        case Retry(reason=str(), message=str()) | Rejected(reason=str(), message=str()):
            return answer
        case _:
            raise TypeError(f"a handler must answer Completed, Retry or Rejected, not {type(answer).__name__}")


def _bounded(words: str) -> str:
    encoded = words.encode(errors="replace")
    if len(encoded) > MESSAGE_BYTES_MAX:
        return encoded[: MESSAGE_BYTES_MAX - 3].decode(errors="ignore") + "…"
    return encoded.decode()
