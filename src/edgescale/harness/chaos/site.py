"""The site of a run on real parts: services as processes, what they are told, and what they all saw."""

import asyncio
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edgescale.config import Settings
from edgescale.harness.chaos.node import Orders
from edgescale.harness.chaos.processes import Life, begin_life
from edgescale.harness.chaos.wiring import REDIS, Wiring
from edgescale.harness.event import Event
from edgescale.harness.recording.file import read_events
from edgescale.harness.recording.recorder import Recorder
from edgescale.local.child import LOOPBACK, free_port
from edgescale.local.environment import environment_of

NEMESIS = "nemesis"
# After which a process that a task took along is started again.
REBIRTH_S = 1.0
STOP_MARGIN_S = 10.0


class Site:
    """All services of one run.

    Args:
        folder: for events, logs and data; made when missing.
        settings: of all services.
        names: of the services, such as `ingestion-1`.
        mutant: under which services run; "" for none.

    Attributes:
        recorder: takes what is seen here: by the nemesis, the clients, the probe.
        addresses: `host:port` where each service listens that does, by its name.
        lives: the present life of each service, by its name.
        failures: what ended a service that nobody had touched.
        wiring: how they reach each other; to be set before the first one is started.
    """

    wiring: Wiring

    def __init__(self, folder: Path, settings: Settings, names: Collection[str], *, mutant: str = "") -> None:
        self.folder = folder
        self.settings = settings
        self.names = list(names)
        self.addresses = {name: f"{LOOPBACK}:{free_port()}" for name in names if not name.startswith("worker")}
        self.lives: dict[str, Life] = {}
        self.failures: list[str] = []
        self._mutant = mutant
        self._began_ns, self._began_wall_ns = time.monotonic_ns(), time.time_ns()
        self.recorder = Recorder(self.now_ns)
        self._events: list[Path] = []
        self._watches: set[asyncio.Task[None]] = set()
        self._rebirths: dict[str, asyncio.Lock] = {}
        # Lives whose end is somebody's will.
        self._ending: set[Life] = set()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def ingestion_names(self) -> Collection[str]:
        """The ingestion processes, through any of which a gateway may answer."""
        return [name for name in self.names if name.startswith("ingestion")]

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return time.monotonic_ns() - self._began_ns

    def clock_ms(self) -> int:
        """Milliseconds since 1970: one machine, one clock."""
        return time.time_ns() // 1_000_000

    def ns_of(self, wall_ms: int) -> int:
        """When that was, in nanoseconds since the run began."""
        return wall_ms * 1_000_000 - self._began_wall_ns

    # --- lives ---

    async def start(self, name: str) -> Life:
        """Begin the next life of a service; it serves when it says so."""
        before = self.lives.get(name)
        number = len(self._events) + 1
        incarnation = before.orders.incarnation + 1 if before else 1
        events = self.folder / f"{name}-{incarnation}.jsonl"
        orders = Orders(name, incarnation, number, str(events), self._began_ns, self._mutant)
        self.recorder.note(NEMESIS, "start", node=orders.actor)
        life = self.lives[name] = await begin_life(orders, self._environment(name), self.folder / f"{name}.log")
        self._events.append(events)
        watch = asyncio.create_task(self._watch(life))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return life

    def _environment(self, name: str) -> Mapping[str, str]:
        own: dict[str, object] = {"worker_health_bind": ""}
        if name.startswith("gateway"):
            found = ",".join(self.wiring.address(name, other) for other in self.ingestion_names)
            own |= {"http_bind": self.addresses[name], "ingestion_target": f"ipv4:{found}"}
        else:
            own["redis_url"] = self.wiring.url(name, REDIS)
        if name.startswith("ingestion"):
            own["grpc_bind"] = self.addresses[name]
        return environment_of(self.settings, **own)

    async def start_all(self) -> None:
        """Begin a life of each service, and return once all serve.

        Raises:
            ConfigError: one did not.
        """
        lives = [await self.start(name) for name in self.names]
        await asyncio.gather(*(life.until_ready() for life in lives))

    async def _watch(self, life: Life) -> None:
        """A process that a task took along is started again; one that ended by itself is a failure of the run."""
        status = await life.ended
        if life in self._ending:
            return
        if status != -signal.SIGKILL:
            self.failures.append(f"{life.orders.actor} ended with status {status}: {life.last_words()}")
            return
        self.recorder.note(NEMESIS, "crash", node=life.orders.actor)
        await asyncio.sleep(REBIRTH_S)
        await self.start_again(life)

    async def start_again(self, life: Life) -> None:
        """Begin the next life of a service after this one, unless somebody did that."""
        name = life.orders.name
        # The nemesis heals it while its watch does: one of them is enough.
        async with self._rebirths.setdefault(name, asyncio.Lock()):
            if self.lives[name] is life and not life.running:
                await self.start(name)

    async def kill(self, life: Life) -> None:
        """SIGKILL; written down once it is dead, so that nothing of it is seen later."""
        if life.running:
            self._ending.add(life)
            # Whoever is connected may see it die before we hear that it is dead.
            call, noted = self.recorder.new_call(), {"fault": "kill", "targets": life.orders.name}
            self.recorder.write(NEMESIS, "fault", "invoke", call, "", noted)
            life.signal(signal.SIGKILL)
            await asyncio.shield(life.ended)
            self.recorder.note(NEMESIS, "crash", node=life.orders.actor)
            self.recorder.write(NEMESIS, "fault", "ok", call, "", noted)

    async def stop(self, life: Life) -> None:
        """SIGTERM, and wait until it has ended; one that does not end in time is a failure of the run, and killed."""
        if not life.running:
            return
        self._ending.add(life)
        self.recorder.note(NEMESIS, "stop", node=life.orders.actor)
        life.signal(signal.SIGTERM)
        patience_s = self.settings.drain_grace_ms / 1000 + STOP_MARGIN_S
        await asyncio.wait([life.ended], timeout=patience_s)
        if life.running:
            self.failures.append(f"{life.orders.actor} did not end within {patience_s:g} s of SIGTERM")
            await self.kill(life)
        elif life.ended.result() == -signal.SIGTERM and not life.ready.is_set():
            # It was still being loaded, and had nothing to give up.
            self.recorder.note(life.orders.actor, "stopped")
        elif status := life.ended.result():
            self.failures.append(f"{life.orders.actor} ended with status {status}: {life.last_words()}")

    def pause(self, life: Life) -> bool:
        """SIGSTOP; False where it does not run."""
        if not life.running:
            return False
        life.signal(signal.SIGSTOP)
        self.recorder.note(NEMESIS, "pause", node=life.orders.actor)
        return True

    def resume(self, life: Life) -> None:
        """SIGCONT, unless it has ended meanwhile."""
        if life.running:
            self.recorder.note(NEMESIS, "resume", node=life.orders.actor)
            life.signal(signal.SIGCONT)

    async def revive(self) -> None:
        """Begin a life of whatever is down, and return once all serve.

        Raises:
            ConfigError: one did not.
        """
        for life in list(self.lives.values()):
            await self.start_again(life)
        await asyncio.gather(*(life.until_ready() for life in self.lives.values()))

    async def end(self) -> None:
        """Stop everything, workers last; nothing of it is written down any more."""
        for kind in ("gateway", "ingestion", "worker"):
            lives = [life for name, life in self.lives.items() if name.startswith(kind)]
            await asyncio.gather(*(self.stop(life) for life in lives))
        await asyncio.gather(*self._watches)

    async def break_off(self) -> None:
        """Kill everything at once, and return when it is dead: nothing of it is seen later."""
        self.abandon()
        await asyncio.gather(*(asyncio.shield(life.ended) for life in self.lives.values()))

    def abandon(self) -> None:
        """Kill everything at once, as where the run itself is broken off."""
        for life in self.lives.values():
            self._ending.add(life)
            life.signal(signal.SIGKILL)

    def events(self) -> Iterator[Event]:
        """What everybody saw, in no order."""
        yield from self.recorder.events
        for path in self._events:
            if os.path.exists(path):  # noqa: PTH110 - a process that was killed at its birth has seen nothing
                yield from read_events(path)
