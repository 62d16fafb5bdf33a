"""The embedded broker: a Valkey server as a child process, with its data in a directory of ours."""

import asyncio
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edgescale.broker.connection import Connection
from edgescale.errors import ConfigError, EdgeScaleError
from edgescale.local.child import LOOPBACK, REMEDY, bundled_binary, end_with_parent, free_port, held_lock, name_holder

_POLL_S = 0.02
_LOG_LINES = 3
# The server of a process that was killed has just been told to end, and writes its data out.
_LOCK_PATIENCE_S = 3.0


class EmbeddedValkey:
    """A server for this machine only: loopback, an append-only file synced every second, nothing evicted.

    It can be started again after `stop` or `kill`, on the same port with the same data.

    Args:
        data_dir: holds the data, the log and a lock; made when missing.
        port: where to listen; None picks a free one now and keeps it.
        binary: the server program, any Redis or Valkey; None takes the one that the `local` extra carries.
        options: further ones of the server, by name, or others in place of the usual ones.

    Raises:
        ConfigError: no program was given, and the extra is not installed or not for this platform.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self.log_path = data_dir.absolute() / "valkey.log"
        self._data_dir = data_dir.absolute()
        self._binary = binary or bundled_binary()
        self._further = options or {}
        self._process: Process | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The running server's process id, None when there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, *, timeout_s: float = 10.0) -> None:
        """Start the server, and return once it serves with its data loaded.

        Raises:
            ConfigError: it cannot run, or did not serve in time; the last lines of its log are quoted.
        """
        process = self._process = await self._spawn(patience_s=min(_LOCK_PATIENCE_S, timeout_s))
        serves = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    serves = await self._serves(process)
        finally:
            # Also on cancellation: no server may stay behind that nobody knows of.
            if not serves:
                await self.kill()
        if not serves:
            raise ConfigError(f"the embedded server did not start on port {self.port}: {self.last_words()}")

    async def _spawn(self, *, patience_s: float) -> Process:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with held_lock(self._data_dir / "lock", patience_s=patience_s) as lock:
            process = await self._exec(lock)
            name_holder(lock, process.pid)
            return process

    async def _exec(self, lock: int) -> Process:
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            try:
                return await asyncio.create_subprocess_exec(
                    self._binary,
                    *self._options(),
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    preexec_fn=end_with_parent,
                    # Ctrl-C at a terminal goes to the whole session; the server must outlive those who still drain.
                    start_new_session=True,
                )
            except OSError as error:
                raise ConfigError(f"cannot run {self._binary}: {error.strerror}; {REMEDY}") from error

    def _options(self) -> list[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "protected-mode": "yes",
            "dir": str(self._data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            **self._further,
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    async def _serves(self, process: Process) -> bool:
        """True once the server answers with its data loaded, False when it ended instead."""
        connection = Connection(self.url, timeout_ms=1_000, connections_max=1)
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                if await _answers(connection, process.pid):
                    return True
                await asyncio.wait([ended], timeout=_POLL_S)
            return False
        finally:
            ended.cancel()
            await connection.close()

    def last_words(self) -> str:
        """The end of what it has written to its log since it was started, on one line."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").split("\n")
        return " / ".join([line.strip() for line in lines if line.strip()][-_LOG_LINES:]) or "it said nothing"

    async def wait(self) -> int | None:
        """The exit status, once the server has ended; None when it was never started."""
        return await self._process.wait() if self._process is not None else None

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Have the server write its data out and end; past the grace period, kill it."""
        if self._process is not None and self._process.returncode is None:
            # Source: Redis, "Redis signal handling": SIGTERM flushes the append-only file, then exits.
            self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the server at once (SIGKILL); what its append-only file holds stays."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def _answers(connection: Connection, pid: int) -> bool:
    try:
        info = (await connection.command("INFO")).decode()
    except EdgeScaleError:
        return False
    # Where the port was taken, somebody else answers. While data is loaded, INFO is answered but little else.
    return f"\nprocess_id:{pid}\r" in info and "\nloading:0\r" in info
