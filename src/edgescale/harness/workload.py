"""Workloads: what clients send in a run. Each is a function that draws requests; a plan mixes some of them.

To write one, draw from `scene.rng` alone, give every request an id that no other workload makes, and say in the
docstring what it is for: the first line is what people are shown.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251 - drawn from the simulation's seed

from edgescale.harness.plan import Option, Request

Workload = Callable[["Scene"], Iterator[Request]]
WORKLOADS: dict[str, Workload] = {}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a workload is drawn for.

    Attributes:
        rng: all that is drawn comes from here.
        doors: the services that take requests, such as `ingestion-1` and `gateway-1`.
        load_ms: requests are sent from 0 to here.
        lease_ms: of the workers.
        attempts_max: deliveries of a task.
        cap: of the text lane.
        rate: how much is sent, 1 for the usual.
    """

    rng: Random
    doors: tuple[str, ...]
    load_ms: int
    lease_ms: int
    attempts_max: int
    cap: int
    rate: float = 1.0

    def moment(self) -> int:
        """Any time of the load."""
        return self.rng.randrange(self.load_ms)

    def door(self) -> str:
        """Any door."""
        return self.rng.choice(self.doors)

    def some(self, usual: int) -> range:
        """About so many, and one at least."""
        return range(max(1, round(self.rng.uniform(0.5, 1.5) * usual * self.rate)))

    def text(self, name: str, script: str, **changes: Option) -> Request:
        """A text with this script, at any time through any door, as far as `changes` say nothing else."""
        request = Request(self.moment(), f"client-{name}", "text", name, self.door(), script)
        return replace(request, **changes)  # type: ignore[arg-type] # the names of a request's fields


def workload(make: Workload) -> Workload:
    """Add a workload to those that plans are drawn from."""
    WORKLOADS[make.__name__] = make
    return make


def requests_of(name: str, scene: Scene) -> Iterator[Request]:
    """The requests of one workload."""
    for request in WORKLOADS[name](scene):
        yield replace(request, workload=name)
