"""One worker process: its duties, and how they end."""

import asyncio
from collections.abc import Callable, Mapping

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.inspect import check_server
from edgescale.broker.keys import Keys
from edgescale.broker.model import GiveBack
from edgescale.broker.reconnect import keep_running, persist
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.errors import EdgeScaleError, Unavailable
from edgescale.handlers.registry import Registry
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.worker.deliveries import Deliveries, Delivery, Slots
from edgescale.worker.executor import Executor
from edgescale.worker.fetcher import Fetcher
from edgescale.worker.janitor import Janitor
from edgescale.worker.reclaimer import Reclaimer
from edgescale.worker.renewer import Renewer


class Worker:
    """Serves lanes until it is asked to stop.

    Args:
        connection: to the server; each reader gets one of its own from it.
        broker: takes outcomes, gives entries.
        registry: the handlers.
        settings: lanes and their slots, lease, sweep, attempts, grace.
        chance: jitter.
        consumer: this worker's name in the groups; unlike any other, ever, for it is what fences its claims.
        lanes: the slots of each lane.
    """

    def __init__(
        self,
        connection: Connection,
        broker: Broker,
        registry: Registry,
        settings: Settings,
        chance: Chance,
        *,
        consumer: str,
        lanes: Mapping[str, int],
    ) -> None:
        self.consumer = consumer
        self.deliveries = Deliveries(
            Executor(broker, registry, settings, chance, consumer=consumer).execute,
        )
        self._connection = connection
        self._broker = broker
        self._settings = settings
        self._chance = chance
        self._lanes = {lane: Slots(total) for lane, total in lanes.items()}
        self._stop = asyncio.Event()
        self._stop_renewing = asyncio.Event()
        self._log = get_log()

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        if not self._stop.is_set():
            self._log.info(Event.SERVICE_DRAINING, consumer=self.consumer, in_flight=len(self.deliveries))
            self._stop.set()
            for slots in self._lanes.values():
                slots.close()

    async def run(self, *, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Serve until `stop` is called, then drain.

        The order of the end matters: first nothing new is taken, then what runs may finish while its leases are still
        renewed, then the rest is handed back, and only then does renewal end.

        Args:
            on_ready: is told the consumer's name once entries are taken.

        Raises:
            ConfigError: the server is not fit to work with.
        """
        if not await self._until_fit():
            return
        on_ready(self.consumer)
        self._log.info(Event.SERVICE_STARTED, consumer=self.consumer, lanes=sorted(self._lanes))
        renewer = Renewer(
            self._broker,
            self.deliveries,
            consumer=self.consumer,
            lease_ms=self._settings.lease_ms,
            stop=self._stop_renewing,
        )
        async with asyncio.TaskGroup() as duties:
            duties.create_task(
                keep_running(
                    "renewer", renewer.step, self._chance, stop=self._stop_renewing, cap_ms=renewer.patience_ms
                )
            )
            try:
                await self._take_work()
                await self._drain()
            finally:
                self._stop_renewing.set()
        self._log.info(Event.SERVICE_STOPPED, consumer=self.consumer)

    async def _until_fit(self) -> bool:
        """Wait for a server that can be worked with; False when a stop was asked for before there was one."""
        waits = False

        async def check() -> None:
            nonlocal waits
            try:
                await check_server(self._connection, self._settings)
                # Before the first entry is taken: it may not be due yet.
                await self._hear_clocks()
            except Unavailable as error:
                if not waits:
                    # Or nobody could tell a worker that waits from one that has nothing to do.
                    self._log.warning(Event.BROKER_LOST, duty="start", error=str(error), cause=repr(error.__cause__))
                waits = True
                raise
            if waits:
                self._log.info(Event.BROKER_FOUND, duty="start")

        checking = asyncio.create_task(persist(check, self._chance, patience_ms=float("inf")))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([checking, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if checking.done():
            checking.result()
            return True
        checking.cancel()
        return False

    async def _hear_clocks(self) -> None:
        keys = Keys(self._settings.partitions)
        for partition, clock in enumerate(self._broker.clocks):
            asked = clock.ask()
            clock.heard(await self._connection.now_ms(keys.dead(partition)), asked)

    async def _take_work(self) -> None:
        """Fetch and reclaim on every lane of every partition, and tidy up, until stopped."""
        janitor = Janitor(
            self._connection,
            Keys(self._settings.partitions),
            self._chance,
            lanes=list(self._lanes),
            silence_ms=self._settings.consumer_retention_ms,
            stop=self._stop,
        )
        async with asyncio.TaskGroup() as duties:
            duties.create_task(keep_running("janitor", janitor.step, self._chance, stop=self._stop))
            for partition in range(self._settings.partitions):
                for lane, slots in self._lanes.items():
                    duties.create_task(self._fetch(partition, lane, slots))
                    duties.create_task(self._reclaim(partition, lane, slots))

    async def _fetch(self, partition: int, lane: str, slots: Slots) -> None:
        reader = self._connection.for_blocking(self._settings.redis_block_ms)
        fetcher = Fetcher(
            self._broker,
            reader,
            self.deliveries,
            slots,
            partition=partition,
            lane=lane,
            consumer=self.consumer,
            block_ms=self._settings.redis_block_ms,
        )
        try:
            await keep_running(f"fetcher:{lane}", fetcher.step, self._chance, stop=self._stop)
        finally:
            await reader.close()

    async def _reclaim(self, partition: int, lane: str, slots: Slots) -> None:
        reclaimer = Reclaimer(
            self._broker,
            self.deliveries,
            slots,
            self._chance,
            partition=partition,
            lane=lane,
            consumer=self.consumer,
            sweep_ms=self._settings.sweep_ms,
            stop=self._stop,
        )
        await keep_running(f"reclaimer:{lane}", reclaimer.step, self._chance, stop=self._stop)

    async def _drain(self) -> None:
        interrupted = await self.deliveries.finish(
            self._settings.drain_grace_ms, settle_grace_ms=self._settings.redis_patience_ms
        )
        async with asyncio.TaskGroup() as returns:
            for delivery in interrupted:
                returns.create_task(self._give_back(delivery))

    async def _give_back(self, delivery: Delivery) -> None:
        """Let others claim the entry at once; this delivery does not count as an attempt."""
        entry = delivery.entry
        request_id = entry.fields.get(REQUEST_ID_FIELD, b"").decode(errors="replace")
        handed = GiveBack(entry, request_id, delay_ms=0, deliveries=entry.deliveries - 1)
        await delivery.let_go()
        try:
            given = await self._broker.give_back(self.consumer, handed)
        except EdgeScaleError:
            # Redis is away: the lease runs out, and the entry is reclaimed all the same.
            return
        if given:
            self._log.info(Event.TASK_GIVEN_BACK, lane=entry.lane, entry=entry.entry_id, request_id=request_id)
