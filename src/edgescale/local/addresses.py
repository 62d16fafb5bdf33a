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
