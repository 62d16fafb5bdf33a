"""Publish and subscribe: by channel, by pattern, and by sharded channel."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.arguments import glob
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import ALWAYS, LOADING, MAY_REPLICATE, STALE, Command, command
from edgescale.harness.simulation.redis.replies import RESP2, SILENCE, Push, Reply, ReplyError

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.session import Session

_ANYONE = LOADING | STALE
CHANNEL, PATTERN, SHARD = b"", b"p", b"s"
_FOR_LISTENERS = frozenset(
    {"ping", "quit", "reset"} | {f"{kind}{verb}subscribe" for kind in ("", "p", "s") for verb in ("", "un")}
)


class Subscriptions:
    """Who listens to what, in the order they began to.

    Attributes:
        sessions: by kind (channel, pattern, shard) and name.
    """

    def __init__(self) -> None:
        self.sessions: dict[bytes, dict[bytes, dict[Session, None]]] = {CHANNEL: {}, PATTERN: {}, SHARD: {}}

    def add(self, kind: bytes, name: bytes, session: "Session") -> None:
        """Begin to listen."""
        self.sessions[kind].setdefault(name, {})[session] = None
        session.subscribed[kind][name] = None
        session.listens = True

    def remove(self, kind: bytes, name: bytes, session: "Session") -> None:
        """Listen no longer."""
        if session.subscribed[kind].pop(name, name) is None:
            listeners = self.sessions[kind][name]
            del listeners[session]
            if not listeners:
                del self.sessions[kind][name]
            session.listens = any(session.subscribed.values())

    def remove_all(self, session: "Session") -> None:
        """The session has ended."""
        for kind, names in session.subscribed.items():
            for name in list(names):
                self.remove(kind, name, session)

    def publish(self, kind: bytes, name: bytes, message: bytes) -> int:
        """Tell all who listen; says how many that are."""
        listeners = list(self.sessions[kind].get(name, ()))
        for session in listeners:
            session.tell(Push([kind + b"message", name, message]))
        receivers = len(listeners)
        if kind == SHARD:
            return receivers
        for pattern, sessions in list(self.sessions[PATTERN].items()):
            if glob(pattern).fullmatch(name):
                for session in list(sessions):
                    session.tell(Push([b"pmessage", pattern, name, message]))
                receivers += len(sessions)
        return receivers


@command("publish", 3, _ANYONE | MAY_REPLICATE)
def publish(client: Client, argv: list[bytes]) -> Reply:
    """PUBLISH channel message: how many were told."""
    return client.model.subscriptions.publish(CHANNEL, argv[1], argv[2])


@command("spublish", 3, _ANYONE | MAY_REPLICATE)
def spublish(client: Client, argv: list[bytes]) -> Reply:
    """SPUBLISH shard-channel message: how many were told."""
    return client.model.subscriptions.publish(SHARD, argv[1], argv[2])


def refuse_to_listener(session: "Session", command_: Command) -> None:
    """In RESP2, a connection that listens is good for little else.

    Raises:
        ReplyError: the session listens, and the command is something else.
    """
    if session.listens and session.resp == RESP2 and command_.name not in _FOR_LISTENERS:
        raise ReplyError(
            b"ERR Can't execute '%b': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
            b"context" % command_.name.encode()
        )


def _listener(client: Client) -> "Session":
    session = client.model.session_of(client)
    if not session.may_block:
        # The confirmation would have to stand in the list of replies.
        raise ReplyError(b"ERR not modelled: subscribing within a transaction")
    return session


def _subscriber(kind: bytes) -> Callable[[Client, list[bytes]], Reply]:
    def subscribe(client: Client, argv: list[bytes]) -> Reply:
        session = _listener(client)
        for name in argv[1:]:
            client.model.subscriptions.add(kind, name, session)
            session.reply(Push([kind + b"subscribe", name, session.subscription_count(kind)]))
        return SILENCE

    return subscribe


def _unsubscriber(kind: bytes) -> Callable[[Client, list[bytes]], Reply]:
    def unsubscribe(client: Client, argv: list[bytes]) -> Reply:
        session = _listener(client)
        names: list[bytes | None] = [*argv[1:]] or [*session.subscribed[kind]] or [None]
        for name in names:
            if name is not None:
                client.model.subscriptions.remove(kind, name, session)
            session.reply(Push([kind + b"unsubscribe", name, session.subscription_count(kind)]))
        return SILENCE

    return unsubscribe


for _kind in (CHANNEL, PATTERN, SHARD):
    command(f"{_kind.decode()}subscribe", -2, ALWAYS)(_subscriber(_kind))
    command(f"{_kind.decode()}unsubscribe", -1, ALWAYS)(_unsubscriber(_kind))


@command("pubsub|channels", -2, _ANYONE)
def channels(client: Client, argv: list[bytes]) -> Reply:
    """PUBSUB CHANNELS [pattern]: channels that somebody listens to."""
    return _active(client, CHANNEL, argv)


@command("pubsub|shardchannels", -2, _ANYONE)
def shardchannels(client: Client, argv: list[bytes]) -> Reply:
    """PUBSUB SHARDCHANNELS [pattern]: sharded channels that somebody listens to."""
    return _active(client, SHARD, argv)


def _active(client: Client, kind: bytes, argv: list[bytes]) -> Reply:
    pattern = glob(argv[2] if len(argv) > 2 else b"*")  # noqa: PLR2004 - name and subcommand come first
    return [name for name in client.model.subscriptions.sessions[kind] if pattern.fullmatch(name)]


@command("pubsub|numsub", -2, _ANYONE)
def numsub(client: Client, argv: list[bytes]) -> Reply:
    """PUBSUB NUMSUB channel ...: each with how many listen to it."""
    return _listeners(client, CHANNEL, argv)


@command("pubsub|shardnumsub", -2, _ANYONE)
def shardnumsub(client: Client, argv: list[bytes]) -> Reply:
    """PUBSUB SHARDNUMSUB channel ...: each with how many listen to it."""
    return _listeners(client, SHARD, argv)


def _listeners(client: Client, kind: bytes, argv: list[bytes]) -> Reply:
    sessions = client.model.subscriptions.sessions[kind]
    return [item for name in argv[2:] for item in (name, len(sessions.get(name, ())))]


@command("pubsub|numpat", 2, _ANYONE)
def numpat(client: Client, _argv: list[bytes]) -> Reply:
    """PUBSUB NUMPAT: how many patterns somebody listens to."""
    return len(client.model.subscriptions.sessions[PATTERN])
