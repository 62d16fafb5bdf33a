"""States in which the server is there and yet refuses commands, and pauses in which it holds them back."""

from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.commands import (
    ALLOW_BUSY,
    DENYOOM,
    LOADING,
    MAY_REPLICATE,
    STALE,
    WRITE,
    Command,
)
from edgescale.harness.simulation.redis.pubsub import refuse_to_listener
from edgescale.harness.simulation.redis.replies import ReplyError
from edgescale.harness.simulation.redis.transactions import IMMEDIATE

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.model import RedisModel
    from edgescale.harness.simulation.redis.session import Session

_OOM = b"OOM command not allowed when used memory > 'maxmemory'."
_READONLY = b"READONLY You can't write against a read only replica."
_MASTERDOWN = b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
_LOADING = b"LOADING %b is loading the dataset in memory"
_BUSY = b"BUSY %b is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."


class Faults:
    """What is wrong with the server; set it with `change`, all at ease is the default.

    Attributes:
        read_only: it is a replica, and refuses writes.
        master_down: it is a replica without its master, and refuses nearly everything.
        busy: a script runs without end.
        out_of_memory: it is full, whatever maxmemory says.
        maxmemory_bytes: it is full above that; 0 for no limit.
        loading_until_us: by the clock that never steps; it reads its data until then.
        active: any of these.

    Args:
        model: the server.
    """

    def __init__(self, model: "RedisModel") -> None:
        self.read_only = False
        self.master_down = False
        self.busy = False
        self.out_of_memory = False
        self.maxmemory_bytes = 0
        self.loading_until_us = 0
        self.active = False
        self._model = model
        self._full = False

    def change(
        self,
        *,
        read_only: bool | None = None,
        master_down: bool | None = None,
        busy: bool | None = None,
        out_of_memory: bool | None = None,
        maxmemory_bytes: int | None = None,
        loading_until_us: int | None = None,
    ) -> None:
        """Set some of the states; None leaves one as it is."""
        self.read_only = self.read_only if read_only is None else read_only
        self.master_down = self.master_down if master_down is None else master_down
        self.busy = self.busy if busy is None else busy
        self.out_of_memory = self.out_of_memory if out_of_memory is None else out_of_memory
        self.maxmemory_bytes = self.maxmemory_bytes if maxmemory_bytes is None else maxmemory_bytes
        self.loading_until_us = self.loading_until_us if loading_until_us is None else loading_until_us
        self.active = (
            self.read_only
            or self.master_down
            or self.busy
            or self.out_of_memory
            or self.maxmemory_bytes > 0
            or self.loading_until_us > 0
        )

    @property
    def loading(self) -> bool:
        """Whether it still reads its data."""
        if self.loading_until_us and self._model.log.now_us >= self.loading_until_us:
            self.change(loading_until_us=0)
        return self.loading_until_us > 0

    @property
    def may_expire(self) -> bool:
        """Whether keys whose time has come are removed of themselves."""
        return not (self.read_only or self.busy or self.loading)

    def check(self, session: "Session", command: Command, argv: list[bytes]) -> None:
        """Refuse a command that the server's state forbids, in the server's own order.

        Raises:
            ReplyError: it is refused.
        """
        flags = self.flags_of(session, command, argv)
        self._full = self._is_full()
        if self._full and (flags & DENYOOM or self._queues(session, command)):
            raise ReplyError(_OOM)
        if self.read_only and flags & WRITE:
            raise ReplyError(_READONLY)
        refuse_to_listener(session, command)
        if self.master_down and not flags & STALE:
            raise ReplyError(_MASTERDOWN)
        if self.loading and not flags & LOADING:
            raise ReplyError(_LOADING % self._model.flavour.product.encode())
        if self.busy and not flags & ALLOW_BUSY:
            raise ReplyError(_BUSY % self._model.flavour.product.encode())

    def _is_full(self) -> bool:
        # Whether there is memory is not asked where nothing could be evicted to make room. Source: maxmemory.
        if self.read_only or self.busy or self.loading or self._model.pause.on:
            return False
        return self.out_of_memory or 0 < self.maxmemory_bytes < self._model.used_memory()

    def _queues(self, session: "Session", command: Command) -> bool:
        """Whether it would only be queued: before Redis 7.2, that was memory enough to refuse it."""
        if self._model.flavour.modern or session.queued is None:
            return False
        # A nested MULTI is no better.
        return command.name == "multi" or command.name not in IMMEDIATE

    def flags_of(self, session: "Session", command: Command, argv: list[bytes]) -> int:
        """The command's flags; those of a script or of a whole transaction where it stands for one."""
        if command.name in {"eval", "evalsha"}:
            script = self._model.scripts.of(argv)
            return command.flags if script is None else script.command_flags(command.flags)
        if command.name == "exec" and session.queued is not None:
            inside = [self.flags_of(session, queued, words) for queued, words in session.queued]
            forbidding = DENYOOM | WRITE | MAY_REPLICATE
            allowing = STALE | LOADING
            flags = command.flags
            for one in inside:
                flags = (flags | one & forbidding) & (one | ~allowing)
            return flags
        return command.flags

    def check_script(self, *, flagged: bool) -> None:
        """Refuse a script as a whole; one that is flagged was judged by its flags before.

        Raises:
            ReplyError: it is refused.
        """
        if self.master_down and not flagged:
            raise ReplyError(_MASTERDOWN)

    def check_script_command(self, command: Command, *, wrote: bool, forgiving: bool) -> None:
        """Refuse a command of a script.

        Args:
            command: what the script is about to do.
            wrote: the script has changed something already.
            forgiving: the script may go on when memory is out.

        Raises:
            ReplyError: it is refused.
        """
        if self.master_down and not command.flags & STALE:
            raise ReplyError(b"ERR Can not execute the command on a stale replica")
        if wrote or not command.flags & WRITE:
            return
        if self.read_only:
            raise ReplyError(_READONLY)
        if self._full and not forgiving and command.flags & DENYOOM:
            raise ReplyError(_OOM)


class Pause:
    """CLIENT PAUSE: commands are held back until a time. Source: CLIENT PAUSE.

    Args:
        model: the server.

    Attributes:
        engaged: there is a pause, or one has just run out.
    """

    def __init__(self, model: "RedisModel") -> None:
        self.engaged = False
        self._model = model
        self._until_us = 0
        self._writes_only = False
        self._held: list[tuple[Session, list[bytes]]] = []

    def begin(self, duration_ms: int, *, writes_only: bool) -> None:
        """Hold back from now on; a pause that is on is prolonged, never shortened, and never made narrower."""
        self._writes_only = writes_only and (self._writes_only or not self.on)
        self.engaged = True
        until_us = self._model.log.now_us + duration_ms * 1000
        if until_us > self._until_us:
            self._until_us = until_us
            # One more, so that rounding never wakes it before the moment itself.
            self._model.after((duration_ms * 1000 + 1) / 1_000_000, self._check)

    @property
    def on(self) -> bool:
        """Whether commands are held back."""
        return self._model.log.now_us < self._until_us

    def holds(self, session: "Session", command: Command, argv: list[bytes]) -> bool:
        """Hold the command back if the pause says so; its session is blocked until the end."""
        if not self.on:
            return False
        flags = self._model.faults.flags_of(session, command, argv)
        if self._writes_only and not flags & (WRITE | MAY_REPLICATE):
            return False
        entry = (session, argv)
        self._held.append(entry)
        session.block(timeout_ms=0, expired=lambda: None, leave=lambda: self._held.remove(entry), paused=True)
        return True

    def end(self) -> None:
        """Carry out what was held back, in the order it came."""
        self._until_us = 0
        self.engaged = False
        for session, argv in list(self._held):
            session.resume(argv)

    def _check(self) -> None:
        if not self.on:
            self.end()
