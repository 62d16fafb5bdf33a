"""docs/faults.md says of every fault what is declared; docs/chaos.md lists all workloads, and its scenario is one."""

import inspect
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from edgescale.harness import workloads  # noqa: F401 - importing it fills the table of workloads
from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.faults import FAULTS as REAL
from edgescale.harness.chaos.fit import check_plan
from edgescale.harness.chaos.options import COMMAND, Words
from edgescale.harness.chaos.scenario import parse_scenario
from edgescale.harness.simulation import server_faults as simulated  # noqa: F401 - as above
from edgescale.harness.simulation.faults import FAULTS as SIMULATED
from edgescale.harness.workload import WORKLOADS

DOCS = Path(__file__).parents[2] / "docs"


def told(row: str) -> list[str]:
    """What the cells of a row of the table say, but for the number and what happens."""
    _, _, name, _, *others, _ = row.split("|")
    return [cell.strip() for cell in (name, *others)]


def level(name: str, only: str, *tables: Collection[str]) -> str:
    """A name, and where it can be had if that is not wherever the fault can."""
    return name if all(name in table for table in tables) else f"{name} ({only})"


def targets_of(name: str) -> str:
    drawn = SIMULATED[name].targets if name in SIMULATED else REAL[name].targets
    struck = REAL[name].targets if name in REAL else drawn
    more = [f"{target} (real parts)" for target in struck if target not in drawn]
    return ", ".join([*(level(target, "simulation", struck) for target in drawn), *more])


def options_of(name: str) -> str:
    real = REAL[name].options if name in REAL else {}
    drawn = SIMULATED[name].options if name in SIMULATED else {}
    alone = [f"`{option}`: {listed(drawn[option])} (simulation)" for option in drawn if option not in real]
    return "; ".join([*(f"`{option}`: {shown(name, option)}" for option in real), *alone])


def shown(name: str, option: str) -> str:
    allowed = REAL[name].options[option]
    if allowed == COMMAND:
        return "a script, a command of Redis, or any (any)"
    drawn = SIMULATED[name].options.get(option, ()) if name in SIMULATED else ()
    more = [value for value in drawn if isinstance(allowed, Words) and value not in allowed.allowed]
    return f"{allowed}{f'; {listed(more)} (simulation)' if more else ''}"


def listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def rows() -> dict[str, list[str]]:
    text = (DOCS / "faults.md").read_text()
    return {cells[0].strip("`"): cells[1:] for cells in map(told, re.findall(r"^\|[^|]*\| `.*$", text, re.MULTILINE))}


@pytest.mark.parametrize("name", sorted({*SIMULATED, *REAL}))
def test_the_table_says_whom_a_fault_befalls_what_it_takes_and_where_it_can_be_had(name: str) -> None:
    where = ["yes" if name in SIMULATED else "", "yes" if name in REAL else ""]

    assert rows().get(name) == [targets_of(name), options_of(name), *where]


def test_the_table_has_no_other_faults() -> None:
    assert set(rows()) == {*SIMULATED, *REAL}


def test_the_workloads_are_listed_with_what_they_send() -> None:
    text = (DOCS / "chaos.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text.partition("\n## Workloads\n")[2], re.MULTILINE))

    assert listed == {name: (inspect.getdoc(make) or "").partition("\n")[0] for name, make in WORKLOADS.items()}


def test_the_example_is_a_scenario() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", (DOCS / "chaos.md").read_text(), re.DOTALL)
    plan = parse_scenario("mine", example).plan(7)

    check_plan(plan)
    assert {fault.name for fault in plan.faults} == {"crash", "latency"}
