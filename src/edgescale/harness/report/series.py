"""What is plotted: events in buckets of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgescale.harness.checkers.calls import ENDED, Call, client_calls
from edgescale.harness.history import History
from edgescale.harness.report.units import rank, step_of

BUCKETS_MAX = 120
BUCKET_NS_MIN = 1_000_000
LANES_MAX = 8
# Who submits is plotted first.
PLACES = ("submit", "upload", "fetch", "cancel")
# How a call may end; each counts for one.
OUTCOMES = ("answered", "failed", "refused", "unclear")


@dataclass(frozen=True, slots=True)
class Buckets:
    """The time of a run, in equal pieces from 0.

    Attributes:
        width_ns: of one.
        count: how many.
    """

    width_ns: int
    count: int

    def of(self, time_ns: int) -> int:
        """The bucket of a moment."""
        return min(max(time_ns, 0) // self.width_ns, self.count - 1)

    def start_ns(self, bucket: int) -> int:
        """When it begins."""
        return bucket * self.width_ns

    @property
    def whole_ns(self) -> int:
        """The time of all together."""
        return self.width_ns * self.count

    def share(self, time_ns: int) -> float:
        """Where a moment is, from 0 to 1."""
        return min(max(time_ns / self.whole_ns, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Times:
    """How long answers took.

    Attributes:
        count: of answers.
        p50_ns, p99_ns: percentiles by nearest rank; of fewer than a hundred, the 99th is the slowest.
        slowest_ns: of all.
    """

    count: int
    p50_ns: int
    p99_ns: int
    slowest_ns: int

    @classmethod
    def of(cls, taken: Sequence[int]) -> "Times":
        """Of at least one."""
        ordered = sorted(taken)
        return cls(len(ordered), rank(ordered, 0.5), rank(ordered, 0.99), ordered[-1])


@dataclass(frozen=True, slots=True)
class Latency:
    """How long one operation took to be answered; buckets without an answer are missing."""

    operation: str
    whole: Times
    buckets: Mapping[int, Times]


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls by bucket: those that began in it, and those that ended in it, by their outcome."""

    begun: Sequence[int]
    ended: Mapping[str, Sequence[int]]
    never_ended: int


@dataclass(slots=True)
class Backlog:
    """A lane: the highest of its samples in each bucket; buckets without a sample are missing."""

    lane: str
    cap: int = 0
    backlog: dict[int, int] = field(default_factory=dict)
    pending: dict[int, int] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """Of all its samples."""
        return max([0, *self.backlog.values(), *self.pending.values()])


def buckets(history: History) -> Buckets:
    """A view: as many as a screen can show, each of a round length."""
    width_ns = step_of(max(history.end_ns, BUCKET_NS_MIN) / BUCKET_NS_MIN, BUCKETS_MAX) * BUCKET_NS_MIN
    return Buckets(width_ns, max(-(-history.end_ns // width_ns), 1))


def intended_ns(call: Call) -> int:
    """When the caller meant to call: a client that is late itself makes nobody look faster."""
    return min(call.start.number("intended_ns", call.start.time_ns), call.start.time_ns)


def taken_ns(call: Call) -> int | None:
    """How long the answer took, from the intended start; None for a call without one, and for what was to wait."""
    if call.end is None or outcome(call) not in {"answered", "failed"} or call.start.number("not_before_ms"):
        return None
    return call.end.time_ns - intended_ns(call)


def outcome(call: Call) -> str:
    """One of OUTCOMES; "" for a call that never ended."""
    if call.end is None:
        return ""
    if call.phase == "ok":
        return "answered"
    if call.reason in ENDED:
        return "failed"
    return "refused" if call.phase == "fail" else "unclear"


def operation_of(call: Call) -> str:
    """As plots tell it: who submits without waiting is answered when the task is queued, which is another matter."""
    operation = call.start.operation
    return f"{operation}, not waiting" if call.start.flag("respond_async") else operation


def _place(operation: str) -> tuple[int, str]:
    name = operation.partition(",")[0]
    return PLACES.index(name) if name in PLACES else len(PLACES), operation


def latencies(history: History) -> Sequence[Latency]:
    """A view: by operation, in buckets of the intended start."""
    split = history.view(buckets)
    taken: dict[str, dict[int, list[int]]] = {}
    for call in history.view(client_calls):
        took_ns = taken_ns(call)
        if took_ns is not None:
            of = taken.setdefault(operation_of(call), {})
            of.setdefault(split.of(intended_ns(call)), []).append(took_ns)
    return [
        Latency(
            operation,
            Times.of([took_ns for values in of.values() for took_ns in values]),
            {bucket: Times.of(values) for bucket, values in sorted(of.items())},
        )
        for operation, of in sorted(taken.items(), key=lambda item: _place(item[0]))
    ]


def rates(history: History) -> Rates:
    """A view: what clients called."""
    split = history.view(buckets)
    begun = [0] * split.count
    ended = {name: [0] * split.count for name in OUTCOMES}
    open_calls = 0
    for call in history.view(client_calls):
        begun[split.of(intended_ns(call))] += 1
        if call.end is None:
            open_calls += 1
        else:
            ended[outcome(call)][split.of(call.end.time_ns)] += 1
    return Rates(begun, ended, open_calls)


def backlogs(history: History) -> Sequence[Backlog]:
    """A view: the lanes that were sampled, the fullest first."""
    split = history.view(buckets)
    lanes: dict[str, Backlog] = {}
    for event in history.named("sample"):
        lane = lanes.setdefault(event.text("lane"), Backlog(event.text("lane")))
        bucket = split.of(event.time_ns)
        lane.cap = event.number("cap") or lane.cap or history.header.terms.caps.get(lane.lane, 0)
        lane.backlog[bucket] = max(event.number("backlog"), lane.backlog.get(bucket, 0))
        lane.pending[bucket] = max(event.number("pending"), lane.pending.get(bucket, 0))
    return sorted(lanes.values(), key=lambda lane: (-lane.highest, lane.lane))
