"""How soon each service answers again after a fault is over: real processes, as they are by default."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from measuring import say

from edgescale.client import Client
from edgescale.errors import EdgeScaleError
from edgescale.local.child import free_port
from edgescale.local.valkey import EmbeddedValkey
from edgescale.v1.text_pb2 import TextInput
from tests.faults import Fault, Scene, scene_of
from tests.processes import service
from tests.support import open_rig, submission

TEXT = "The ferry was early."
GIVE_UP_S = 60.0
POLL_S = 0.005
# Longer than any timeout, so that it meets everybody in every stage of waiting.
LASTS_S = (0.2, 7.0)
OK = 200


@dataclass
class Services:
    """One process of each kind behind a proxy, and how to ask them.

    Attributes:
        scene: the server, the proxy, an operator.
        probes: calls that return once a service has answered, or says that it consumes; by name.
        seconds: from the end of a fault to that, by fault and name.
    """

    scene: Scene
    probes: dict[str, Callable[[str], Awaitable[object]]]
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    async def suffer(self, fault: Fault, turn: int) -> None:
        """Strike, let it last, heal, and measure everybody at once."""
        async with fault.strike(self.scene):
            if fault.lasts:
                await asyncio.sleep(self.scene.operator.chance.uniform(*LASTS_S))
        healed = time.monotonic()
        answers = [self._measure(name, f"{fault.name}-{turn}-{name}", healed) for name in self.probes]
        took = dict(await asyncio.gather(*answers))
        for name, seconds in took.items():
            self.seconds.setdefault(fault.name, {}).setdefault(name, []).append(seconds)
        say(f"{fault.name} {turn + 1}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items()))

    async def _measure(self, name: str, request_id: str, healed: float) -> tuple[str, float]:
        async with asyncio.timeout(GIVE_UP_S):
            await self.probes[name](request_id)
        return name, time.monotonic() - healed


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Services]:
    """All of them, with a server of their own."""
    valkey = EmbeddedValkey(folder / "valkey")
    await valkey.start()
    try:
        async with AsyncExitStack() as stack:
            scene = await stack.enter_async_context(scene_of(valkey))
            grpc, http, health = (f"127.0.0.1:{free_port()}" for _ in range(3))
            settings: dict[str, Any] = {"redis_url": scene.proxy.url, "data_dir": folder, "log_level": "error"}
            await stack.enter_async_context(service("ingestion", grpc_bind=grpc, **settings))
            await stack.enter_async_context(service("worker", worker_health_bind=health, **settings))
            await stack.enter_async_context(service("gateway", http_bind=http, ingestion_target=grpc, **settings))
            client = await stack.enter_async_context(Client(grpc))
            caller = await stack.enter_async_context(httpx.AsyncClient(timeout=GIVE_UP_S))
            probes: dict[str, Callable[[str], Awaitable[object]]] = {
                "worker": lambda request_id: _directly(valkey.url, request_id),
                "worker's health": lambda _: _ready(caller, health),
                "ingestion": lambda request_id: _over_grpc(client, request_id),
                "gateway": lambda request_id: _over_http(caller, http, request_id),
                "gateway's health": lambda _: _ready(caller, http),
            }
            measured = Services(scene, probes)
            # All have worked once, and have their connections.
            await asyncio.gather(*(probe(f"first-{name}") for name, probe in probes.items()))
            yield measured
    finally:
        await valkey.stop()


async def _directly(url: str, request_id: str) -> None:
    """Submit a text past the services, over new connections, and look until a worker has answered it."""
    given = submission(request_id.replace("'", ""), TextInput(text=TEXT).SerializeToString())
    async with open_rig(url) as rig:
        await rig.broker.submit(given)
        while True:
            record = await rig.broker.lookup(given.envelope.request_id)
            if record is not None and record.terminal:
                return
            await asyncio.sleep(POLL_S)


async def _over_grpc(client: Client, request_id: str) -> None:
    while True:
        try:
            await client.analyze_text(TEXT, request_id=request_id, timeout_s=GIVE_UP_S)
        except EdgeScaleError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(POLL_S)
        else:
            return


async def _over_http(caller: httpx.AsyncClient, address: str, request_id: str) -> None:
    headers = {"Idempotency-Key": request_id}
    url = f"http://{address}/v1/text-analyses"
    await _until_ok(lambda: caller.post(url, json={"text": TEXT}, headers=headers))


async def _ready(caller: httpx.AsyncClient, address: str) -> None:
    await _until_ok(lambda: caller.get(f"http://{address}/readyz"))


async def _until_ok(call: Callable[[], Awaitable[httpx.Response]]) -> None:
    while (await call()).status_code != OK:  # noqa: ASYNC110 - a process is asked; it sets no event here
        await asyncio.sleep(POLL_S)
