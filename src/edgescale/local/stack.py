"""The whole system on one machine: a broker and the services, each a process, started again when one dies."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edgescale.broker.reconnect import Backoff, pause
from edgescale.chance import Chance
from edgescale.config import ENV_PREFIX, Settings
from edgescale.errors import ConfigError
from edgescale.local.addresses import nth, reachable, settled
from edgescale.local.environment import environment_of
from edgescale.local.valkey import EmbeddedValkey
from edgescale.telemetry.events import Event
from edgescale.telemetry.logs import get_log

READY_TIMEOUT_S = 60.0
# A child that ran for so long was healthy; its next death starts the backoff anew.
HEALTHY_AFTER_S = 10.0
STOP_MARGIN_S = 5.0


@dataclass(eq=False)
class Child:
    """One service process, over all its lives.

    Attributes:
        name: such as `worker-1`.
        command: the subcommand of `edgescale`.
        ready: set while a life of it serves.
        address: what it said when it became ready.
        deaths: how often it ended unasked.
    """

    name: str
    command: str
    environment: Mapping[str, str]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""
    deaths: int = 0
    process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the present life; None between two lives."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None


class Stack:
    """Broker, ingestion, workers and gateway. Use it as an async context manager.

    Args:
        settings: addresses, directories, numbers of processes. The gateway finds ingestion where that is told to
            listen, whatever `ingestion_target` says.
        chance: jitter of restarts.
        embedded: run a Valkey of our own; False uses `settings.redis_url`.
        log_to: where the services' logs go; standard error when None.

    Raises:
        ConfigError: strict durability is asked of the embedded server.
    """

    def __init__(self, settings: Settings, chance: Chance, *, embedded: bool, log_to: IO[bytes] | None = None) -> None:
        if embedded and settings.durability == "strict":
            raise ConfigError(
                "durability: strict needs replicas, and the embedded server has none; name a server that has by "
                "--redis-url, or set EDGESCALE_DURABILITY=standard"
            )
        grpc_bind = settled(settings.grpc_bind)
        addresses = {
            "grpc_bind": grpc_bind,
            "http_bind": settled(settings.http_bind),
            "ingestion_target": reachable(grpc_bind),
        }
        self.settings = settings.model_copy(update=addresses)
        self._chance = chance
        self._log_to = log_to
        self._log = get_log()
        self._stopping = asyncio.Event()
        self._lives: dict[str, asyncio.Task[None]] = {}
        self.valkey = EmbeddedValkey(Path(settings.data_dir) / "valkey") if embedded else None
        self.redis_url = self.valkey.url if self.valkey is not None else settings.redis_url
        environment = environment_of(self.settings, redis_url=self.redis_url)
        self.ingestion = Child("ingestion", "ingestion", environment)
        self.gateway = Child("gateway", "gateway", environment)
        self.workers = [
            Child(f"worker-{number}", "worker", environment | self._own(number))
            for number in range(1, settings.worker_processes + 1)
        ]

    def _own(self, number: int) -> dict[str, str]:
        """What no two workers may share."""
        return {f"{ENV_PREFIX}WORKER_HEALTH_BIND": nth(self.settings.worker_health_bind, number)}

    async def __aenter__(self) -> Self:
        """Start everything, and return once it serves.

        Raises:
            ConfigError: something did not start; its last words are in the log.
        """
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def start(self) -> None:
        """Start everything, and return once it serves. Call `stop` in any case.

        Raises:
            ConfigError: something did not start; its last words are in the log.
        """
        if self.valkey is not None:
            try:
                await self.valkey.start()
            except OSError as error:
                raise ConfigError(f"data_dir: cannot use {self.settings.data_dir} ({error.strerror})") from error
            self._lives["valkey"] = asyncio.create_task(self._keep_valkey(self.valkey))
        # The gateway goes last: when it says it serves, all behind it do.
        await self._bring_up(self.ingestion, *self.workers)
        await self._bring_up(self.gateway)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop everything."""
        await self.stop()

    async def stop(self) -> None:
        """Drain from the front: no new requests, then no open ones, then no running tasks, then the broker."""
        self._stopping.set()
        await self._end(self.gateway)
        await self._end(self.ingestion)
        await self._end(*self.workers)
        if self.valkey is not None:
            if "valkey" in self._lives:
                self._lives["valkey"].cancel()
            await self.valkey.stop()

    async def _bring_up(self, *children: Child) -> None:
        for child in children:
            self._lives[child.name] = asyncio.create_task(self._keep_alive(child))
        for child in children:
            await self._until_ready(child)

    async def _until_ready(self, child: Child) -> None:
        ready = asyncio.create_task(child.ready.wait())
        life = self._lives[child.name]
        await asyncio.wait([ready, life], timeout=READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            ready.cancel()
            raise ConfigError(f"{child.name} did not start; its log says why")

    async def _keep_alive(self, child: Child) -> None:
        """Run one life after the other until the stack stops."""
        backoff = Backoff(self._chance, base_ms=100, cap_ms=5_000)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            born = loop.time()
            code = await self._live(child)
            if self._stopping.is_set():
                return
            # Status 2 means that the settings cannot work: starting again would not help.
            if code == 2 and not child.deaths and not child.address:  # noqa: PLR2004
                return
            child.deaths += 1
            if loop.time() - born > HEALTHY_AFTER_S:
                backoff.reset()
            wait_ms = backoff.next_ms()
            self._log.warning(Event.CHILD_DIED, child=child.name, status=code, restart_in_ms=round(wait_ms))
            await pause(wait_ms, self._stopping)

    async def _live(self, child: Child) -> int:
        process = child.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgescale",
            child.command,
            "--until-stdin-closes",
            # The open pipe is the child's sign that we live.
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log_to,
            env=child.environment,
            # Ctrl-C on a terminal goes to the whole group; the order of the end is ours to decide.
            start_new_session=True,
        )
        self._log.info(Event.CHILD_STARTED, child=child.name, pid=process.pid)
        if self._stopping.is_set():
            # The stop came while it was being started, and found nobody to tell.
            process.terminate()
        assert process.stdout is not None  # noqa: S101 - it was asked for
        try:
            while line := await process.stdout.readline():
                if line.startswith(b"ready "):
                    child.address = line.decode().split()[-1]
                    child.ready.set()
            return await process.wait()
        finally:
            child.ready.clear()

    async def _end(self, *children: Child) -> None:
        for child in children:
            if child.process is not None and child.process.returncode is None:
                child.process.terminate()
        patience_s = self.settings.drain_grace_ms / 1000 + STOP_MARGIN_S
        lives = [self._lives[child.name] for child in children if child.name in self._lives]
        if lives:
            await asyncio.wait(lives, timeout=patience_s)
        for child in children:
            if child.process is not None and child.process.returncode is None:
                child.process.kill()
                await child.process.wait()
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)

    async def _keep_valkey(self, valkey: EmbeddedValkey) -> None:
        backoff = Backoff(self._chance, base_ms=100, cap_ms=5_000)
        while True:
            status = await valkey.wait()
            if self._stopping.is_set():
                return
            self._log.warning(Event.CHILD_DIED, child="valkey", status=status)
            await pause(backoff.next_ms(), self._stopping)
            with contextlib.suppress(ConfigError):
                await valkey.start()
