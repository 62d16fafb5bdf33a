"""What a history shows of services that consumed again after a disturbance, without having been started anew."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import product

from edgescale.harness.checkers.calls import client_calls
from edgescale.harness.checkers.faults import REDIS, Window, windows
from edgescale.harness.evidence import Evidence
from edgescale.harness.history import History

# By its number in the catalogue of faults: what came over the services, and the names it has here.
DISTURBANCES: Mapping[str, tuple[str, frozenset[str]]] = {
    "silence": ("nothing had arrived for a while", frozenset({"black_hole"})),
    "resets": ("its connections were reset", frozenset({"reset"})),
    "restart": ("Redis was started anew", frozenset({""})),
    "wipe": ("Redis had lost its groups or everything", frozenset({"flush", "group_lost"})),
    "drop": ("Redis had dropped its connections", frozenset({"client_kill"})),
    "stampede": ("all had to come back at once", frozenset({"stampede", "crowded"})),
}
SERVICES = ("worker", "ingestion", "gateway")


def consumed_again(service: str, disturbance: str) -> Evidence:
    """Services of a kind that did their work after such a disturbance of theirs, or of Redis, in the same life."""
    _, faults = DISTURBANCES[disturbance]

    def count(history: History) -> int:
        work, starts = _work(history, service), _starts(history)
        struck = [
            window
            for window in history.view(windows)
            if (window.fault in faults if window.fault else "" in faults and window.kind == "away")
        ]
        return sum(
            window.touches([name, REDIS]) and _worked_on(window, work[name], starts.get(name, []))
            for window, name in product(struck, work)
        )

    return count


def _work(history: History, service: str) -> Mapping[str, list[int]]:
    """When each service of a kind was seen to do what it is there for."""
    seen: dict[str, list[int]] = {}
    for name, time_ns in _done(history, service):
        if name.startswith(service):
            seen.setdefault(name, []).append(time_ns)
    return seen


def _done(history: History, service: str) -> Iterator[tuple[str, int]]:
    if service != "gateway":
        yield from ((event.name, event.time_ns) for event in history.named("deliver", "accept"))
        return
    for call in history.view(client_calls):
        if call.end is not None and call.phase == "ok":
            # A call that began before was not made by a gateway that is well again.
            yield from ((name, call.start.time_ns) for name in sorted(call.via))


def _starts(history: History) -> Mapping[str, list[int]]:
    starts: dict[str, list[int]] = {}
    for event in history.named("ready"):
        starts.setdefault(event.name, []).append(event.time_ns)
    return starts


def _worked_on(window: Window, work: list[int], starts: list[int]) -> bool:
    """Whether it worked after the disturbance, in a life that had begun before it."""
    after = bisect_right(work, window.span.end_ns)
    if after == len(work) or not starts or starts[0] > window.span.start_ns:
        return False
    return not any(window.span.start_ns < time_ns <= work[after] for time_ns in starts)
