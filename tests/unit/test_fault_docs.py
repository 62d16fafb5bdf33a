"""docs/faults.md names every fault, and says rightly where it can be had; docs/chaos.md's scenario is one."""

import re
from pathlib import Path

from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.faults import FAULTS as REAL
from edgescale.harness.chaos.fit import check_plan
from edgescale.harness.chaos.scenario import parse_scenario
from edgescale.harness.simulation import server_faults as simulated  # noqa: F401 - as above
from edgescale.harness.simulation.faults import FAULTS as SIMULATED

DOCS = Path(__file__).parents[2] / "docs"


def test_every_fault_stands_in_the_table_with_where_it_can_be_had() -> None:
    rows = re.findall(
        r"^\|[^|]*\| `(\w+)` \|.*\| *(yes)? *\| *(yes)? *\|$", (DOCS / "faults.md").read_text(), re.MULTILINE
    )

    told = {name: (bool(simulation), bool(real)) for name, simulation, real in rows}
    assert told == {name: (name in SIMULATED, name in REAL) for name in {*SIMULATED, *REAL}}


def test_the_example_is_a_scenario() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", (DOCS / "chaos.md").read_text(), re.DOTALL)
    plan = parse_scenario("mine", example).plan(7)

    check_plan(plan)
    assert {fault.name for fault in plan.faults} == {"crash", "latency"}
