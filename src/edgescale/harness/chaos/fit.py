"""Whether a plan can be carried out on real parts: everything that it names must be had there."""

from edgescale.config import Settings, load_settings
from edgescale.errors import ConfigError
from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.capabilities import Capability
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.replicated import needs_replica
from edgescale.harness.chaos.terms import SETTINGS
from edgescale.harness.plan import Plan


def left_out(plan: Plan) -> str:
    """What of a plan is not done on real parts, as a sentence; empty for nothing."""
    wrong = ", ".join(plan.clocks)
    return f"all processes have the machine's clock here; in the plan it is wrong for {wrong}" if wrong else ""


def needs_aim(plan: Plan) -> bool:
    """Whether a fault of it is aimed at what is asked of Redis."""
    return any(fault.name in FAULTS and FAULTS[fault.name].aimed for fault in plan.faults)


def check_plan(plan: Plan, *, aims: bool = True) -> Settings:
    """The settings of all services, if the plan can be carried out.

    Args:
        plan: to be carried out.
        aims: whether the proxies before Redis read what is asked of it.

    Raises:
        ConfigError: it names a fault that can only be had in simulation, or one that these proxies do not have, or
            settings that cannot work; says which.
    """
    for at, fault in enumerate(plan.faults):
        if fault.name not in FAULTS:
            raise ConfigError(
                f"faults[{at}]: {fault.name} cannot be done to real parts; those that can: {', '.join(sorted(FAULTS))}"
            )
        if FAULTS[fault.name].aimed and not aims:
            raise ConfigError(f"faults[{at}]: {fault.name} is aimed at what is asked of Redis: use --proxy built-in")
    return load_settings({}, **{**SETTINGS, **plan.settings})


def needs_of(plan: Plan) -> frozenset[Capability]:
    """What must be possible with the server for this plan."""
    return frozenset({Capability.REPLICA} if needs_replica(plan) else ())
