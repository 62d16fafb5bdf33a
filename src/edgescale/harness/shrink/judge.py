"""The judge of a shrink: runs plans, remembers what came of them, and keeps to the budget."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter

from edgescale.harness.campaign.result import Offence
from edgescale.harness.plan import Plan

# How a plan fails in the way that is looked for; None when it does not.
Shows = Callable[[Plan], Offence | None]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a shrink may cost; it ends with the best plan that was found until then.

    Attributes:
        runs: that are made at most.
        time_s: that it takes at most, in real time, but for the run that it is at.
    """

    runs: int = 2_000
    time_s: float = 60.0


class Spent(BaseException):
    """The budget is used up. No Exception: Hypothesis would take that for a failure to be shrunk."""


class Judge:
    """Runs each plan once.

    Args:
        shows: runs a plan.
        plan: is bad.
        offence: how.
        budget: for all runs.

    Attributes:
        best: the plan that the shrink has come to; it is bad.
        draws: how many seeds a plan is tried with, its own first. One where the failure needs no luck.
    """

    def __init__(self, shows: Shows, plan: Plan, offence: Offence, budget: Budget) -> None:
        self._shows = shows
        self._known: dict[str, Offence | None] = {plan.digest(): offence}
        self._runs_left = budget.runs
        self._end_s = perf_counter() + budget.time_s
        self.best = plan
        self.draws = 1

    @property
    def offence(self) -> Offence:
        """How the best plan shows it."""
        offence = self._known[self.best.digest()]
        assert offence is not None  # noqa: S101 - the best plan is bad
        return offence

    def bad(self, plan: Plan) -> Plan | None:
        """The plan, or the same with another seed, if it is bad; else None.

        Raises:
            Spent: that would cost more than there is.
        """
        return next((drawn for drawn in self._drawn(plan) if self._is_bad(drawn)), None)

    def _drawn(self, plan: Plan) -> Iterator[Plan]:
        return (replace(plan, seed=plan.seed + draw) for draw in range(self.draws))

    def _is_bad(self, plan: Plan) -> bool:
        digest = plan.digest()
        if digest not in self._known:
            if self._runs_left <= 0 or perf_counter() > self._end_s:
                raise Spent
            self._runs_left -= 1
            self._known[digest] = self._shows(plan)
        return self._known[digest] is not None

    def takes(self, plan: Plan) -> bool:
        """Go on with this plan if it is bad; says whether that is a change."""
        if plan == self.best or (bad := self.bad(plan)) is None:
            return False
        self.best = bad
        return True
