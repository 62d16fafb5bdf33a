"""WAIT and WAITAOF: how safe are this client's writes."""

from collections.abc import Callable

from edgescale.harness.simulation.redis.arguments import integer, timeout_ms
from edgescale.harness.simulation.redis.client import Client
from edgescale.harness.simulation.redis.commands import NOSCRIPT, command
from edgescale.harness.simulation.redis.replies import SILENCE, Reply, ReplyError

_REPLICA = (
    b"ERR WAIT cannot be used with replica instances. Please also note that %bif a replica is configured to be "
    b"writable (which is not the default) writes to replicas are just local and are not propagated."
)


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
    ready_us = model.log.replicated_in_us(offset) if wanted <= model.replicas else None
    return _block(client, acknowledged, ready_us, limit_ms)


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

    def synced() -> list[int]:
        # A replica syncs what it got at once: its own delay is part of the lag.
        copies = model.replicas if log.replicated() >= offset else 0
        return [int(log.enabled and log.synced() >= offset), copies]

    if synced()[0] >= local and synced()[1] >= wanted:
        return list(synced())
    delays_us = [log.synced_in_us(offset) if local else 0, log.replicated_in_us(offset) if wanted else 0]
    return _block(client, lambda: list(synced()), max(delays_us) if wanted <= model.replicas else None, limit_ms)


def _block(client: Client, answer: Callable[[], Reply], ready_us: int | None, limit_ms: int) -> Reply:
    """Wait until it is so, or until the time is up; `ready_us` is None when it will never be so."""
    if not client.may_block:
        return answer()
    # One more, so that rounding never wakes it before the moment itself.
    ready_ms = None if ready_us is None else (ready_us + 1) / 1000
    delays_ms = [delay_ms for delay_ms in (ready_ms, limit_ms or None) if delay_ms is not None]
    client.model.session_of(client).block(timeout_ms=min(delays_ms, default=0), expired=answer)
    return SILENCE
