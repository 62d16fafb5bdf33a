"""Mutants: seeded bugs of the production code, switched on one at a time, that a campaign must catch.

Each names the checker that must report it. A campaign that does not is too narrow, or its checker too lenient.
"""

import difflib

from edgescale.errors import ConfigError
from edgescale.harness.mutants.base import Edit, Misfit, Mutant
from edgescale.harness.mutants.cancels import CANCEL_MUTANTS
from edgescale.harness.mutants.doors import DOOR_MUTANTS
from edgescale.harness.mutants.durability import DURABILITY_MUTANTS
from edgescale.harness.mutants.lanes import LANE_MUTANTS
from edgescale.harness.mutants.letters import LETTER_MUTANTS
from edgescale.harness.mutants.order import ORDER_MUTANTS
from edgescale.harness.mutants.scripts import SCRIPT_MUTANTS
from edgescale.harness.mutants.workers import WORKER_MUTANTS

__all__ = ["MUTANTS", "Edit", "Misfit", "Mutant", "find"]

MUTANTS = (
    *SCRIPT_MUTANTS,
    *LETTER_MUTANTS,
    *WORKER_MUTANTS,
    *LANE_MUTANTS,
    *DOOR_MUTANTS,
    *CANCEL_MUTANTS,
    *DURABILITY_MUTANTS,
    *ORDER_MUTANTS,
)


def find(name: str) -> Mutant:
    """The mutant of this name.

    Raises:
        ConfigError: there is none.
    """
    known = {mutant.name: mutant for mutant in MUTANTS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(f"no mutant {name!r}: {hint}`edgescale simulate --mutants` lists them")
