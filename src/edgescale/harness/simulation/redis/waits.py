"""WAIT and WAITAOF: how safe are this client's writes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgescale.harness.simulation.redis.arguments import integer, timeout_ms
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import NOSCRIPT, command
from edgescale.harness.simulation.redis.replies import SILENCE, Reply, ReplyError

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis.session import Session

_REPLICA = (
    b"ERR WAIT cannot be used with replica instances. Please also note that %bif a replica is configured to be "
    b"writable (which is not the default) writes to replicas are just local and are not propagated."
)


class Acknowledgements:
    """Who waits for replicas or for the disk; looked at whenever that may have come true."""

    def __init__(self) -> None:
        self._waiting: dict[Session, tuple[Callable[[], bool], Callable[[], Reply]]] = {}

    def block(
        self, client: Client, enough: Callable[[], bool], answer: Callable[[], Reply], *, ready_us: int, limit_ms: int
    ) -> Reply:
        """Wait until it is enough, or until the time is up.

        Args:
            client: whose reply is due.
            enough: whether the wait is over.
            answer: makes the reply.
            ready_us: how long that takes, if nothing goes wrong.
            limit_ms: when the time is up; 0 for never.
        """
        if not client.may_block:
            return answer()
        session = client.model.session_of(client)
        session.block(timeout_ms=limit_ms, expired=answer, leave=lambda: self._leave(session))
        self._waiting[session] = enough, answer
        # One more, so that rounding never wakes it before the moment itself.
        client.model.after((ready_us + 1) / 1_000_000, self.look)
        return SILENCE

    def _leave(self, session: "Session") -> None:
        self._waiting.pop(session, None)

    def look(self) -> None:
        """Answer whoever has waited for long enough."""
        for session, (enough, answer) in list(self._waiting.items()):
            if enough():
                session.unblock(answer())


@command("wait", 3, modern=True)
@command("wait", 3, NOSCRIPT)
def wait(client: Client, argv: list[bytes]) -> Reply:
    """WAIT replicas timeout: how many replicas have all that this client wrote, now or when the time is up."""
    model, offset = client.model, client.model.session_of(client).offset
    if model.faults.read_only:
        raise ReplyError(_REPLICA % (b"" if model.flavour.modern else b"since Redis 4.0 "))
    wanted, limit_ms = integer(argv[1]), timeout_ms(argv[2])

    def acknowledged() -> int:
        return model.replicas if model.log.replicated() >= offset else 0

    if acknowledged() >= wanted:
        return acknowledged()
    return model.acknowledgements.block(
        client,
        lambda: acknowledged() >= wanted,
        acknowledged,
        ready_us=model.log.replicated_in_us(offset),
        limit_ms=limit_ms,
    )


@command("waitaof", 4, modern=True)
def waitaof(client: Client, argv: list[bytes]) -> Reply:
    """WAITAOF local replicas timeout: on how many disks is all that this client wrote."""
    model, log, offset = client.model, client.model.log, client.model.session_of(client).offset
    local = integer(argv[1], b"ERR value is out of range, must be between 0 and 1")
    if local not in {0, 1}:
        raise ReplyError(b"ERR value is out of range, must be between 0 and 1")
    wanted, limit_ms = integer(argv[2]), timeout_ms(argv[3])
    if local and not log.enabled:
        raise ReplyError(b"ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")

    def synced() -> tuple[int, int]:
        # A replica syncs what it got at once: its own delay is part of the lag.
        copies = model.replicas if log.replicated() >= offset else 0
        return int(log.enabled and log.synced() >= offset), copies

    def enough() -> bool:
        return synced()[0] >= local and synced()[1] >= wanted

    if enough():
        return list(synced())
    delays_us = [log.synced_in_us(offset) if local else 0, log.replicated_in_us(offset) if wanted else 0]
    return model.acknowledgements.block(
        client, enough, lambda: list(synced()), ready_us=max(delays_us), limit_ms=limit_ms
    )
