"""Would the server lose tasks: does it keep them as the durability profile demands? See docs/durability.md."""

import re
from collections.abc import Iterable, Mapping

from edgescale.config import Settings
from edgescale.errors import BrokerUnavailable, ConfigError

_REPLICA = re.compile(r"slave\d+")


def check_durability(info: Mapping[str, str], policies: Iterable[str | None], settings: Settings) -> None:
    """Refuse a server that keeps less than the profile promises.

    Args:
        info: what it says of itself. Source: INFO.
        policies: its appendfsync, in a cluster that of every primary; None where one does not say.
        settings: the profile.

    Raises:
        ConfigError: it keeps too little, or does not say; with the remedy.
        BrokerUnavailable: too few replicas are online at the moment; with the remedy, if that is how it is meant.
    """
    if settings.durability == "none":
        return
    if info.get("aof_enabled") != "1":
        raise ConfigError(
            "redis_url: the server keeps no append-only file, and loses tasks when it restarts; set its appendonly to "
            "yes, or set EDGESCALE_DURABILITY=none if losing tasks is acceptable"
        )
    for policy in policies:
        if policy == "no":
            raise ConfigError(
                "redis_url: the server's appendfsync is no, and a loss of power takes up to half a minute of tasks; "
                "set it to everysec, or set EDGESCALE_DURABILITY=none if losing tasks is acceptable"
            )
        if settings.durability == "strict":
            _check_strict(policy, info, settings)


def _check_strict(policy: str | None, info: Mapping[str, str], settings: Settings) -> None:
    if policy is None and not settings.allow_unverified_durability:
        raise ConfigError(
            "redis_url: the server does not let its appendfsync be read, so that EDGESCALE_DURABILITY=strict cannot be "
            "verified; allow CONFIG GET (ACL rule +config|get), or set EDGESCALE_ALLOW_UNVERIFIED_DURABILITY=true if "
            "you know it to be always"
        )
    if policy not in {None, "always"}:
        raise ConfigError(
            f"redis_url: the server's appendfsync is {policy}, and EDGESCALE_DURABILITY=strict needs always; set it to "
            "always, or set EDGESCALE_DURABILITY=standard if losing the last second is acceptable"
        )
    replicas = replicas_online(info)
    if replicas < settings.replicas_min:
        # Not a mistake of whoever has set it up, as far as we know: after a failover, one is missing for a while.
        raise BrokerUnavailable(
            f"redis_url: the server has {replicas} replicas online, and EDGESCALE_DURABILITY=strict needs "
            f"{settings.replicas_min} (EDGESCALE_REPLICAS_MIN); connect more, or set EDGESCALE_DURABILITY=standard if "
            "losing what a failover takes is acceptable"
        )


def replicas_online(info: Mapping[str, str]) -> int:
    """How many replicas follow the server; those that are still being sent the data do not count."""
    return sum("state=online" in replica for name, replica in info.items() if _REPLICA.fullmatch(name))
