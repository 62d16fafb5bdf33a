"""Whether a plan can be carried out on real parts: everything that it names must be had there."""

from edgescale.config import Settings, load_settings
from edgescale.errors import ConfigError
from edgescale.harness.chaos import network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.terms import SETTINGS
from edgescale.harness.plan import Plan


def left_out(plan: Plan) -> str:
    """What of a plan is not done on real parts, as a sentence; empty for nothing."""
    wrong = ", ".join(plan.clocks)
    return f"all processes have the machine's clock here; in the plan it is wrong for {wrong}" if wrong else ""


def check_plan(plan: Plan) -> Settings:
    """The settings of all services, if the plan can be carried out.

    Raises:
        ConfigError: it names a fault that can only be had in simulation, or settings that cannot work; says which.
    """
    for at, fault in enumerate(plan.faults):
        if fault.name not in FAULTS:
            raise ConfigError(
                f"faults[{at}]: {fault.name} cannot be done to real parts; those that can: {', '.join(sorted(FAULTS))}"
            )
    return load_settings({}, **{**SETTINGS, **plan.settings})
