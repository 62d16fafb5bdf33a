"""What can be done to the server from outside: stop it, start it with what was left, take its power, fail it over."""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.keyspace import Keyspace
from edgescale.harness.simulation.redis.replies import Failure

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.blocking import Waiters
    from edgescale.harness.simulation.redis.commands import CommandTable
    from edgescale.harness.simulation.redis.durability import Log, Unit
    from edgescale.harness.simulation.redis.faults import Faults
    from edgescale.harness.simulation.redis.keyspace import Value
    from edgescale.harness.simulation.redis.model import RedisModel
    from edgescale.harness.simulation.redis.scripting import Scripts
    from edgescale.harness.simulation.redis.session import Session
    from edgescale.harness.simulation.redis.waits import Acknowledgements

Kept: TypeAlias = Literal["aof", "synced", "replicated", "nothing"]
# The log is folded into its base when it is longer than this.
_UNITS_MAX = 50_000
_DEMOTED = b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"


class Replay(Client):
    """Repeats what the log holds; what it does is in the log already, and concerns nobody who waits."""

    replays = True

    def __init__(self, model: "RedisModel") -> None:
        # Meanwhile nothing expires. Source: Redis, "How Redis expires keys".
        super().__init__(model, Keyspace(lambda: 0, lambda _key: None, lambda _key, _made: None))

    def record(self, *words: bytes) -> None:
        """Note nothing."""

    def wake(self, key: bytes) -> None:
        """Wake nobody."""


class Recovery:
    """The part of the server that a nemesis handles. Everything here takes effect at once, in full.

    Settings made by CONFIG SET outlive a restart, as if they had been written to the configuration file.

    Attributes:
        kept: how many units of the log a start would find, since the process was stopped.
    """

    faults: "Faults"
    keyspace: "Keyspace"
    log: "Log"
    scripts: "Scripts"
    sessions: "dict[int, Session]"
    table: "CommandTable"
    waiters: "Waiters"
    acknowledgements: "Acknowledgements"
    after: Callable[[float, Callable[[], None]], Callable[[], None]]
    turn: Callable[[Callable[[], None]], None]
    running: bool
    kept: dict[Kept, int]
    process_id: int
    started_us: int
    wall_offset_us: int

    def stop(self) -> None:
        """End the process, as SIGKILL does: connections close, and nobody can connect."""
        self.turn(self._stop)

    def _stop(self) -> None:
        self.running = False
        # Of this moment: what was neither on disk nor with the replica when it ended will not get there any more.
        self.kept = {
            "aof": len(self.log) * self.log.enabled,
            "synced": self.log.synced(),
            "replicated": self.log.replicated(),
        }
        for session in list(self.sessions.values()):
            session.kill()
        self.waiters.clear()
        self.scripts.known.clear()
        self.faults.change(busy=False)

    def start(self, *, keep: Kept = "aof", loading_ms: int = 0) -> None:
        """Start the process that was stopped.

        Args:
            keep: what it finds. `aof`: all that the file holds, which survives the process; `synced`: what survives
                a loss of power, too; `replicated`: what the replica had; `nothing`.
            loading_ms: how long it answers LOADING.
        """
        assert not self.running  # noqa: S101 - a process cannot start twice
        self.turn(lambda: self._start(keep, loading_ms))

    def _start(self, keep: Kept, loading_ms: int) -> None:
        if keep == "nothing" or (keep == "aof" and not self.log.enabled):
            self.log.restart(None)
        self.keyspace.values, self.keyspace.deadlines = self._rebuilt(self.log.units(self.kept.get(keep, 0)))
        self.log.restart(copy.deepcopy((self.keyspace.values, self.keyspace.deadlines)))
        self.process_id += 1
        self.started_us = self.log.now_us
        self.running = True
        self.faults.change(loading_until_us=self.log.now_us + loading_ms * 1000 if loading_ms else 0)

    def _rebuilt(self, units: "Sequence[Unit]") -> "tuple[dict[bytes, Value], dict[bytes, int]]":
        """The values and deadlines that the base and these units make."""
        replay = Replay(self)  # type: ignore[arg-type] # the other half of the same object
        if self.log.base is not None:
            replay.keyspace.values, replay.keyspace.deadlines = copy.deepcopy(self.log.base)
        for unit in units:
            for words in unit:
                self.table.resolve(list(words)).run(replay, list(words))
        return replay.keyspace.values, replay.keyspace.deadlines

    def restart(self, *, keep: Literal["aof", "nothing"] = "aof", loading_ms: int = 0) -> None:
        """Stop and start."""
        self.stop()
        self.start(keep=keep, loading_ms=loading_ms)

    def power_loss(self, *, loading_ms: int = 0) -> None:
        """Stop and start without what was not on disk yet; a script's effects are lost as a whole or not at all."""
        self.stop()
        self.start(keep="synced", loading_ms=loading_ms)

    def cut_off_replica(self) -> None:
        """The replica hears nothing from now on, and acknowledges nothing."""
        self.turn(self.log.cut_off)

    def join_replica(self) -> None:
        """The replica follows again, unless it does already."""
        self.turn(self._join_replica)

    def _join_replica(self) -> None:
        self.log.join()
        # One more, so that rounding never looks before the moment itself.
        self.after((self.log.replica_lag_ms * 1000 + 1) / 1_000_000, self.acknowledgements.look)

    def failover(self) -> None:
        """The replica takes over, with what it had; connections to the old server close."""
        self.stop()
        self.start(keep="replicated")

    def demote(self, *, master_down: bool = False) -> None:
        """Become a read-only replica: whoever waits is told and disconnected.

        Args:
            master_down: it does not reach its master, and does not serve what it has.
        """
        self.turn(lambda: self._demote(master_down=master_down))

    def _demote(self, *, master_down: bool) -> None:
        self.faults.change(read_only=True, master_down=master_down)
        for session in list(self.sessions.values()):
            if session.blocked is not None and not session.blocked.paused:
                session.unblock(Failure(_DEMOTED))
                session.closing = True

    def promote(self) -> None:
        """Be a master again."""
        self.faults.change(read_only=False, master_down=False)

    def flush_all(self) -> None:
        """Somebody runs FLUSHALL."""
        self.turn(self._flush_all)

    def _flush_all(self) -> None:
        self.keyspace.clear()
        self.log.record((b"FLUSHALL",))
        self.log.commit()
        self.waiters.serve()

    def kill_sessions(self, chosen: "Callable[[Session], bool]" = lambda _: True) -> int:
        """Close connections from the server's side, as CLIENT KILL does; says how many."""
        victims = [session for session in self.sessions.values() if chosen(session)]
        for session in victims:
            session.kill()
        return len(victims)

    def step_clock(self, delta_us: int) -> None:
        """Set the time of day forward or back; ids of streams go on growing all the same."""
        self.wall_offset_us += delta_us

    def append_only(self, *, enabled: bool) -> None:
        """Switch the append-only file on or off; when it is switched on, it begins with all that is there."""
        if enabled and not self.log.enabled:
            self.log.restart(copy.deepcopy((self.keyspace.values, self.keyspace.deadlines)))
        self.log.enabled = enabled

    def compact(self) -> None:
        """Fold what is safe on disk and on the replica into the base of the log, once the log is long."""
        if self.log.length <= _UNITS_MAX:
            return
        count = min(self.log.synced(), self.log.replicated()) - self.log.dropped
        self.log.fold(count, self._rebuilt(self.log.units(self.log.dropped + count)))
