"""The server: it carries out commands, and it can be stopped, started and made to fail.

No threads, no clock, no randomness of its own: what happens follows from what it is fed and from the clock it is given.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import TypeAlias

from edgescale.harness.simulation.redis import (  # noqa: F401 - importing the others fills the table of commands
    administration,
    clients,
    configuration,
    hashes,
    keys,
    stream_claims,
    stream_info,
    strings,
    waits,
    zsets,
)
from edgescale.harness.simulation.redis.blocking import Waiters
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import NO_MULTI, Command, CommandTable
from edgescale.harness.simulation.redis.durability import Log, Policy
from edgescale.harness.simulation.redis.faults import Faults, Pause
from edgescale.harness.simulation.redis.flavour import VALKEY_9, Flavour
from edgescale.harness.simulation.redis.keyspace import Keyspace
from edgescale.harness.simulation.redis.pubsub import Subscriptions, refuse_to_listener
from edgescale.harness.simulation.redis.recovery import Recovery
from edgescale.harness.simulation.redis.replies import QUEUED, Failure, Reply, ReplyError
from edgescale.harness.simulation.redis.scripting import ScriptClient, Scripts
from edgescale.harness.simulation.redis.session import Cancel, Session
from edgescale.harness.simulation.redis.transactions import IMMEDIATE

CallLater: TypeAlias = Callable[[float, Callable[[], None]], Cancel]
# What an empty server takes.
_BASE_BYTES = 1_000_000
_FIRST_PORT = 40_000
# Source: the configuration's hz.
_EXPIRY_PERIOD_US = 100_000


class RedisModel(Recovery):
    """A Redis or Valkey server in memory, with one database. See `Recovery` for what can be done to it.

    Args:
        now_us: microseconds, never stepping back; `wall_offset_us` makes the time of day of it.
        call_later: calls back after so many seconds; what it returns cancels that.
        flavour: which server it is.
        appendfsync: how often the append-only file is synced.
        wall_offset_us: what the server's clock is ahead of `now_us`; may be changed at any time.
        replicas: how many replicas acknowledge, for WAIT; `failover` promotes one of them.
        replica_lag_ms: how far they are behind.

    Attributes:
        sessions: connections by their id, in the order they came.
        keyspace: the data.
        log: what outlives the server.
        faults: states in which commands are refused.
        wall_us, now_ms: the server's clock, since 1970; stands still while one input is processed.
        calls: how often each command was called.
        executing: the session whose command is being carried out.
    """

    def __init__(
        self,
        now_us: Callable[[], int],
        call_later: CallLater,
        *,
        flavour: Flavour = VALKEY_9,
        appendfsync: Policy = "everysec",
        wall_offset_us: int = 0,
        replicas: int = 0,
        replica_lag_ms: int = 0,
    ) -> None:
        self.flavour = flavour
        self.wall_offset_us = wall_offset_us
        self.replicas = replicas
        self.maxmemory_policy = "noeviction"
        self.log = Log(appendfsync, replica_lag_ms)
        self.table = CommandTable(modern=flavour.modern)
        self.faults = Faults(self)
        self.pause = Pause(self)
        self.waiters = Waiters(self)
        self.acknowledgements = waits.Acknowledgements()
        self.subscriptions = Subscriptions()
        self.sessions: dict[int, Session] = {}
        self.outgoing: dict[Session, None] = {}
        self.resumed: list[Session] = []
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.executing: Session | None = None
        self.in_script = False
        self.running = True
        self.process_id = 1
        self._now_us = now_us
        self._call_later = call_later
        self._last_session_id = 0
        self._expiring_us = 0
        self.tick()
        self.started_us = self.log.now_us
        self.keyspace = Keyspace(
            now_ms=lambda: self.now_ms,
            on_expired=lambda key: self.log.record((b"DEL", key)),
            on_stream=self._on_stream,
        )
        self.scripts = Scripts(self)

    def _on_stream(self, key: bytes, made: bool) -> None:  # noqa: FBT001 - a callback's one fact
        if made:
            self.waiters.look(key)
        else:
            self.waiters.stream_gone(key)

    def connect(
        self, send: Callable[[bytes], None], close: Callable[[], None], *, address: str | None = None
    ) -> Session:
        """Open a connection.

        Args:
            send: takes bytes for the client.
            close: ends the connection from the server's side.
            address: of the client, `host:port`; made up when None.

        Raises:
            ConnectionRefusedError: the server is not running.
        """
        if not self.running:
            raise ConnectionRefusedError
        self._last_session_id += 1
        number = self._last_session_id
        session = Session(self, number, address or f"127.0.0.1:{_FIRST_PORT + number}", send, close)
        self.sessions[number] = session
        return session

    def tick(self) -> None:
        """Read the clock."""
        now_us = self._now_us()
        self.log.now_us = now_us
        self.wall_us = now_us + self.wall_offset_us
        self.now_ms = self.wall_us // 1000

    def clock_ms(self) -> int:
        """Milliseconds since 1970 by the server's clock as it is now, whatever is being processed."""
        return (self._now_us() + self.wall_offset_us) // 1000

    def turn(self, work: Callable[[], None]) -> None:
        """Do something at this moment, then whatever follows from it, then send all replies."""
        self.tick()
        if self.log.now_us >= self._expiring_us:
            self._expire_some()
        work()
        while self.resumed:
            self.resumed.pop(0).serve()
        while self.outgoing:
            session = next(iter(self.outgoing))
            del self.outgoing[session]
            session.flush()

    def _expire_some(self) -> None:
        """Remove keys whose time has come and that nobody asks for; only while there is something else to do."""
        self._expiring_us = self.log.now_us + _EXPIRY_PERIOD_US
        if self.running and not self.pause.engaged and self.faults.may_expire:
            self.keyspace.expire_some()
            self.log.commit()
            self.waiters.serve()

    def after(self, delay_s: float, work: Callable[[], None]) -> Cancel:
        """Do something after a while; what is returned cancels it."""
        return self._call_later(delay_s, lambda: self.turn(work))

    def execute(self, session: Session, argv: list[bytes]) -> None:
        """Carry out a command that a session sent, or queue it, hold it back or refuse it."""
        try:
            command = self.table.resolve(argv)
            self._admit(session, command, argv)
        except ReplyError as error:
            self._refuse(session, argv, error.text)
            return
        if self.pause.engaged and self.pause.holds(session, command, argv):
            return
        if session.queued is not None and command.name not in IMMEDIATE:
            if not session.spoiled:
                session.queued.append((command, argv))
            session.reply(QUEUED)
            return
        self.executing = session
        written = len(self.log)
        session.reply(self.call(session, command, argv))
        self.executing = None
        session.tell_rest()
        self.log.commit()
        # Since Redis 7.2, WAIT asks for what the client itself wrote; before, for all that was written by then.
        if not self.flavour.modern or len(self.log) > written:
            session.offset = len(self.log)
        self.waiters.serve()
        self.compact()

    def _admit(self, session: Session, command: Command, argv: list[bytes]) -> None:
        if session.queued is not None and command.flags & NO_MULTI:
            raise ReplyError(b"ERR Command '%b' not allowed inside a transaction" % command.name.encode())
        if self.faults.active:
            self.faults.check(session, command, argv)
        elif session.listens:
            refuse_to_listener(session, command)

    @staticmethod
    def _refuse(session: Session, argv: list[bytes], text: bytes) -> None:
        session.spoil()
        if argv[0].lower() == b"exec":
            session.queued = None
            text = b"EXECABORT Transaction discarded because of: " + text.removeprefix(b"ERR ")
        session.reply(Failure(text))

    def call(self, client: Client, command: Command, argv: list[bytes]) -> Reply:
        """Carry out a command; its reply, which may be a failure."""
        self.calls[command.name] += 1
        try:
            return command.run(client, argv)
        except ReplyError as error:
            return Failure(error.text)

    @staticmethod
    def session_of(client: Client) -> Session:
        """The session that a command runs for, be it within a script."""
        if isinstance(client, ScriptClient):
            return client.caller
        assert isinstance(client, Session)  # noqa: S101 - the replay of the log has no use for one
        return client

    def used_memory(self) -> int:
        """Bytes that the data takes, roughly; counted anew each time."""
        return _BASE_BYTES + sum(self.keyspace.sizes())
