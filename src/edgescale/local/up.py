"""`edgescale up`: the stack until Ctrl-C."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from rich.console import Console

from edgescale.chance import SystemChance
from edgescale.config import Settings
from edgescale.local.stack import Stack

DRAINING = "Draining: open requests and running tasks may finish. Press Ctrl-C again to stop hard."


async def run_up(settings: Settings, *, embedded: bool) -> None:
    """Bring the stack up, say where everything is, and drain it at SIGINT or SIGTERM.

    Args:
        settings: checked.
        embedded: run a Valkey of our own.

    Raises:
        ConfigError: something did not start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    console = Console(highlight=False)
    stack = Stack(settings, SystemChance(), embedded=embedded)
    try:
        if await _unless(stop, stack.start()):
            _say_where(console, stack)
            await stop.wait()
            console.print(DRAINING, soft_wrap=True)
    finally:
        # Another Ctrl-C ends this process at once, and its end is that of all others.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await stack.stop()


async def _unless(stop: asyncio.Event, start: Coroutine[Any, Any, None]) -> bool:
    """Start; False when a stop was asked for before that was done.

    Raises:
        ConfigError: something did not start.
    """
    starting = asyncio.create_task(start)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if starting.done():
        starting.result()
        return True
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    return False


def _say_where(console: Console, stack: Stack) -> None:
    base = f"http://{stack.gateway.address}"
    rows = {
        "REST": f"{base}/v1",
        "API docs": f"{base}/docs",
        "gRPC": stack.ingestion.address,
        "Redis": stack.redis_url,
        "Data": str(stack.settings.data_dir.absolute()),
        "Workers": ", ".join(worker.address for worker in stack.workers),
    }
    console.print("EdgeScale is up.")
    for name, value in rows.items():
        console.print(f"  {name:<9}{value}", soft_wrap=True)
    console.print("Press Ctrl-C to drain and stop.")
