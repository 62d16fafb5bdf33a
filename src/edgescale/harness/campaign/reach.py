"""How many seeds it takes to catch each mutant: the measure of a campaign's reach."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from edgescale.harness.campaign.campaign import Hosts
from edgescale.harness.campaign.host import Order
from edgescale.harness.campaign.result import Job, Result


class Named(Protocol):
    """What is known of a mutant; see `edgescale.harness.mutants`."""

    @property
    def name(self) -> str:
        """In snake_case."""

    @property
    def promise(self) -> str:
        """The checker that must report it."""

    @property
    def sentence(self) -> str:
        """What the broken code does."""


@dataclass
class Hunt:
    """The search for one mutant.

    Attributes:
        mutant: that is looked for.
        seeds: that were run.
        caught_by: the rule of its own promise that was found broken; "" while there is none.
        caught_at: the seed of that run.
        others: what else was reported on the way.
    """

    mutant: Named
    seeds: int = 0
    caught_by: str = ""
    caught_at: int = 0
    others: set[tuple[str, str]] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Count a run."""
        self.seeds += 1
        rules = [offence.rule for offence in result.offences if offence.promise == self.mutant.promise]
        if result.breaks(self.mutant.promise):
            self.caught_by, self.caught_at = rules[0], result.seed
        self.others |= {offence.key for offence in result.offences if offence.promise != self.mutant.promise}

    def record(self) -> dict[str, Any]:
        """As JSON can take it."""
        return {
            "mutant": self.mutant.name,
            "promise": self.mutant.promise,
            "seeds": self.seeds,
            "caught_by": self.caught_by,
            "caught_at": self.caught_at if self.caught_by else None,
            "others": [" ".join(key) for key in sorted(self.others)],
        }


def hunt_all(hosts: Hosts, mutants: Sequence[Named], jobs: Sequence[Job]) -> Iterator[Sequence[Hunt]]:
    """Run seeds under each mutant until its own checker reports it; yields the state of all after each run."""
    hunts = {mutant.name: Hunt(mutant) for mutant in mutants}
    for order, result in hosts.run(Order(jobs, mutant.name, until=mutant.promise) for mutant in mutants):
        hunts[order.mutant].add(result)
        yield list(hunts.values())


def median_seeds(hunts: Sequence[Hunt]) -> float:
    """Of the mutants that were caught; 0 when none was."""
    caught = [hunt.seeds for hunt in hunts if hunt.caught_by]
    return median(caught) if caught else 0.0


def all_caught(hunts: Sequence[Hunt]) -> bool:
    """Whether every mutant was reported by its own checker."""
    return bool(hunts) and all(hunt.caught_by for hunt in hunts)
