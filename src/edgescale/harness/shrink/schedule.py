"""Shrinking of a schedule: as few turns of the event loop as possible run their callbacks in an order drawn by chance.

What is left says where the order matters. More shuffling is not always worse, so that the search finds a short window,
and not the shortest of all; every step of it is run and seen to fail.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from edgescale.harness.plan import Plan

# No run has more turns.
TURNS_MAX = 1 << 24


def calm(plan: Plan) -> Plan:
    """The plan with all callbacks first in, first out."""
    return _shuffled(plan, 0, 0)


def shortest_window(plan: Plan, is_bad: Callable[[Plan], bool]) -> Iterator[Plan]:
    """Plans that are bad, each with a shorter window of shuffled turns than the one before; none for a calm plan."""
    if plan.shuffled_to == plan.shuffled_from:
        return
    end = 1
    while end < TURNS_MAX and not is_bad(_shuffled(plan, 0, end)):
        end *= 2
    if end >= TURNS_MAX:
        return
    low = end // 2
    yield _shuffled(plan, 0, end)
    while low + 1 < end:
        middle = (low + end) // 2
        if is_bad(_shuffled(plan, 0, middle)):
            end = middle
            yield _shuffled(plan, 0, end)
        else:
            low = middle
    start, high = 0, end
    while start + 1 < high:
        middle = (start + high) // 2
        if is_bad(_shuffled(plan, middle, end)):
            start = middle
            yield _shuffled(plan, start, end)
        else:
            high = middle


def _shuffled(plan: Plan, start: int, end: int) -> Plan:
    return replace(plan, shuffled_from=start, shuffled_to=end)
