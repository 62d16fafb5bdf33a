"""The ledger of a campaign: what was run, how fast, what was reached, and what failed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edgescale.harness.campaign.result import RUN, Result
from edgescale.harness.checkers import CHECKERS, Outcome
from edgescale.harness.markers import MARKERS

FORMAT = 1
OUTCOMES: tuple[Outcome, ...] = ("valid", "invalid", "unknown")


class Ledger:
    """Adds results up.

    Attributes:
        mutant: under which all ran; "" for none.
        verdicts: by promise and outcome.
        bad: the results that are not good.
        markers: in how many runs each was hit.
        hits: how often each was hit.
        faults: how often each kind was injected.
        pairs: in how many runs two kinds of faults were in force at the same time.
        twice: how many seeds were run a second time.
        unlike: seeds whose second run left another trace than the first.
        replays: the command that runs a failure again, by its seed.
        plans: the file of the shrunk plan, by the seed that it was shrunk from.

    Args:
        mutant: see above.
        commit: of the code.
        versions: of what ran, by name.
    """

    def __init__(self, *, mutant: str = "", commit: str = "", versions: Mapping[str, str] | None = None) -> None:
        self.mutant = mutant
        self.commit = commit
        self.versions = dict(versions or {})
        self.runs = 0
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.bad: list[Result] = []
        self.markers: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.requests = 0
        self.turns = 0
        self.virtual_s = 0.0
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self.twice = 0
        self.unlike: list[int] = []
        self.replays: dict[int, str] = {}
        self.plans: dict[int, str] = {}
        self._traces: dict[int, str] = {}

    def add(self, result: Result) -> None:
        """Count a run."""
        self.runs += 1
        self._traces[result.seed] = result.trace
        self.verdicts.update(result.outcomes.items())
        if not result.good:
            self.bad.append(result)
        self.markers.update(result.markers.keys())
        self.hits.update(result.markers)
        self.faults.update(result.faults)
        self.pairs.update(result.pairs)
        self.requests += result.requests
        self.turns += result.turns
        self.virtual_s += result.virtual_s
        self.cpu_s += result.cpu_s

    def compare(self, again: Result) -> None:
        """Count the second run of a seed."""
        self.twice += 1
        if again.trace != self._traces[again.seed]:
            self.unlike.append(again.seed)

    def has(self, seed: int) -> bool:
        """Whether this seed was run."""
        return seed in self._traces

    @property
    def good(self) -> bool:
        """Whether something was run, and all of it was good and the same when it was run again."""
        return self.runs > 0 and not self.bad and not self.unlike

    @property
    def failed(self) -> int:
        """How many simulations did not come to their end."""
        return sum(any(offence.promise == RUN for offence in result.offences) for result in self.bad)

    @property
    def seeds_per_s(self) -> float:
        """Runs in a second of real time, all processes together."""
        return self.runs / self.wall_s if self.wall_s else 0.0

    @property
    def requests_per_cpu_s(self) -> float:
        """Lifecycles of requests in a second of processor time."""
        return self.requests / self.cpu_s if self.cpu_s else 0.0

    @property
    def compression(self) -> float:
        """Simulated seconds in a second of processor time."""
        return self.virtual_s / self.cpu_s if self.cpu_s else 0.0

    @property
    def never(self) -> Sequence[str]:
        """The markers that no run hit."""
        return [marker.name for marker in MARKERS if not self.markers[marker.name]]

    def failures(self) -> Sequence[Result]:
        """The runs that were not good, by seed."""
        return sorted(self.bad, key=lambda result: result.seed)

    def first_failure(self, promise: str) -> int | None:
        """The lowest seed that breaks a promise or leaves it open; None when there is none."""
        seeds = [result.seed for result in self.bad for offence in result.offences if offence.promise == promise]
        return min(seeds, default=None)

    def grid(self) -> Mapping[str, Mapping[str, int]]:
        """How many runs had which outcome, for each promise."""
        return {
            checker.promise: {outcome: self.verdicts[checker.promise, outcome] for outcome in OUTCOMES}
            for checker in CHECKERS
        }

    def record(self) -> dict[str, Any]:
        """As JSON can take it."""
        return {
            "format": FORMAT,
            "good": self.good,
            "commit": self.commit,
            "versions": self.versions,
            "mutant": self.mutant,
            "runs": self.runs,
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "seeds_per_s": round(self.seeds_per_s, 2),
            "requests": self.requests,
            "requests_per_cpu_s": round(self.requests_per_cpu_s, 1),
            "simulated_h": round(self.virtual_s / 3600, 4),
            "compression": round(self.compression, 1),
            "turns": self.turns,
            "failed": self.failed,
            "verdicts": self.grid(),
            "twice": self.twice,
            "unlike": sorted(self.unlike),
            "failures": [self._failure(result) for result in self.failures()],
            "markers": {name: {"runs": self.markers[name], "hits": self.hits[name]} for name in sorted(self.markers)},
            "markers_never": self.never,
            "faults": dict(sorted(self.faults.items())),
            "fault_pairs": {" + ".join(pair): runs for pair, runs in sorted(self.pairs.items())},
        }

    def _failure(self, result: Result) -> dict[str, Any]:
        offences = [
            {"promise": offence.promise, "rule": offence.rule, "sentence": offence.sentence}
            for offence in result.offences
        ]
        seed = result.seed
        return {"seed": seed, "replay": self.replays.get(seed), "plan": self.plans.get(seed), "offences": offences}
