"""One connection as the server sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.pubsub import CHANNEL, PATTERN, SHARD
from edgescale.harness.simulation.redis.replies import SILENCE, Failure, Push, Reply, ReplyError, write
from edgescale.harness.simulation.redis.requests import RequestReader

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.commands import Command
    from edgescale.harness.simulation.redis.model import RedisModel

Cancel: TypeAlias = Callable[[], None]


@dataclass(eq=False, slots=True)
class Blocked:
    """A command whose reply is not due yet.

    Attributes:
        expired: makes the reply for when its time is up.
        leave: takes the session off whatever it waits for.
        paused: it waits for the end of a pause, not for something of its own.
        timer: ends the wait, None when it may last for ever.
    """

    expired: Callable[[], Reply]
    leave: Callable[[], None]
    paused: bool = False
    timer: Cancel | None = None


class Session(Client):
    """A client over a connection. Give it what arrives by `feed`; it answers through `send`.

    All replies to what one `feed` brought go out together, as from the server's output buffer.

    Args:
        model: the server.
        session_id: as CLIENT ID tells it.
        address: of the peer, `host:port`.
        send: takes bytes for the client.
        close: ends the connection from the server's side.

    Attributes:
        name: as CLIENT SETNAME set it.
        subscribed: names by kind, in the order of subscribing.
        listens: whether there are any.
        queued: commands since MULTI, None outside of a transaction.
        spoiled: a command of the transaction was refused, so that EXEC will be.
        blocked: the wait it is in, None when it serves commands.
        offset: how long the log was after its last command.
        closing: is closed as soon as its replies are out.
    """

    may_block = True

    def __init__(
        self,
        model: "RedisModel",
        session_id: int,
        address: str,
        send: Callable[[bytes], None],
        close: Callable[[], None],
    ) -> None:
        super().__init__(model, model.keyspace)
        self.session_id = session_id
        self.address = address
        self.name = b""
        self.subscribed: dict[bytes, dict[bytes, None]] = {CHANNEL: {}, PATTERN: {}, SHARD: {}}
        self.listens = False
        self.queued: list[tuple[Command, list[bytes]]] | None = None
        self.spoiled = False
        self.blocked: Blocked | None = None
        self.offset = 0
        self.closing = False
        self._reader = RequestReader()
        self._send = send
        self._close = close
        self._out: list[bytes] = []
        self._messages: list[Push] = []
        self._held_back: list[bytes] | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the client, and carry out the commands that are complete."""
        if self.closing:
            return
        self._reader.feed(data)
        self.model.turn(self.serve)

    def disconnect(self) -> None:
        """The client has gone, or the network says so; what it had begun stays done."""
        self._end()

    def serve(self) -> None:
        """Carry out what is complete and was not carried out yet, until a command blocks."""
        try:
            while self.blocked is None and not self.closing and (argv := self._next()) is not None:
                if argv:
                    self.model.execute(self, argv)
        except ReplyError as error:
            self.reply(Failure(error.text))
            self.closing = True

    def _next(self) -> list[bytes] | None:
        if self._held_back is None:
            return self._reader.next()
        argv, self._held_back = self._held_back, None
        return argv

    def reply(self, reply: Reply) -> None:
        """Send a reply or a push with the next flush."""
        if reply is not SILENCE:
            write(self._out, reply, self.resp)
            self.model.outgoing[self] = None

    def tell(self, message: Push) -> None:
        """Send a message of Pub/Sub. Since Redis 7.2, whoever publishes to itself gets the reply first."""
        if self.model.flavour.modern and self.model.executing is self:
            self._messages.append(message)
        else:
            self.reply(message)

    def tell_rest(self) -> None:
        """Send the messages that were to come after the reply."""
        while self._messages:
            self.reply(self._messages.pop(0))

    def flush(self) -> None:
        """Send what is due, then close if that is due as well."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._send(data)
        if self.closing:
            self.kill()

    def kill(self) -> None:
        """Close the connection from the server's side; replies that are not out yet are lost."""
        if self.session_id in self.model.sessions:
            self._end()
            self._close()

    def _end(self) -> None:
        if self.model.sessions.pop(self.session_id, None) is not None:
            self.closing = True
            self.model.outgoing.pop(self, None)
            self.model.subscriptions.remove_all(self)
            self._stop_waiting()

    def block(
        self,
        *,
        timeout_ms: float,
        expired: Callable[[], Reply],
        leave: Callable[[], None] = lambda: None,
        paused: bool = False,
    ) -> None:
        """Serve no further commands until `unblock`.

        Args:
            timeout_ms: after which the reply is the one for a time that is up; 0 for never.
            expired: makes that reply.
            leave: takes the session off whatever it waits for; called once, however the wait ends.
            paused: it waits for the end of a pause.
        """
        self.blocked = Blocked(expired, leave, paused)
        if timeout_ms:
            self.blocked.timer = self.model.after(timeout_ms / 1000, lambda: self.unblock(expired()))

    def unblock(self, reply: Reply) -> None:
        """End the wait with this reply; what the client sent meanwhile is served after it."""
        self._stop_waiting()
        self.reply(reply)
        self.model.resumed.append(self)

    def resume(self, argv: list[bytes]) -> None:
        """End the wait; the command that was held back is carried out before all that came after it."""
        self._stop_waiting()
        self._held_back = argv
        self.model.resumed.append(self)

    def _stop_waiting(self) -> None:
        blocked, self.blocked = self.blocked, None
        if blocked is not None:
            blocked.leave()
            if blocked.timer is not None:
                blocked.timer()

    def spoil(self) -> None:
        """A command was refused: a transaction that is open will not be carried out."""
        if self.queued is not None:
            self.spoiled = True
            if self.model.flavour.modern:
                # What is forgotten does not count any more when EXEC is judged by what it would do.
                self.queued.clear()

    def subscription_count(self, kind: bytes) -> int:
        """How many of its kind; channels and patterns count as one kind. Source: SUBSCRIBE, SSUBSCRIBE."""
        if kind == SHARD:
            return len(self.subscribed[SHARD])
        return len(self.subscribed[CHANNEL]) + len(self.subscribed[PATTERN])
