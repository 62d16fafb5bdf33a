"""Runs on real parts that are asked for, and what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgescale.harness.campaign.offences import offences_of
from edgescale.harness.campaign.result import Offence
from edgescale.harness.chaos.run import ChaosRun
from edgescale.harness.mutants import find
from edgescale.harness.plan import Plan


@dataclass(frozen=True, slots=True)
class Asked:
    """One run that is asked for.

    Attributes:
        name: of the scenario, or of the plan's file.
        title: what it is about.
        plan: what is done.
        reaches: markers that it must hit.
        replay: the command that runs it again.
        catches: mutants that it is to catch.
        mutant: under which services run; "" for none.
        hunted: whether it is to be caught: then the run is good if it finds broken what the mutant breaks.
        optional: it is one of all, and left out where it cannot be had.
    """

    name: str
    title: str
    plan: Plan
    reaches: Sequence[str]
    replay: str
    catches: Sequence[str] = ()
    mutant: str = ""
    hunted: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What became of it.

    Attributes:
        asked: the run.
        run: its history and verdicts.
        used: what it ran on, by name.
        wall_s: how long it took.
        folder: where its events and logs are; removed where it was good.
    """

    asked: Asked
    run: ChaosRun
    used: Mapping[str, str]
    wall_s: float
    folder: Path

    @property
    def missed(self) -> list[str]:
        """The markers that it should have hit, and faults that found nothing to strike."""
        missed = [name for name in self.asked.reaches if not self.run.markers.get(name)]
        return missed + [name for name, times in self.run.struck.items() if not times]

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and the run shows that; or its mutant was caught."""
        if self.asked.hunted:
            return find(self.asked.mutant).promise in self.broken
        return self.run.good and not self.missed

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        return [verdict.promise for verdict in self.run.verdicts if verdict.outcome == "invalid"]

    @property
    def offences(self) -> Sequence[Offence]:
        """What was broken, those of P1 first."""
        return offences_of(self.run.history, "", self.run.verdicts)

    def record(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.asked.name,
            "good": self.good,
            "replay": self.asked.replay,
            "seed": self.asked.plan.seed,
            "mutant": self.asked.mutant,
            "used": dict(self.used),
            "requests": len(self.asked.plan.requests),
            "faults": len(self.asked.plan.faults),
            "events": len(self.run.history.events),
            "wall_s": round(self.wall_s, 1),
            "verdicts": {verdict.promise: verdict.outcome for verdict in self.run.verdicts},
            "markers": {name: count for name, count in self.run.markers.items() if count},
            "struck": dict(self.run.struck),
            "missed": self.missed,
            "failures": list(self.run.failures),
            "folder": "" if self.good else str(self.folder),
            "offences": [
                {"promise": offence.promise, "rule": offence.rule, "sentence": offence.sentence}
                for offence in self.offences
            ],
        }


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs of one command.

    Attributes:
        told: those that were carried out.
        wanted: how many were to be.
        left_out: names of those that cannot be had here.
    """

    told: Sequence[Told]
    wanted: int
    left_out: Sequence[str] = ()

    @property
    def interrupted(self) -> bool:
        """Whether it ended before all were carried out."""
        return len(self.told) < self.wanted

    @property
    def good(self) -> bool:
        """Whether all were carried out, and are good."""
        return not self.interrupted and all(item.good for item in self.told)
