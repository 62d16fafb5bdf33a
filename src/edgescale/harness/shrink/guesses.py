"""Guesses: what a counterexample may need, from how it showed. A right one saves most of a shrink's runs."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from edgescale.harness.campaign.result import Offence
from edgescale.harness.plan import Plan
from edgescale.harness.shrink.cuts import Cut, crowded, tight


def guesses(offence: Offence) -> Sequence[Cut]:
    """Cuts to be tried before all others, the boldest first: the request alone, no room, a crowd, what came before.

    Each right one is worth guessing again: in a world with less room, it happens sooner.
    """
    alone, before = partial(_of_these, frozenset(offence.request_ids)), partial(_until, offence.at_ms)
    found: list[Cut] = []
    if offence.request_ids:
        found += [lambda plan: _without_faults(alone(plan)), lambda plan: before(alone(plan))]
    if offence.at_ms:
        found += [lambda plan: tight(before(plan)), lambda plan: crowded(tight(before(plan)))]
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
