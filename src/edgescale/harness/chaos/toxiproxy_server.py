"""A Toxiproxy on this machine: the program that is found or built, and its process."""

import asyncio
import os
import shutil
import sysconfig
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from edgescale.errors import ConfigError, Unavailable
from edgescale.harness.chaos.toxiproxy_api import ToxiproxyApi
from edgescale.local.child import LOOPBACK, end_with_parent, free_port

PROGRAM = "toxiproxy-server"
VERSION = "2.12.0"
_PACKAGE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
# What `go install` calls it: the last part of the package's path.
_BUILT_NAME = "server"
_BUILD_TIMEOUT_S = 900.0
_READY_TIMEOUT_S = 20.0
_POLL_S = 0.02
_LOG_BYTES = 500


def cached_program() -> Path:
    """Where a Toxiproxy that was built here is kept. Source: XDG Base Directory Specification."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edgescale" / f"toxiproxy-{VERSION}-{sysconfig.get_platform()}" / PROGRAM


async def toxiproxy_program() -> Path:
    """The program: on PATH, or from the cache, where it is built first if need be; that takes a minute or two.

    Raises:
        ConfigError: there is none, and none can be built; the message says what to do.
    """
    if found := shutil.which(PROGRAM):
        return Path(found)
    program = cached_program()
    if not program.exists():
        await _build(program)
    return program


async def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ConfigError(
            f"toxiproxy: neither {PROGRAM} nor go is on PATH; install one of them, or name a Toxiproxy that runs by "
            "its URL, or use the built-in proxy"
        )
    program.parent.mkdir(parents=True, exist_ok=True)
    # Moved into place whole: others may be building, too.
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        await _go_install(go, Path(folder))
        (Path(folder) / _BUILT_NAME).replace(program)


async def _go_install(go: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        go, "install", _PACKAGE, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=os.environ | {"GOBIN": str(folder)}
    )
    try:
        async with asyncio.timeout(_BUILD_TIMEOUT_S):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise ConfigError(f"toxiproxy: go install {_PACKAGE} took more than {_BUILD_TIMEOUT_S:g} s") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        raise ConfigError(f"toxiproxy: go install {_PACKAGE} failed: {said.decode(errors='replace').strip()}")


@asynccontextmanager
async def toxiproxy_served(log_path: Path) -> AsyncIterator[ToxiproxyApi]:
    """A Toxiproxy of our own, on the loopback interface, for as long as the block lasts.

    Args:
        log_path: what it says goes there; the folder is made when missing.

    Raises:
        ConfigError: there is no program, or it did not serve in time; its last words are quoted.
    """
    program, port = await toxiproxy_program(), free_port()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    process = await _started(program, port, log_path)
    try:
        api = ToxiproxyApi(f"http://{LOOPBACK}:{port}")
        if not await _answers(api, process):
            raise ConfigError(f"toxiproxy: {program} did not serve on port {port}: {_last_words(log_path)}")
        yield api
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _started(program: Path, port: int, log_path: Path) -> Process:
    with log_path.open("wb") as log:
        try:
            return await asyncio.create_subprocess_exec(
                program,
                *("-host", LOOPBACK, "-port", str(port)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
                # Ctrl-C at a terminal goes to the whole session; faults must heal in good order.
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigError(f"toxiproxy: cannot run {program}: {error.strerror}") from error


async def _answers(api: ToxiproxyApi, process: Process) -> bool:
    """True once it answers, False when it has ended instead, or its time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while process.returncode is None:
                with suppress(Unavailable):
                    await api.version()
                    return True
                await asyncio.sleep(_POLL_S)
    return False


def _last_words(log_path: Path) -> str:
    return log_path.read_bytes()[-_LOG_BYTES:].decode(errors="replace").strip() or "it said nothing"
