"""All that the nemesis of a run on real parts has in reach."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgescale.broker.connection import Connection
from edgescale.broker.keys import Keys
from edgescale.harness.chaos.site import Site
from edgescale.harness.chaos.wiring import Wiring

if TYPE_CHECKING:
    from edgescale.harness.chaos.server import Server


@dataclass(frozen=True, slots=True)
class RealStage:
    """One run's services and server.

    Attributes:
        site: the services.
        server: Redis or Valkey.
        operator: a connection to the server itself, past all faults of the network.
        keys: names of everything there.
        wiring: how everybody reaches everybody.
        struck: by fault that may find nothing to strike, how often it struck, where that can be told.
    """

    site: Site
    server: "Server"
    operator: Connection
    keys: Keys
    wiring: Wiring
    struck: Counter[str] = field(default_factory=Counter)
