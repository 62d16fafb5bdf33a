"""Shrinking: from a plan that fails to a small one that fails in the same way.

Hypothesis does it. A round offers it some cuts, each of which makes the plan simpler; it draws a number for each, and
0, the simplest, is a cut that is made. Random draws make hardly any, so that a failing example is found at once;
shrinking makes as many as it can. Requests and faults are cut away in blocks first and then one by one; then what is
left is simplified; then the order of callbacks is pulled toward first in, first out (see `schedule`).
"""

from collections.abc import Sequence
from contextlib import suppress

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from edgescale.harness.campaign.result import Offence
from edgescale.harness.plan import Plan
from edgescale.harness.shrink.cuts import Cut, leaving_out, of_the_rest, of_the_world
from edgescale.harness.shrink.guesses import guesses
from edgescale.harness.shrink.judge import Budget, Judge, Shows, Spent
from edgescale.harness.shrink.schedule import calm, shortest_window

# Cuts in a round: more make Hypothesis slow, fewer make many rounds.
CUTS_MAX = 16
# Blocks of requests and faults that are left out at first.
BLOCKS_MIN = 4
# Requests and faults of a plan that is run with many seeds; how many; and how many for each cut from then on.
FEW, DRAWS, DRAWS_OF_THE_LUCKY = 16, 60, 12
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


def shrink(plan: Plan, offence: Offence, shows: Shows, budget: Budget | None = None) -> Plan:
    """The smallest plan found that fails in the same way; the given one where none is.

    Args:
        plan: fails.
        offence: how.
        shows: how another plan fails in the same way, None where it does not; asked again, it must say the same.
        budget: None for the usual one.
    """
    judge = Judge(shows, plan, offence, budget or Budget())
    with suppress(Spent):
        if not _guess(judge):
            _try_luck(judge)
        while _guess(judge):
            pass
        judge.takes(calm(judge.best))
        _shrink(judge)
    return judge.best


def _guess(judge: Judge) -> bool:
    """Go on with the boldest guess that is right; whether it was worth it.

    All are tried in order first: what is left out then moves less of the rest.
    """
    size = _size(judge.best)
    guessed = [guess(judge.best) for guess in guesses(judge.offence)]
    return any(judge.takes(plan) for plan in (*map(calm, guessed), *guessed)) and 4 * _size(judge.best) <= 3 * size


def _try_luck(judge: Judge) -> None:
    """A failure may need luck: what was concerned is run alone with many seeds, for so small a plan costs little."""
    guessed = [guess(judge.best) for guess in guesses(judge.offence)]
    # The most that is still little.
    few = max((plan for plan in guessed if _size(plan) <= FEW), key=_size, default=judge.best)
    judge.draws = DRAWS
    lucky = few != judge.best and any(judge.takes(plan) for plan in (few, calm(few)))
    judge.draws = DRAWS_OF_THE_LUCKY if lucky else 1


def _shrink(judge: Judge) -> None:
    _halve(judge)
    before = None
    while judge.best != before:
        before = judge.best
        # A world with less room may need fewer requests.
        _make_cuts(judge, of_the_world(judge.best))
        _thin_out(judge)
        _make_cuts(judge, of_the_rest(judge.best))
    judge.takes(calm(judge.best))
    judge.draws = 1
    for window in shortest_window(judge.best, lambda plan: judge.bad(plan) is not None):
        judge.best = window


def _halve(judge: Judge) -> None:
    """Leave large blocks of requests and faults out as long as that is easy."""
    size = _size(judge.best)
    while size:
        _make_cuts(judge, leaving_out(judge.best, BLOCKS_MIN))
        if 2 * _size(judge.best) > size:
            return
        size = _size(judge.best)


def _thin_out(judge: Judge) -> None:
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


def _make_cuts(judge: Judge, cuts: Sequence[Cut]) -> None:
    for start in range(0, len(cuts), CUTS_MAX):
        _make_as_many_as_possible(judge, cuts[start : start + CUTS_MAX])


def _make_as_many_as_possible(judge: Judge, cuts: Sequence[Cut]) -> None:
    whole, most = judge.best, 0

    def is_bad(drawn: Sequence[int]) -> bool:
        nonlocal most
        plan, made = whole, 0
        for cut, number in zip(cuts, drawn, strict=True):
            if number == 0:
                plan, made = cut(plan), made + 1
        bad = judge.bad(plan)
        if bad is not None and made > most:
            judge.best, most = bad, made
        return bad is not None

    with suppress(NoSuchExample):
        find(st.tuples(*[st.integers(0, UNLIKELY)] * len(cuts)), is_bad, settings=SETTINGS)
