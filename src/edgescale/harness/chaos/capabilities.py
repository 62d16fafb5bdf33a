"""What can be done to the servers of each provider, known before any of them is started."""

from collections.abc import Mapping
from enum import StrEnum

from edgescale.errors import ConfigError


class Capability(StrEnum):
    """What a scenario may need."""

    KILL = "kill a server"
    RESTART = "restart a server with its data"
    RESTART_EMPTY = "restart a server without data"
    PAUSE = "pause a server"
    REPLICA = "start a replica"
    TOXIPROXY = "start Toxiproxy"
    MEDDLE = "change the data and the settings of a server"


_OF_A_PROCESS = {Capability.KILL, Capability.RESTART, Capability.RESTART_EMPTY, Capability.PAUSE}
# A server of somebody else is not ours to change.
_OF_OURS = {*_OF_A_PROCESS, Capability.MEDDLE}
CAPABILITIES: Mapping[str, frozenset[Capability]] = {
    "docker": frozenset(Capability),
    "native": frozenset({*_OF_OURS, Capability.REPLICA}),
    "compose": frozenset({*_OF_OURS, Capability.TOXIPROXY}),
    "url": frozenset(),
}


def need(provider: str, *wanted: Capability) -> None:
    """See that a provider can do what is wanted.

    Raises:
        ConfigError: it cannot; who can is told.
    """
    lacking = [capability for capability in wanted if capability not in CAPABILITIES[provider]]
    if not lacking:
        return
    able = [name for name, capabilities in CAPABILITIES.items() if capabilities.issuperset(wanted)]
    raise ConfigError(f"provider {provider} cannot {', '.join(lacking)}; who can: --provider {' or '.join(able)}")
