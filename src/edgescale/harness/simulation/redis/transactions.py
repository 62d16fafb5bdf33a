"""MULTI, EXEC and DISCARD; watching keys is not modelled."""

from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import ALLOW_BUSY, ALWAYS, LOADING, NO_MULTI, NOSCRIPT, STALE, command
from edgescale.harness.simulation.redis.replies import OK, Encoded, Reply, ReplyError, write

# Carried out at once within a transaction; everything else waits for EXEC.
IMMEDIATE = frozenset({"exec", "discard", "multi", "quit", "reset"})


@command("multi", 1, ALWAYS | ALLOW_BUSY, modern_flags=NO_MULTI)
def multi(client: Client, _argv: list[bytes]) -> Reply:
    """MULTI: what follows is queued until EXEC."""
    session = client.model.session_of(client)
    if session.queued is not None:
        raise ReplyError(b"ERR MULTI calls can not be nested")
    session.queued, session.spoiled = [], False
    return OK


@command("discard", 1, ALWAYS | ALLOW_BUSY)
def discard(client: Client, _argv: list[bytes]) -> Reply:
    """DISCARD: forget what is queued."""
    session = client.model.session_of(client)
    if session.queued is None:
        raise ReplyError(b"ERR DISCARD without MULTI")
    session.queued = None
    return OK


@command("exec", 1, NOSCRIPT | LOADING | STALE)
def exec_(client: Client, _argv: list[bytes]) -> Reply:
    """EXEC: carry out what is queued, with nothing in between; the reply of each."""
    session = client.model.session_of(client)
    if session.queued is None:
        raise ReplyError(b"ERR EXEC without MULTI")
    queued, session.queued = session.queued, None
    if session.spoiled:
        raise ReplyError(b"EXECABORT Transaction discarded because of previous errors.")
    # Nothing waits within a transaction: a read answers as if its time had run out.
    session.may_block = False
    parts = [b"*%d\r\n" % len(queued)]
    for each, argv in queued:
        heard = not session.closing
        reply = client.model.call(session, each, argv)
        # What comes after the end of its own connection is done, but not answered: the array is cut short.
        if heard:
            # Encoded at once: a HELLO among them changes the protocol for those behind it.
            write(parts, reply, session.resp)
    session.may_block = True
    return Encoded(b"".join(parts))
