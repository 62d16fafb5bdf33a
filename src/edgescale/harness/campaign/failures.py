"""What is made of a campaign's failures: each bug's first one is shrunk, and kept as a plan that runs again."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgescale.harness.campaign.campaign import Hosts
from edgescale.harness.campaign.result import Offence, Result
from edgescale.harness.plan import Plan
from edgescale.harness.regressions import Regression
from edgescale.harness.shrink.judge import Budget
from edgescale.harness.shrink.shrink import shrink

# Shrinks a plan that shows a bug, and says what became of it; see `shrunk_by`.
Shrinker = Callable[[Plan, Offence], Result]


@dataclass(frozen=True, slots=True)
class Bug:
    """Runs that broke the same rule of the same promise.

    Attributes:
        offence: of the first of them.
        first: of the lowest seed.
        seeds: all of them, in order.
    """

    offence: Offence
    first: Result
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A bug, made small.

    Attributes:
        bug: that was shrunk.
        plan: the smallest that was found.
        offence: how that plan shows it.
        path: where that plan is.
    """

    bug: Bug
    plan: Plan
    offence: Offence
    path: Path


def bugs_of(failures: Sequence[Result]) -> Sequence[Bug]:
    """The failures by what is broken; each run counts for its first offence alone, as one bug often breaks many rules.

    Args:
        failures: in the order of their seeds.
    """
    runs: dict[tuple[str, str], list[Result]] = {}
    for result in failures:
        runs.setdefault(result.offences[0].key, []).append(result)
    return [Bug(group[0].offences[0], group[0], [result.seed for result in group]) for group in runs.values()]


def shrunk_by(hosts: Hosts, mutant: str = "", budget: Budget | None = None) -> Shrinker:
    """A shrinker whose runs are done by hosts; a plan is bad when it shows the same bug."""

    def shrunk(plan: Plan, offence: Offence) -> Result:
        def shows(candidate: Plan) -> Offence | None:
            return hosts.judge(candidate, mutant).shows(offence.key)

        return hosts.judge(shrink(plan, offence, shows, budget), mutant)

    return shrunk


def counterexamples(bugs: Sequence[Bug], shrunk: Shrinker, folder: Path) -> Iterator[Counterexample]:
    """Shrink and keep the first failure of each bug. Where nobody knows its plan, there is nothing to shrink.

    Raises:
        OSError: the folder cannot be written to.
    """
    for bug in bugs:
        if bug.first.plan is not None:
            result = shrunk(bug.first.plan, bug.offence)
            plan, offence = result.plan or bug.first.plan, result.shows(bug.offence.key) or bug.offence
            path = folder / f"{_slug(*bug.offence.key)}-{bug.first.seed}.json"
            Regression(plan, found=f"{offence.promise} {offence.rule}: {offence.sentence}").dump(path)
            yield Counterexample(bug, plan, offence, path)


def _slug(*words: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words)).strip("-")[:60]
