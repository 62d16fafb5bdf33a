"""One ingestion process: starts, serves, says how it is, stops without losing anybody."""

import asyncio
from collections.abc import Callable

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from edgescale.broker.connection import Connection
from edgescale.broker.inbox import Inbox
from edgescale.broker.inspect import check_server
from edgescale.broker.reconnect import pause, persist_to_start
from edgescale.chance import Chance
from edgescale.config import Settings, split_address
from edgescale.errors import ConfigError
from edgescale.ingestion.service import IngestionService
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log
from edgescale.v1 import ingestion_service_pb2, ingestion_service_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = ingestion_service_pb2.DESCRIPTOR.services_by_name["IngestionService"].full_name
# Texts come with their message's framing; chunks are far smaller.
MESSAGE_OVERHEAD_BYTES = 64 * 1024
# What gRPC itself refuses says neither which field is too large nor that trying again is in vain. So it refuses only
# what is far too large, and leaves the rest to the checks. It is gRPC's own default, too.
MESSAGE_BYTES_MIN = 4 * 1024 * 1024
FLUSH_S = 1.0
# How often health looks whether the inbox still comes round; that it lost its channel is heard of at once.
LOOK_MS = 250
OPTIONS_FIXED = (
    # Two services on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
    # With bandwidth probing a stalled reader still takes in megabytes; without it, 128 KiB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class IngestionServer:
    """Runs the service on a port.

    Args:
        service: answers calls.
        inbox: must be subscribed before the first call is taken.
        connection: checked for fitness at start.
        settings: address, limits, grace.
        chance: jitter.
    """

    def __init__(
        self, service: IngestionService, inbox: Inbox, connection: Connection, settings: Settings, chance: Chance
    ) -> None:
        self._service = service
        self._inbox = inbox
        self._connection = connection
        self._settings = settings
        self._chance = chance
        self._health = health.aio.HealthServicer()
        self._log = get_log()

    async def run(self, stop: asyncio.Event, *, on_ready: Callable[[str], None] = lambda _: None) -> None:
        """Serve until `stop` is set, then drain.

        The port is open at once, so that health can be asked; calls are refused until the inbox is subscribed.

        Args:
            stop: ends it.
            on_ready: is told `host:port` once it serves.

        Raises:
            ConfigError: the port is taken, or the server behind redis_url is not fit to work with.
        """
        server, address = self._listen()
        await self._say(NOT_SERVING)
        await server.start()
        inbox = asyncio.create_task(self._inbox.run())
        watch = asyncio.create_task(self._watch(address, on_ready))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([inbox, watch, stopped], return_when=asyncio.FIRST_COMPLETED)
            watch.cancel()
            await self._drain(server)
        finally:
            for task in (inbox, watch, stopped):
                task.cancel()
            results = await asyncio.gather(inbox, watch, stopped, return_exceptions=True)
        # A duty that ended by itself met a defect or a server unfit to work with; say which.
        for result in results:
            if isinstance(result, Exception):
                raise result
        self._log.info(Event.SERVICE_STOPPED, address=address)

    async def _idle(self) -> None:
        await self._service.requests.idle()
        await self._service.uploads.idle()

    def _listen(self) -> tuple[aio.Server, str]:
        message_bytes = max(MESSAGE_BYTES_MIN, self._settings.text_bytes_max + MESSAGE_OVERHEAD_BYTES)
        options = (*OPTIONS_FIXED, ("grpc.max_receive_message_length", message_bytes))
        server = aio.server(options=options)
        ingestion_service_pb2_grpc.add_IngestionServiceServicer_to_server(self._service, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        host, _ = split_address("grpc_bind", self._settings.grpc_bind)
        try:
            port = server.add_insecure_port(self._settings.grpc_bind)
        except RuntimeError as error:
            raise ConfigError(
                f"grpc_bind: cannot listen on {self._settings.grpc_bind}; is another process using the port? "
                "Set EDGESCALE_GRPC_BIND to another one"
            ) from error
        return server, f"{host}:{port}"

    async def _watch(self, address: str, on_ready: Callable[[str], None]) -> None:
        """Keep health in step with the inbox: alive is not the same as able to answer."""

        async def check() -> None:
            await check_server(self._connection, self._settings)

        await persist_to_start(check, self._chance)
        await self._inbox.ready.wait()
        # Only now can no result be missed.
        self._service.requests.open()
        self._service.uploads.open()
        self._log.info(Event.SERVICE_STARTED, address=address)
        on_ready(address)
        inbox, said = self._inbox, False
        while True:
            subscribed = inbox.ready.is_set()
            serves = subscribed and not inbox.loops.stalled()
            if serves != said:
                await self._say(SERVING if serves else NOT_SERVING)
            said = serves
            await pause(LOOK_MS, inbox.lost if subscribed else inbox.ready)

    async def _say(self, status: int) -> None:
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def _drain(self, server: aio.Server) -> None:
        """Not serving first, then no new calls, then the end of those under way."""
        self._log.info(Event.SERVICE_DRAINING, requests=self._service.requests.under_way)
        await self._health.enter_graceful_shutdown()
        self._service.requests.close()
        self._service.uploads.close()
        stopping = asyncio.create_task(server.stop(self._settings.drain_grace_ms / 1000))
        idle = asyncio.create_task(self._idle())
        await asyncio.wait([stopping, idle], return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        # What is left are answers on their way out and callers who watch health, who would stay for the whole grace.
        await server.stop(FLUSH_S)
        await stopping
