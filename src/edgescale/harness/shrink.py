"""Shrinking: from a plan that fails to a small one that fails in the same way.

Hypothesis does it. A round offers it some cuts, each of which makes the plan simpler; it draws a number for each, and
0, the simplest, is a cut that is made. Random draws make hardly any, so that a failing example is found at once;
shrinking makes as many as it can. Requests and faults are cut away in blocks first and then one by one; then what is
left is simplified; then the order of callbacks is pulled toward first in, first out (see `shrink_schedule`).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from edgescale.harness.campaign_result import Offence
from edgescale.harness.plan import Plan
from edgescale.harness.shrink_cuts import Cut, leaving_out, of_the_rest, of_the_world
from edgescale.harness.shrink_guesses import guesses
from edgescale.harness.shrink_schedule import calm, shortest_window

# How a plan fails in the way that is looked for; None when it does not.
Shows = Callable[[Plan], Offence | None]

# Cuts in a round: more make Hypothesis slow, fewer make many rounds.
CUTS_MAX = 16
# Blocks of requests and faults that are left out at first.
BLOCKS_MIN = 4
# Requests and faults of a plan that is run with many seeds, and how many.
FEW, DRAWS = 16, 100
# A number that is hardly ever drawn as 0.
UNLIKELY = 1_000
SETTINGS = settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=50,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a shrink may cost; it ends with the best plan that was found until then.

    Attributes:
        runs: that are made at most.
        time_s: that it takes at most, in real time, but for the run that it is at.
    """

    runs: int = 2_000
    time_s: float = 60.0


class _Spent(BaseException):
    """The budget is used up. No Exception: Hypothesis would take that for a failure to be shrunk."""


class _Judge:
    """Asks about each plan once.

    Attributes:
        best: the plan that the shrink has come to; it is bad.
    """

    def __init__(self, shows: Shows, plan: Plan, offence: Offence, budget: Budget) -> None:
        self._shows = shows
        self._known: dict[str, Offence | None] = {plan.digest(): offence}
        self._runs_left = budget.runs
        self._end_s = perf_counter() + budget.time_s
        self.best = plan

    @property
    def offence(self) -> Offence:
        """How the best plan shows it."""
        offence = self._known[self.best.digest()]
        assert offence is not None  # noqa: S101 - the best plan is bad
        return offence

    def __call__(self, plan: Plan) -> bool:
        """Whether it is bad."""
        digest = plan.digest()
        if digest not in self._known:
            if self._runs_left <= 0 or perf_counter() > self._end_s:
                raise _Spent
            self._runs_left -= 1
            self._known[digest] = self._shows(plan)
        return self._known[digest] is not None

    def takes(self, plan: Plan) -> bool:
        """Go on with this plan if it is bad; says whether that is a change."""
        if plan == self.best or not self(plan):
            return False
        self.best = plan
        return True


def shrink(plan: Plan, offence: Offence, shows: Shows, budget: Budget | None = None) -> Plan:
    """The smallest plan found that fails in the same way; the given one where none is.

    Args:
        plan: fails.
        offence: how.
        shows: how another plan fails in the same way, None where it does not; asked again, it must say the same.
        budget: None for the usual one.
    """
    judge = _Judge(shows, plan, offence, budget or Budget())
    with suppress(_Spent):
        if not _guess(judge):
            _draw_again(judge)
        while _guess(judge):
            pass
        judge.takes(calm(judge.best))
        _shrink(judge)
    return judge.best


def _guess(judge: _Judge) -> bool:
    """Go on with the boldest guess that is right; whether it was worth it.

    All are tried in order first: what is left out then moves less of the rest.
    """
    size = _size(judge.best)
    guessed = [guess(judge.best) for guess in guesses(judge.offence)]
    return any(judge.takes(plan) for plan in (*map(calm, guessed), *guessed)) and 4 * _size(judge.best) <= 3 * size


def _draw_again(judge: _Judge) -> None:
    """A failure that needs luck: what was concerned is run alone with other seeds, for so small a plan costs little."""
    few = [plan for guess in guesses(judge.offence) if _size(plan := guess(judge.best)) <= FEW]
    for draw in range(1, DRAWS + 1):
        for plan in few:
            other = replace(plan, seed=plan.seed + draw)
            if judge.takes(calm(other) if draw % 2 else other):
                return


def _shrink(judge: _Judge) -> None:
    _halve(judge)
    before = None
    while judge.best != before:
        before = judge.best
        # A world with less room may need fewer requests.
        _make_cuts(judge, of_the_world(judge.best))
        _thin_out(judge)
        _make_cuts(judge, of_the_rest(judge.best))
    judge.takes(calm(judge.best))
    for window in shortest_window(judge.best, judge):
        judge.best = window


def _halve(judge: _Judge) -> None:
    """Leave large blocks of requests and faults out as long as that is easy."""
    size = _size(judge.best)
    while size:
        _make_cuts(judge, leaving_out(judge.best, BLOCKS_MIN))
        if 2 * _size(judge.best) > size:
            return
        size = _size(judge.best)


def _thin_out(judge: _Judge) -> None:
    """Leave requests and faults out, in blocks that become smaller as that gets harder, until each is needed."""
    blocks = CUTS_MAX
    while True:
        before = judge.best
        cuts = leaving_out(before, blocks)
        _make_cuts(judge, cuts)
        if judge.best == before and len(cuts) == _size(before):
            return
        if 2 * _size(judge.best) > _size(before):
            blocks *= 2


def _size(plan: Plan) -> int:
    return len(plan.requests) + len(plan.faults)


def _make_cuts(judge: _Judge, cuts: Sequence[Cut]) -> None:
    for start in range(0, len(cuts), CUTS_MAX):
        _make_as_many_as_possible(judge, cuts[start : start + CUTS_MAX])


def _make_as_many_as_possible(judge: _Judge, cuts: Sequence[Cut]) -> None:
    whole, most = judge.best, 0

    def is_bad(drawn: Sequence[int]) -> bool:
        nonlocal most
        plan, made = whole, 0
        for cut, number in zip(cuts, drawn, strict=True):
            if number == 0:
                plan, made = cut(plan), made + 1
        bad = judge(plan)
        if bad and made > most:
            judge.best, most = plan, made
        return bad

    with suppress(NoSuchExample):
        find(st.tuples(*[st.integers(0, UNLIKELY)] * len(cuts)), is_bad, settings=SETTINGS)
