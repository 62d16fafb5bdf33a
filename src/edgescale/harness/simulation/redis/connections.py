"""Commands on the connection that sends them: greetings, the version of the protocol, the end."""

from edgescale.harness.simulation.redis.arguments import SYNTAX, integer
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import ALLOW_BUSY, ALWAYS, LOADING, STALE, command
from edgescale.harness.simulation.redis.replies import (
    OK,
    RESP2,
    RESP3,
    Mapping,
    Reply,
    ReplyError,
    Status,
)
from edgescale.harness.simulation.redis.session import Session

_UNAUTHENTICATED = (
    b"ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?"
)
_FIRST_PRINTABLE, _LAST_PRINTABLE = 33, 126
_WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."


@command("ping", -1)
def ping(client: Client, argv: list[bytes]) -> Reply:
    """PING [message]: PONG or the message; to a subscriber in RESP2, both in one array."""
    if len(argv) > 2:  # noqa: PLR2004 - name and message
        raise ReplyError(b"ERR wrong number of arguments for 'ping' command")
    message = argv[1] if len(argv) > 1 else None
    if client.resp == RESP2 and isinstance(client, Session) and client.listens:
        return [b"pong", message or b""]
    return Status(b"PONG") if message is None else message


@command("echo", 2, LOADING | STALE)
def echo(_client: Client, argv: list[bytes]) -> Reply:
    """ECHO message: the message."""
    return argv[1]


@command("select", 2, LOADING | STALE, modern_flags=ALLOW_BUSY)
def select(_client: Client, argv: list[bytes]) -> Reply:
    """SELECT index: there is database 0 only."""
    if integer(argv[1]):
        raise ReplyError(b"ERR DB index is out of range")
    return OK


@command("auth", -2, ALWAYS | ALLOW_BUSY)
def auth(_client: Client, argv: list[bytes]) -> Reply:
    """AUTH [user] password: there is the user `default` only, and no password."""
    if len(argv) > 3:  # noqa: PLR2004 - name, user and password
        raise ReplyError(SYNTAX)
    if len(argv) == 2:  # noqa: PLR2004 - name and password
        raise ReplyError(_UNAUTHENTICATED)
    if argv[1] != b"default":
        raise ReplyError(_WRONG_PASSWORD)
    return OK


@command("hello", -1, ALWAYS | ALLOW_BUSY)
def hello(client: Client, argv: list[bytes]) -> Reply:
    """HELLO [version] [AUTH user password] [SETNAME name]: who the server is; sets the protocol version."""
    session = client.model.session_of(client)
    version = session.resp
    if len(argv) > 1:
        version = integer(argv[1], b"ERR Protocol version is not an integer or out of range")
        if version not in {RESP2, RESP3}:
            raise ReplyError(b"NOPROTO unsupported protocol version")
    words = iter(argv[2:])
    for word in words:
        option, first = word.upper(), next(words, None)
        if option == b"SETNAME" and first is not None:
            session.name = valid_name(first)
        elif option == b"AUTH" and first is not None and next(words, None) is not None:
            if first != b"default":
                raise ReplyError(_WRONG_PASSWORD)
        else:
            raise ReplyError(b"ERR Syntax error in HELLO option '%b'", word)
    session.resp = version
    flavour, role = client.model.flavour, b"replica" if client.model.faults.read_only else b"master"
    return Mapping(
        [
            *(b"server", flavour.name.encode(), b"version", flavour.version.encode(), b"proto", version),
            *(b"id", session.session_id, b"mode", b"standalone", b"role", role, b"modules", []),
        ]
    )


def printable(text: bytes) -> bool:
    """Whether it consists of printable ASCII without blanks."""
    return all(_FIRST_PRINTABLE <= sign <= _LAST_PRINTABLE for sign in text)


def valid_name(name: bytes) -> bytes:
    """The name.

    Raises:
        ReplyError: connections cannot have such a name.
    """
    if not printable(name):
        raise ReplyError(b"ERR Client names cannot contain spaces, newlines or special characters.")
    return name


@command("quit", -1, ALWAYS | ALLOW_BUSY)
def quit_(client: Client, _argv: list[bytes]) -> Reply:
    """QUIT: closes the connection after its reply."""
    client.model.session_of(client).closing = True
    return OK


@command("reset", 1, ALWAYS | ALLOW_BUSY)
def reset(client: Client, _argv: list[bytes]) -> Reply:
    """RESET: the connection is as new."""
    session = client.model.session_of(client)
    session.queued, session.resp, session.name = None, RESP2, b""
    client.model.subscriptions.remove_all(session)
    return Status(b"RESET")
