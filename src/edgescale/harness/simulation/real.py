"""What no simulation has: threads, sockets, signals, processes."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from edgescale.harness.simulation.tasks import NotSimulated

# Methods of event loops that reach for something real.
REAL = tuple(
    """
    add_reader add_signal_handler add_writer call_soon_threadsafe connect_read_pipe connect_write_pipe
    create_datagram_endpoint create_server create_unix_connection create_unix_server getaddrinfo getnameinfo
    run_forever run_in_executor sendfile sock_accept sock_connect sock_recv sock_sendall start_tls stop
    subprocess_exec subprocess_shell
    """.split()  # noqa: SIM905 - a list of their own lines would be longer than what it is for
)


class NothingReal(asyncio.AbstractEventLoop):
    """An event loop that refuses whatever is real."""


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(self: NothingReal, *args: Any, **options: Any) -> NoReturn:
        del self, args, options
        raise NotSimulated(f"{name} is not simulated: it reaches for something real")

    return refuse


for _name in REAL:
    setattr(NothingReal, _name, _refused(_name))
