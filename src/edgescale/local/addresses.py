"""Addresses of services that are started, restarted and found on this machine."""

from edgescale.local.child import free_port

# Who listens on all interfaces is reached over loopback, too.
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing is bound here


def settled(bind: str) -> str:
    """The address, with a free port in place of port 0: a service that is started again must be found again."""
    host, _, port = bind.rpartition(":")
    return bind if int(port) else f"{host}:{free_port()}"


def reachable(bind: str) -> str:
    """Where a service on this machine is reached that listens there."""
    host, _, port = bind.rpartition(":")
    return f"{LOOPBACK_OF.get(host, host)}:{port}"


def nth(bind: str, number: int) -> str:
    """The address of the nth process on this machine that listens there, from 1: the ports follow each other.

    Port 0, which is a free one for each, and the empty address stay as they are.
    """
    host, _, port = bind.rpartition(":")
    return f"{host}:{int(port) + number - 1}" if bind and int(port) else bind
