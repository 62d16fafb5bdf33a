"""Guesses: what a counterexample may need, from what is known of it. A right one saves most of a shrink's runs."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from edgescale.harness.plan import Plan
from edgescale.harness.shrink_cuts import Cut


def guesses(request_ids: Collection[str], at_ms: int) -> Sequence[Cut]:
    """Cuts to be tried before all others, the boldest first.

    Args:
        request_ids: whom it happened to; may be empty.
        at_ms: when it had happened; 0 when nobody knows.
    """
    alone, before = partial(_of_these, frozenset(request_ids)), partial(_until, at_ms)
    found: list[Cut] = []
    if request_ids:
        found += [lambda plan: _without_faults(alone(plan)), lambda plan: before(alone(plan))]
    if at_ms:
        found += [lambda plan: _without_faults(before(plan)), before]
    return found


def _of_these(request_ids: Collection[str], plan: Plan) -> Plan:
    return replace(plan, requests=tuple(item for item in plan.requests if item.request_id in request_ids))


def _until(at_ms: int, plan: Plan) -> Plan:
    return replace(
        plan,
        requests=tuple(item for item in plan.requests if item.at_ms <= at_ms),
        faults=tuple(item for item in plan.faults if item.at_ms <= at_ms),
    )


def _without_faults(plan: Plan) -> Plan:
    return replace(plan, faults=())
