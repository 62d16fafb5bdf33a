"""The checkers: pure functions from a history to a verdict, one for each promise, in a fixed order."""

from edgescale.harness.checkers import (
    bounded_backlog,
    drain,
    fair_lanes,
    no_loss,
    one_result,
    order,
    poison,
    reclaim,
    recovery,
    uploads,
)
from edgescale.harness.checkers.base import Checker, Finding, Outcome, Verdict, overall
from edgescale.harness.history import History

__all__ = ["CHECKERS", "Checker", "Finding", "Outcome", "Verdict", "judge", "overall"]

CHECKERS = tuple(
    Checker(module.PROMISE, module.TITLE, module.check)
    for module in (no_loss, one_result, bounded_backlog, reclaim, poison, drain, uploads, recovery, order, fair_lanes)
)


def judge(history: History) -> tuple[Verdict, ...]:
    """The verdicts of all checkers, P1 first."""
    return tuple(checker.check(history) for checker in CHECKERS)
