"""CLIENT and its subcommands: naming, listing, unblocking, pausing and killing connections."""

from collections.abc import Callable

from edgescale.harness.simulation.redis.arguments import SYNTAX, integer, is_integer, timeout_ms
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import ALLOW_BUSY, ALWAYS, command
from edgescale.harness.simulation.redis.connections import printable, valid_name
from edgescale.harness.simulation.redis.replies import OK, Failure, Reply, ReplyError, Text
from edgescale.harness.simulation.redis.session import Session

_NO_CLIENT_ID = b"ERR client-id should be greater than 0"


@command("client|id", 2, ALWAYS, modern_flags=ALLOW_BUSY)
def client_id(client: Client, _argv: list[bytes]) -> Reply:
    """CLIENT ID: a number that no other connection had since the server started."""
    return client.model.session_of(client).session_id


@command("client|setname", 3, ALWAYS, modern_flags=ALLOW_BUSY)
def setname(client: Client, argv: list[bytes]) -> Reply:
    """CLIENT SETNAME name."""
    client.model.session_of(client).name = valid_name(argv[2])
    return OK


@command("client|getname", 2, ALWAYS, modern_flags=ALLOW_BUSY)
def getname(client: Client, _argv: list[bytes]) -> Reply:
    """CLIENT GETNAME: the name, null when none was set."""
    return client.model.session_of(client).name or None


@command("client|setinfo", 4, ALWAYS, modern_flags=ALLOW_BUSY, modern=True)
def setinfo(_client: Client, argv: list[bytes]) -> Reply:
    """CLIENT SETINFO LIB-NAME | LIB-VER value: taken and forgotten."""
    if argv[2].upper() not in {b"LIB-NAME", b"LIB-VER"}:
        raise ReplyError(b"ERR Unrecognized option '%b'", argv[2])
    if not printable(argv[3]):
        option = argv[2].lower()
        raise ReplyError(b"ERR %b cannot contain spaces, newlines or special characters." % option)
    return OK


@command("client|list", -2, ALWAYS)
def list_(client: Client, argv: list[bytes]) -> Reply:
    """CLIENT LIST [TYPE type]: one line for each connection; the filter ID is not modelled."""
    sessions = list(client.model.sessions.values())
    if len(argv) == 4 and argv[2].upper() == b"TYPE":  # noqa: PLR2004 - the filter is the third word
        sessions = list(filter(_by_type(argv[3]), sessions))
    elif len(argv) > 2:  # noqa: PLR2004 - name and subcommand
        raise ReplyError(SYNTAX)
    return Text(b"".join(map(_line, sessions)))


@command("client|info", 2, ALWAYS)
def info(client: Client, _argv: list[bytes]) -> Reply:
    """CLIENT INFO: this connection's line."""
    return Text(_line(client.model.session_of(client)))


def _line(session: Session) -> bytes:
    flags = ("P" if session.listens else "") + ("b" if session.blocked else "") or "N"
    kinds = [len(names) for names in session.subscribed.values()]
    return (
        f"id={session.session_id} addr={session.address} name={session.name.decode()} flags={flags} db=0 "
        f"sub={kinds[0]} psub={kinds[1]} ssub={kinds[2]} resp={session.resp}\n"
    ).encode()


@command("client|unblock", -3, ALWAYS)
def unblock(client: Client, argv: list[bytes]) -> Reply:
    """CLIENT UNBLOCK id [TIMEOUT | ERROR]: 1 when that client waited for something."""
    mode = argv[3].upper() if len(argv) == 4 else b"TIMEOUT"  # noqa: PLR2004 - the mode is the last word
    if mode not in {b"TIMEOUT", b"ERROR"}:
        raise ReplyError(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    session = client.model.sessions.get(integer(argv[2]))
    if session is None or session.blocked is None or session.blocked.paused:
        return 0
    expired = session.blocked.expired
    session.unblock(expired() if mode == b"TIMEOUT" else Failure(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    return 1


@command("client|pause", -3, ALWAYS)
def pause(client: Client, argv: list[bytes]) -> Reply:
    """CLIENT PAUSE milliseconds [WRITE | ALL]: hold commands back."""
    mode = argv[3].upper() if len(argv) == 4 else b"ALL"  # noqa: PLR2004 - the mode is the last word
    if mode not in {b"WRITE", b"ALL"}:
        raise ReplyError(b"ERR CLIENT PAUSE mode must be WRITE or ALL")
    client.model.pause.begin(timeout_ms(argv[2]), writes_only=mode == b"WRITE")
    return OK


@command("client|unpause", 2, ALWAYS)
def unpause(client: Client, _argv: list[bytes]) -> Reply:
    """CLIENT UNPAUSE: ends a pause; itself held back by one of all commands."""
    client.model.pause.end()
    return OK


@command("client|kill", -3, ALWAYS)
def kill(client: Client, argv: list[bytes]) -> Reply:
    """CLIENT KILL address, or options ID, TYPE, ADDR, SKIPME: how many connections were closed."""
    caller = client.model.session_of(client)
    if len(argv) == 3:  # noqa: PLR2004 - the old form
        wanted, skip_me = [_by_address(argv[2])], False
    else:
        wanted, skip_me = _filters(argv, modern=client.model.flavour.modern)
    killed = [session for session in list(client.model.sessions.values()) if all(fits(session) for fits in wanted)]
    killed = [session for session in killed if session is not caller or not skip_me]
    for session in killed:
        if session is caller:
            session.closing = True
        else:
            session.kill()
    if len(argv) > 3:  # noqa: PLR2004 - the new form
        return len(killed)
    if not killed:
        raise ReplyError(b"ERR No such client")
    return OK


def _filters(argv: list[bytes], *, modern: bool) -> tuple[list[Callable[[Session], bool]], bool]:
    """What all victims have in common, of each option the last; and whether the caller is spared."""
    chosen: dict[bytes, Callable[[Session], bool]] = {}
    ids: set[int] = set()
    skip_me = True
    at = 2
    while at < len(argv):
        option = argv[at].upper()
        if option == b"ID" and modern:
            at = _read_ids(argv, at + 1, ids)
            chosen[option] = lambda session: session.session_id in ids
            continue
        if at + 1 == len(argv):
            raise ReplyError(SYNTAX)
        value = argv[at + 1]
        match option:
            case b"ID":
                chosen[option] = _by_id(value)
            case b"TYPE":
                chosen[option] = _by_type(value)
            case b"ADDR":
                chosen[option] = _by_address(value)
            case b"SKIPME" if value.upper() in {b"YES", b"NO"}:
                skip_me = value.upper() == b"YES"
            case _:
                raise ReplyError(SYNTAX)
        at += 2
    return list(chosen.values()), skip_me


def _read_ids(argv: list[bytes], at: int, ids: set[int]) -> int:
    """Since Valkey 8.1, any number of ids; says where the next option is."""
    while at < len(argv) and is_integer(argv[at]):
        ids.add(_client_id(argv[at]))
        at += 1
    return at


def _client_id(raw: bytes) -> int:
    wanted = integer(raw, _NO_CLIENT_ID)
    if wanted < 1:
        raise ReplyError(_NO_CLIENT_ID)
    return wanted


def _by_id(raw: bytes) -> Callable[[Session], bool]:
    wanted = _client_id(raw)
    return lambda session: session.session_id == wanted


def _by_type(raw: bytes) -> Callable[[Session], bool]:
    match raw.lower():
        case b"normal":
            return lambda session: not session.listens
        case b"pubsub":
            return lambda session: session.listens
        case b"master" | b"primary" | b"replica" | b"slave":
            return lambda _session: False
    raise ReplyError(b"ERR Unknown client type '%b'", raw)


def _by_address(raw: bytes) -> Callable[[Session], bool]:
    return lambda session: session.address.encode() == raw
