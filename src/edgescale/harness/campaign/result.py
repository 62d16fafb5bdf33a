"""What one run of a campaign came to: all that is counted and told of it, small enough to cross to another process."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from edgescale.harness.checkers import Outcome
from edgescale.harness.plan import Fault, Plan

if TYPE_CHECKING:
    from edgescale.harness.simulation.run import Run

# What is to be run: a seed, of which the child makes a plan, or a plan.
Job = int | Plan
# Runs a job under a mutant; "" for none. It must be a function of a module, for its name crosses to other processes.
Work = Callable[[Job, str], "Result"]
# Stands where a promise would, when it is the simulation itself that failed.
RUN = "run"
# A fault that is over in a moment disturbs for longer; so long it counts as overlapping others.
AFTERMATH_MS = 1_000


@dataclass(frozen=True, slots=True)
class Offence:
    """Why a run is not good.

    Attributes:
        promise: of a checker, such as P1, or RUN.
        rule: which part of it, for programs; two offences of one promise and rule are taken for the same bug.
        sentence: for people.
        request_ids: whom it happened to, where it is about single requests.
        at_ms: when it had happened, from the beginning of the run; 0 where nobody knows.
        story: the counterexample, told for people; may be empty.
    """

    promise: str
    rule: str
    sentence: str
    request_ids: tuple[str, ...] = ()
    at_ms: int = 0
    story: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same bug as another one."""
        return self.promise, self.rule


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        seed: of the plan.
        plan: what was run; None where it was good, or where the process died before anybody knew.
        outcomes: by promise; empty when nothing could be judged.
        offences: at most one for each promise and rule, those of P1 first; none for a good run.
        markers: how often each was hit, without those that were not.
        faults: how often each kind of fault was injected.
        pairs: kinds of faults that were in force at the same time, each pair in alphabetical order.
        requests: that ended.
        virtual_s, cpu_s: simulated time, and the processor time it took.
        turns: of the event loop.
        trace: the digest of the history; the same for the same plan, always.
        run: all there is, where that was asked for; None otherwise, as it is large.
    """

    seed: int
    plan: Plan | None = None
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    offences: tuple[Offence, ...] = ()
    markers: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    pairs: frozenset[tuple[str, str]] = frozenset()
    requests: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    turns: int = 0
    trace: str = ""
    run: "Run | None" = None

    @property
    def good(self) -> bool:
        """Whether the simulation ended well and every promise was kept for sure."""
        return not self.offences

    def shows(self, key: tuple[str, str]) -> Offence | None:
        """How it shows this bug; None when it does not."""
        return next((offence for offence in self.offences if offence.key == key), None)

    def breaks(self, promise: str) -> bool:
        """Whether this promise was found broken; a promise of which nothing can be said is not."""
        return self.outcomes.get(promise) == "invalid"


def seed_of(job: Job) -> int:
    """The seed that is run."""
    return job if isinstance(job, int) else job.seed


def ruined(job: Job, rule: str, sentence: str, *, story: str = "") -> Result:
    """The result of a run that no verdict was reached on."""
    plan = None if isinstance(job, int) else job
    return Result(seed_of(job), plan, offences=(Offence(RUN, rule, sentence, story=story),))


def overlaps(faults: Iterable[Fault]) -> frozenset[tuple[str, str]]:
    """The kinds of faults that were in force at the same time."""
    spans = [(fault.name, fault.at_ms, fault.at_ms + max(fault.for_ms, AFTERMATH_MS)) for fault in faults]
    return frozenset(
        (min(one, other), max(one, other))
        for (one, start, end), (other, other_start, other_end) in combinations(spans, 2)
        if start < other_end and other_start < end and one != other
    )
