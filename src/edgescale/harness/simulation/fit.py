"""Whether a plan can be carried out: everything that it names must be there."""

import difflib
from collections.abc import Collection

from edgescale.config import Settings, load_settings
from edgescale.errors import ConfigError
from edgescale.harness.plan import Fault, Plan
from edgescale.harness.simulation import server_faults  # noqa: F401 - importing it fills the table of faults
from edgescale.harness.simulation.faults import FAULTS
from edgescale.harness.simulation.terms import SETTINGS

KINDS = ("ingestion", "gateway", "worker")
OTHERS = ("redis", "store", "services", "replica")
POLICIES = ("always", "everysec", "no")


def check_plan(plan: Plan) -> Settings:
    """The settings of all services, if the plan can be carried out.

    Raises:
        ConfigError: it names a setting, service or fault that there is not; says which there are.
    """
    for kind in plan.services:
        _known("plan.services", kind, KINDS)
    names = [f"{kind}-{number}" for kind in KINDS for number in range(1, plan.services.get(kind, 0) + 1)]
    doors = [name for name in names if not name.startswith("worker")]
    for at, request in enumerate(plan.requests):
        _known(f"requests[{at}].door", request.door, doors)
    for at, fault in enumerate(plan.faults):
        _check_fault(f"faults[{at}]", fault, names)
    for option in plan.redis:
        _known("plan.redis", option, ("appendfsync", "replica_lag_ms", "replicas"))
    _known("plan.redis.appendfsync", str(plan.redis.get("appendfsync", POLICIES[0])), POLICIES)
    for name in plan.settings:
        _known("plan.settings", name, Settings.model_fields)
    return load_settings({}, **{**SETTINGS, **plan.settings})


def _check_fault(where: str, fault: Fault, names: Collection[str]) -> None:
    _known(f"{where}.name", fault.name, FAULTS)
    kind = FAULTS[fault.name]
    fitting = [name for name in (*names, *OTHERS) if name.partition("-")[0] in kind.targets]
    _known(f"{where}.target", fault.target, fitting)
    for option in fault.options:
        _known(f"{where}.options", option, kind.options)


def _known(where: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"
    raise ConfigError(f"{where}: there is no {name!r} here; {hint}")
