"""Cuts: what can be left out of a plan or made simpler. A cut takes a plan and gives a simpler one, or the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

from edgescale.harness.plan import Fault, Option, Plan, Request

T = TypeVar("T")
Cut = Callable[[Plan], Plan]
# Times are rounded down to these, the coarsest first; durations are cut down to them, too.
ROUND_MS = (1_000, 100)
# Of a request, what can have its default. Its workload is for people.
PLAIN = ("script", "deadline_ms", "respond_async", "cancel_after_ms", "cut_after_bytes")
SMALL_BYTES = 1_000
# Settings that make room for a failure with few requests.
TIGHT: Mapping[str, Option] = {
    "lane_caps": "text=2,file=2",
    "partitions": 1,
    "worker_lanes": "text=1,heartbeat=1,file=1",
}


def leaving_out(plan: Plan, count: int) -> Sequence[Cut]:
    """Cuts that together leave everything out: so many blocks of faults and of requests, or all of them one by one."""
    faults = _blocks(plan.faults, count // 2)
    requests = _blocks(plan.requests, count - len(faults))
    return [
        *(partial(_without_faults, frozenset(block)) for block in faults),
        *(partial(_without_requests, frozenset(block)) for block in requests),
    ]


def _blocks(items: Sequence[T], count: int) -> Sequence[Sequence[T]]:
    count = min(count, len(items))
    bounds = [len(items) * number // count for number in range(count + 1)] if count else []
    return [items[start:end] for start, end in pairwise(bounds)]


def _without_requests(block: frozenset[Request], plan: Plan) -> Plan:
    return replace(plan, requests=tuple(request for request in plan.requests if request not in block))


def _without_faults(block: frozenset[Fault], plan: Plan) -> Plan:
    return replace(plan, faults=tuple(fault for fault in plan.faults if fault not in block))


def of_the_world(plan: Plan) -> Sequence[Cut]:
    """Cuts of what requests and faults meet: fewer processes, default settings or tight ones, right clocks."""
    return [cut for cut in _of_the_world(plan) if cut(plan) != plan]


def of_the_rest(plan: Plan) -> Sequence[Cut]:
    """Cuts of what requests and faults are: rounder times, shorter faults, plainer requests."""
    cuts = [*_of_times(), *_of_faults(plan), *_of_requests(plan)]
    return [cut for cut in cuts if cut(plan) != plan]


def _of_the_world(plan: Plan) -> Iterator[Cut]:
    for name in ("settings", "redis", "clocks"):
        for key in getattr(plan, name):
            yield partial(_without_key, name, key)
    yield from (partial(_tightened, name) for name in TIGHT)
    for kind, count in plan.services.items():
        least = 0 if kind == "gateway" else 1
        yield from (partial(_with_fewer, kind, fewer) for fewer in range(least, count))


def _without_key(name: str, key: str, plan: Plan) -> Plan:
    values: Mapping[str, object] = getattr(plan, name)
    return replace(plan, **{name: {other: value for other, value in values.items() if other != key}})  # type: ignore[arg-type]


def tight(plan: Plan) -> Plan:
    """The plan in a world with as little room as possible."""
    for name in TIGHT:
        plan = _tightened(name, plan)
    return plan


def crowded(plan: Plan) -> Plan:
    """The plan with everything at whole seconds, and so much of it at once."""
    return _rounded(ROUND_MS[0], plan)


def _tightened(name: str, plan: Plan) -> Plan:
    return replace(plan, settings={**plan.settings, name: TIGHT[name]}) if name in plan.settings else plan


def _with_fewer(kind: str, count: int, plan: Plan) -> Plan:
    """So many processes; what was meant for those that are gone is for the first one, where there is one."""
    if plan.services.get(kind, 0) <= count:
        return plan

    def gone(name: str) -> bool:
        head, _, number = name.partition("-")
        return head == kind and number.isdecimal() and int(number) > count

    named = [request.door for request in plan.requests] + [fault.target for fault in plan.faults]
    if count == 0 and any(gone(name) for name in named):
        return plan
    first = f"{kind}-1"
    return replace(
        plan,
        services={**plan.services, kind: count},
        clocks={name: offset for name, offset in plan.clocks.items() if not gone(name)},
        requests=tuple(replace(item, door=first) if gone(item.door) else item for item in plan.requests),
        faults=tuple(replace(item, target=first) if gone(item.target) else item for item in plan.faults),
    )


def _of_times() -> Iterator[Cut]:
    yield _without_idleness
    yield from (partial(_rounded, step) for step in ROUND_MS)


def _without_idleness(plan: Plan) -> Plan:
    """Nothing waits for the first thing that is done."""
    times = [request.at_ms for request in plan.requests] + [fault.at_ms for fault in plan.faults]
    first = min(times, default=0)
    return _at(plan, lambda at_ms: at_ms - first)


def _rounded(step_ms: int, plan: Plan) -> Plan:
    return _at(plan, lambda at_ms: at_ms // step_ms * step_ms)


def _at(plan: Plan, move: Callable[[int], int]) -> Plan:
    return replace(
        plan,
        requests=tuple(replace(item, at_ms=move(item.at_ms)) for item in plan.requests),
        faults=tuple(replace(item, at_ms=move(item.at_ms)) for item in plan.faults),
    )


def _of_faults(plan: Plan) -> Iterator[Cut]:
    for place, fault in enumerate(plan.faults):
        yield from (partial(_shorter, place, for_ms) for for_ms in (0, *reversed(ROUND_MS)))
        yield from (partial(_with_rounder_length, place, step) for step in ROUND_MS)
        yield from (partial(_without_option, place, option) for option in fault.options)


def _shorter(place: int, for_ms: int, plan: Plan) -> Plan:
    return _with_fault(plan, place, for_ms=min(plan.faults[place].for_ms, for_ms))


def _with_rounder_length(place: int, step_ms: int, plan: Plan) -> Plan:
    return _with_fault(plan, place, for_ms=plan.faults[place].for_ms // step_ms * step_ms)


def _without_option(place: int, option: str, plan: Plan) -> Plan:
    options = {name: value for name, value in plan.faults[place].options.items() if name != option}
    return _with_fault(plan, place, options=options)


def _with_fault(plan: Plan, place: int, **changes: object) -> Plan:
    faults = list(plan.faults)
    faults[place] = replace(faults[place], **changes)  # type: ignore[arg-type] # of the fields' own types
    return replace(plan, faults=tuple(faults))


def _of_requests(plan: Plan) -> Iterator[Cut]:
    defaults = {item.name: item.default for item in fields(Request) if item.default is not MISSING}
    for place in range(len(plan.requests)):
        yield from (partial(_with_request, place, {name: defaults[name]}) for name in PLAIN)
        yield partial(_smaller, place)


def _smaller(place: int, plan: Plan) -> Plan:
    return _with_request(place, {"size_bytes": min(plan.requests[place].size_bytes, SMALL_BYTES)}, plan)


def _with_request(place: int, changes: Mapping[str, object], plan: Plan) -> Plan:
    requests = list(plan.requests)
    requests[place] = replace(requests[place], **changes)  # type: ignore[arg-type] # of the fields' own types
    return replace(plan, requests=tuple(requests))
