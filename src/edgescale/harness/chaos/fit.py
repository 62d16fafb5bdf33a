"""Whether a plan can be carried out on real parts: everything that it names must be had there."""

import operator
from collections.abc import Callable, Collection, Mapping

from edgescale.config import Settings, load_settings
from edgescale.errors import ConfigError
from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.fields import known
from edgescale.harness.chaos.replicated import needs_replica
from edgescale.harness.chaos.terms import SETTINGS
from edgescale.harness.plan import Fault, Option, Plan

KINDS = ("ingestion", "gateway", "worker")
# What a fault may befall beside the services.
OTHERS = ("redis", "replica", "services")


def names_of(services: Mapping[str, int]) -> list[str]:
    """Each process of the services."""
    return [f"{kind}-{number}" for kind in KINDS for number in range(1, services.get(kind, 0) + 1)]


def left_out(plan: Plan) -> str:
    """What of a plan is not done on real parts, as a sentence; empty for nothing."""
    wrong = ", ".join(plan.clocks)
    told = [f"all processes have the machine's clock here; in the plan it is wrong for {wrong}"] if wrong else []
    told += _of_the_server(plan)
    if plan.shuffled_to > plan.shuffled_from:
        told.append(
            f"order is as it comes here; the plan draws that of turns {plan.shuffled_from} to {plan.shuffled_to}"
        )
    for at, fault in enumerate(plan.faults):
        of_simulation = FAULTS[fault.name].simulated if fault.name in FAULTS else ()
        # Without a value, such as `silent` 0, nothing is asked that could be left out.
        asked = [f"{name} {fault.options[name]}" for name in of_simulation if fault.options.get(name)]
        told += [f"faults[{at}]: {fault.name} is done here without {', '.join(asked)}"] if asked else []
    return "; ".join(told)


def _of_the_server(plan: Plan) -> list[str]:
    """What of `plan.redis` is otherwise on a real server."""
    replicas = int(needs_replica(plan))
    here: dict[str, Option] = {"appendfsync": "always", "replicas": replicas, "replica_lag_ms": 0}
    differs = {name: value for name, value in plan.redis.items() if value != here.get(name)}
    meanings = {
        "appendfsync": "the server syncs its file before it replies here",
        "replicas": f"the server has {replicas or 'no'} replica here",
        "replica_lag_ms": "a replica is as far behind here as it is",
    }
    return [
        f"{meanings.get(name, 'the server knows nothing of that here')}; redis.{name} of the plan is {value}"
        for name, value in differs.items()
    ]


def needs_aim(plan: Plan) -> bool:
    """Whether a fault of it is aimed at what is asked of Redis, or else beyond all but the built-in proxy."""
    return any(fault.name in FAULTS and FAULTS[fault.name].built_in for fault in plan.faults)


def needs_of(plan: Plan) -> frozenset[Capability]:
    """What must be possible with the server: all that its faults need, and a replica if the services do."""
    needed = (FAULTS[fault.name].needs for fault in plan.faults if fault.name in FAULTS)
    replica = {Capability.REPLICA} if needs_replica(plan) else set()
    return frozenset[Capability]().union(*needed, replica)


def check_plan(plan: Plan, *, aims: bool = True) -> Settings:
    """The settings of all services, if the plan can be carried out.

    Args:
        plan: to be carried out.
        aims: whether the proxies before Redis read what is asked of it.

    Raises:
        ConfigError: it names a fault that can only be had in simulation, or one that these proxies do not have, whom it
            cannot befall, an option that it cannot take, a service that there is not, or settings that cannot work;
            says which, and what would be right.
    """
    for kind in plan.services:
        known("services", kind, KINDS)
    names = names_of(plan.services)
    doors = [name for name in names if not name.startswith("worker")]
    for at, request in enumerate(plan.requests):
        known(f"requests[{at}].door", request.door, doors)
    for at, fault in enumerate(plan.faults):
        _check_fault(f"faults[{at}]", fault, names, aims=aims)
    return load_settings({}, **{**SETTINGS, **plan.settings})


def _check_fault(where: str, fault: Fault, names: Collection[str], *, aims: bool) -> None:
    if fault.name not in FAULTS:
        raise ConfigError(
            f"{where}: {fault.name} cannot be done to real parts; those that can: {', '.join(sorted(FAULTS))}"
        )
    kind = FAULTS[fault.name]
    if kind.aimed and not aims:
        raise ConfigError(
            f"{where}: {fault.name} is aimed at what is asked of Redis: use --proxy built-in, without TLS"
        )
    if kind.built_in and not aims:
        raise ConfigError(f"{where}: {fault.name} is beyond Toxiproxy: use --proxy built-in")
    check_target(f"{where}.target", fault.name, fault.target, names)
    for option, value in fault.options.items():
        # Plans come from the simulation: what only it has is left out, and `left_out` says so.
        if option not in kind.simulated:
            check_option(f"{where}.options", fault.name, option, value)


def check_target(
    where: str, fault: str, target: str, names: Collection[str], fits: Callable[[str, str], bool] = operator.eq
) -> list[str]:
    """Whom a fault may befall each time.

    Args:
        where: the target stands.
        fault: its name.
        target: whom it is to befall.
        names: of the services.
        fits: whether a name is one that the target means.

    Raises:
        ConfigError: nobody; says whom it may befall.
    """
    meant = [name for name in (*names, *OTHERS) if fits(name, target)]
    fitting = FAULTS[fault].fitting(meant)
    if fitting:
        return fitting
    problem = f"{fault} cannot befall {target!r}" if meant else f"nobody here is called {target!r}"
    able = ", ".join(FAULTS[fault].fitting((*names, *OTHERS))) or "none here"
    raise ConfigError(f"{where}: {problem}; those that {fault} can befall: {able}")


def check_option(where: str, fault: str, option: str, value: object) -> None:
    """See that a fault takes an option, and this value of it.

    Raises:
        ConfigError: it does not; says what it takes.
    """
    options = FAULTS[fault].options
    known(where, option, options)
    options[option].check(f"{where}.{option}", value)
