"""One worker process: its duties, and how they end."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from edgescale.broker.broker import Broker
from edgescale.broker.connection import Connection
from edgescale.broker.keys import Keys
from edgescale.broker.model import GiveBack
from edgescale.broker.reconnect import keep_running
from edgescale.chance import Chance
from edgescale.config import Settings
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.errors import EdgeScaleError
from edgescale.handlers.registry import Registry
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.telemetry.progress import MARGIN_MS, Loops, Progress, Readiness
from edgescale.worker.deliveries import Deliveries, Delivery
from edgescale.worker.executor import Executor
from edgescale.worker.fetcher import Fetcher
from edgescale.worker.fitness import until_fit
from edgescale.worker.janitor import Janitor, Retention
from edgescale.worker.places import Places, Slots
from edgescale.worker.reclaimer import Reclaimer
from edgescale.worker.renewer import Renewer
from edgescale.worker.share import Share


class Worker:
    """Serves lanes until it is asked to stop.

    Args:
        connection: to the server; each reader gets one of its own from it.
        keys: names of everything there.
        broker: takes outcomes, gives entries.
        registry: the handlers.
        settings: lanes and their slots, lease, sweep, attempts, grace.
        chance: jitter.
        consumer: this worker's name in the groups; unlike any other, ever, for it is what fences its claims.
        lanes: the slots of each lane.
        share: of these lanes; how many tasks run at once, and whose turn it is.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        broker: Broker,
        registry: Registry,
        settings: Settings,
        chance: Chance,
        *,
        consumer: str,
        lanes: Mapping[str, int],
        share: Share,
    ) -> None:
        self.consumer = consumer
        self.deliveries = Deliveries(
            Executor(broker, registry, settings, chance, consumer=consumer).execute, self._give_back
        )
        self._connection = connection
        self._keys = keys
        self._broker = broker
        self._registry = registry
        self._settings = settings
        self._chance = chance
        self._loops = Loops(timeout_ms=settings.redis_timeout_ms)
        self._takes_work = False
        self._lanes = {lane: Places(lane, Slots(total), share) for lane, total in lanes.items()}
        self._scarce = share.total < sum(lanes.values())
        self._stop = asyncio.Event()
        self._stop_renewing = asyncio.Event()
        self._log = get_log()

    @property
    def readiness(self) -> Readiness:
        """Whether it consumes: every loop that reads has lately been answered."""
        if self._stop.is_set():
            return Readiness("draining")
        return Readiness.of(self._loops) if self._takes_work else Readiness("starting")

    def stop(self) -> None:
        """Ask for a drain; `run` returns when it is done."""
        if not self._stop.is_set():
            self._log.info(Event.SERVICE_DRAINING, consumer=self.consumer, in_flight=len(self.deliveries))
            self._stop.set()
            for places in self._lanes.values():
                places.close()

    async def run(self, *, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Serve until `stop` is called, then drain.

        The order of the end matters: first nothing new is asked for, then what runs may finish while its leases are
        still renewed, then the rest is handed back, and only then does renewal end.

        Args:
            on_ready: is told the consumer's name once entries are taken.

        Raises:
            ConfigError: the server is not fit to work with.
        """
        if not await until_fit(self._connection, self._keys, self._broker, self._settings, self._chance, self._stop):
            return
        self._takes_work = True
        on_ready(self.consumer)
        self._log.info(Event.SERVICE_STARTED, consumer=self.consumer, lanes=sorted(self._lanes))
        async with asyncio.TaskGroup() as duties:
            for partition in range(self._settings.partitions):
                duties.create_task(self._keep_leases(partition))
            try:
                await self._work()
            finally:
                self._stop_renewing.set()
        self._log.info(Event.SERVICE_STOPPED, consumer=self.consumer)

    async def _keep_leases(self, partition: int) -> None:
        renewer = Renewer(
            self._broker,
            self.deliveries,
            partition=partition,
            consumer=self.consumer,
            lease_ms=self._settings.lease_ms,
            stop=self._stop_renewing,
            loops=self._loops,
        )
        await keep_running(
            f"renewer:{partition}", renewer.step, self._chance, stop=self._stop_renewing, cap_ms=renewer.patience_ms
        )

    async def _work(self) -> None:
        """Take work until stopped, and have nothing of it left when the grace is over."""
        async with asyncio.TaskGroup() as duties:
            duties.create_task(self._take_work())
            await self._stop.wait()
            loop = asyncio.get_running_loop()
            over_s = loop.time() + self._settings.drain_grace_ms / 1000
            # A read that waits at the server may do so for longer than the grace: nobody's work waits for its end.
            await self._drain(over_s - loop.time())
        # What such a read has brought after all.
        await self._drain(over_s - loop.time())

    async def _take_work(self) -> None:
        """Fetch and reclaim on every lane of every partition, and tidy up, until stopped."""
        janitor = Janitor(
            self._connection,
            self._keys,
            self._chance,
            lanes=list(self._lanes),
            retention=Retention(
                self._settings.consumer_retention_ms,
                self._settings.agent_retention_ms,
                self._settings.dead_letter_retention_ms,
            ),
            stop=self._stop,
        )
        async with asyncio.TaskGroup() as duties:
            duties.create_task(keep_running("janitor", janitor.step, self._chance, stop=self._stop))
            turnovers = self._turnovers()
            for partition in range(self._settings.partitions):
                for lane, places in self._lanes.items():
                    turnover = turnovers[lane]
                    duties.create_task(self._fetch(partition, lane, places, turnover))
                    duties.create_task(self._reclaim(partition, lane, places, turnover))

    def _turnovers(self) -> Mapping[str, Progress]:
        """What each lane's loops are judged by while they wait for a place.

        Some delivery that has such a place, of their own lane or of the whole worker, must end within its timeout.
        """
        if self._scarce:
            return dict.fromkeys(self._lanes, self._turnover(self._lanes))
        return {lane: self._turnover([lane]) for lane in self._lanes}

    def _turnover(self, lanes: Iterable[str]) -> Progress:
        policies = [self._registry.policy(handler.kind) for handler in self._registry if handler.lane in lanes]
        timeouts = [policy.filled(self._settings).timeout_ms for policy in policies]
        longest_ms = max(timeouts, default=self._settings.handler_timeout_ms)
        return Progress(longest_ms + self._settings.redis_timeout_ms + MARGIN_MS)

    async def _fetch(self, partition: int, lane: str, places: Places, turnover: Progress) -> None:
        reader = self._connection.for_blocking(self._settings.redis_block_ms)
        fetcher = Fetcher(
            self._broker,
            reader,
            self.deliveries,
            places,
            partition=partition,
            lane=lane,
            consumer=self.consumer,
            block_ms=self._settings.redis_block_ms,
            progress=self._loops.add(
                f"fetcher:{lane}:{partition}", round_ms=self._settings.redis_block_ms, behind=turnover
            ),
        )
        try:
            await keep_running(f"fetcher:{lane}", fetcher.step, self._chance, stop=self._stop)
        finally:
            await reader.close()

    async def _reclaim(self, partition: int, lane: str, places: Places, turnover: Progress) -> None:
        reclaimer = Reclaimer(
            self._broker,
            self.deliveries,
            places,
            self._chance,
            partition=partition,
            lane=lane,
            consumer=self.consumer,
            sweep_ms=self._settings.sweep_ms,
            stop=self._stop,
            progress=self._loops.add(
                f"reclaimer:{lane}:{partition}", round_ms=self._settings.sweep_ms, behind=turnover
            ),
        )
        await keep_running(f"reclaimer:{lane}", reclaimer.step, self._chance, stop=self._stop)

    async def _drain(self, grace_s: float) -> None:
        interrupted = await self.deliveries.finish(
            max(grace_s, 0) * 1000, settle_grace_ms=self._settings.redis_patience_ms
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
