"""Sockets that listen, for services whose library is given one."""

import asyncio
import socket

from edgescale.config import split_address
from edgescale.errors import ConfigError

BACKLOG = 2048


async def listen(setting: str, address: str) -> socket.socket:
    """A socket that listens already.

    Args:
        setting: the address's name, for the error.
        address: `host:port`; port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    host, port = split_address(setting, address)
    loop = asyncio.get_running_loop()
    try:
        family, kind, protocol, _, where = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"{setting} {address}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        # At once, for two processes may bind the same port as long as neither of them listens.
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        taken = f"{error.strerror}; is another process using the port?"
        raise ConfigError(f"{setting} {address}: {taken}") from error
    listening.setblocking(False)
    return listening


def address_of(listening: socket.socket) -> str:
    """`host:port` of it; an IPv6 host stands in brackets."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
