"""What no simulation has: threads, sockets, signals, processes."""

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

from edgescale.harness.simulation.tasks import NotSimulated


class NothingReal(asyncio.AbstractEventLoop):
    """An event loop that refuses everything, in all versions of Python.

    What is simulated is for subclasses to say.
    """


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(self: NothingReal, *args: Any, **options: Any) -> NoReturn:
        del self, args, options
        raise NotSimulated(f"{name} is not simulated: it reaches for something real")

    return refuse


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_"):
        setattr(NothingReal, _name, _refused(_name))
