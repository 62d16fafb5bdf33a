"""Who could have taken an entry: live workers with free slots, and what disturbed them."""

from collections.abc import Iterable, Mapping, Sequence

from edgescale.harness.checkers.calls import paired
from edgescale.harness.checkers.entries import Delivery, Entries, Entry
from edgescale.harness.checkers.faults import REDIS, WORKERS, Lives, Window, windows
from edgescale.harness.checkers.losses import Losses
from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import NS_PER_MS, Event, History


class _Worker:
    """What is known of one incarnation at one moment."""

    def __init__(self, slots: Mapping[str, int], slots_max: int) -> None:
        self.slots = slots
        self._slots_max = slots_max or FOREVER
        self.paused = False
        self.in_flight: dict[str, set[int]] = {lane: set() for lane in slots}

    def free(self, lane: str) -> int:
        """How many slots of the lane are free; none where the worker has as much in its hands as it may run."""
        held = sum(len(in_flight) for in_flight in self.in_flight.values())
        if self.paused or held >= self._slots_max:
            return 0
        return self.slots.get(lane, 0) - len(self.in_flight.get(lane, ()))


class Capacity:
    """A view: when some live worker could take an entry of a lane.

    Attributes:
        outages: the times in which workers and Redis did not hear each other well.
        claims_lost: these, and the moments in which a worker died or fell asleep: what was claimed then may have been
            given to somebody who never heard of it, and nothing that was recorded shows it.
        reads_lost: the same for new entries; a read that waits at the server takes one a while later.
        reads: each first delivery, with the other workers that had room for it.
    """

    def __init__(self, history: History) -> None:
        self._end_ns = history.end_ns
        self._bounds = history.header.bounds
        self._terms = history.header.terms
        self._entries = history.view(Entries)
        self._losses = history.view(Losses)
        self._workers: dict[str, _Worker] = {}
        self._none_since: dict[str, int] = {}
        self._none: dict[str, list[Span]] = {}
        self._unrest: dict[tuple[str, Unrest], Unrest] = {}
        self.outages = Unrest(window.span for window in history.view(windows) if _cuts_off(window))
        # A read that was sent in the last moment waits for so long, and for so long its reply is expected.
        read_ns = (self._terms.block_ms + self._bounds.reply_ms) * NS_PER_MS
        falls = [Span(event.time_ns, event.time_ns) for event in history.view(Lives).falls]
        lost = [*self.outages.spans, *falls]
        self.claims_lost = Unrest(lost)
        self.reads_lost = Unrest(Span(span.start_ns, span.end_ns + read_ns) for span in lost)
        self.reads: list[tuple[Event, Sequence[str]]] = []
        self._sweep(history)

    def unrest(self, lane: str, lost: Unrest) -> Unrest:
        """The times in which nobody may be expected to take an entry of the lane.

        Args:
            lane: of the entry.
            lost: `reads_lost` for a new entry, else `claims_lost`.
        """
        if (lane, lost) not in self._unrest:
            never = [Span(0, FOREVER)]
            self._unrest[lane, lost] = Unrest([*lost.spans, *self._none.get(lane, never)])
        return self._unrest[lane, lost]

    def fetched_late(self, entry: Entry) -> int | None:
        """By which bound, in nanoseconds, a new entry should have been delivered and was not; None when all is well.

        Where the read that took it may have gone unheard only the lease brings it back.
        """
        if entry.began is None:
            return None
        since_ns, bound_ns = entry.began.time_ns, self._bounds.recovery_ms * NS_PER_MS
        unrest = self.unrest(entry.lane, self.reads_lost)
        if self.reads_lost.meets(Span(since_ns, unrest.deadline(since_ns, bound_ns))):
            bound_ns += (self._terms.lease_ms + self._terms.sweep_ms) * NS_PER_MS
        return self._overdue(entry, None, since_ns, unrest.deadline(since_ns, bound_ns), bound_ns)

    def claimed_late(self, entry: Entry, held: Delivery, since_ns: int, delay_ns: int) -> int | None:
        """By which bound, in nanoseconds, an entry should have been claimed and was not; None when all is well.

        Args:
            entry: that can be claimed a delay after it became free.
            held: its delivery before that.
            since_ns: when it became free.
            delay_ns: after that, the next sweep should claim it, within a second.
        """
        deadline_ns, bound_ns = self.claim_deadline(entry, since_ns, delay_ns)
        return self._overdue(entry, held, since_ns, deadline_ns, bound_ns)

    def claim_deadline(self, entry: Entry, since_ns: int, delay_ns: int) -> tuple[int, int]:
        """By when the entry must be claimed, and the bound that this follows from.

        Where the claim may have gone unheard only the lease brings the entry back. Where there was an outage meanwhile
        or shortly before, workers may need the time to recover.
        """
        sweep_ns = (self._terms.sweep_ms + self._bounds.reclaim_ms) * NS_PER_MS
        recovery_ns = self._bounds.recovery_ms * NS_PER_MS
        unrest = self.unrest(entry.lane, self.claims_lost)
        deadline_ns = unrest.deadline(since_ns, delay_ns + sweep_ns)
        if self.claims_lost.meets(Span(since_ns + 1, deadline_ns)):
            delay_ns = max(delay_ns, self._terms.lease_ms * NS_PER_MS)
        if self.outages.meets(Span(since_ns - recovery_ns, deadline_ns)):
            delay_ns = max(delay_ns, recovery_ns)
        bound_ns = delay_ns + sweep_ns
        return unrest.deadline(since_ns, bound_ns), bound_ns

    def _overdue(
        self, entry: Entry, held: Delivery | None, since_ns: int, deadline_ns: int, bound_ns: int
    ) -> int | None:
        taken_ns = min(_taken_ns(entry, held, since_ns), self._entries.over_ns(entry))
        known = not self._losses.any_in(Span(since_ns, deadline_ns))
        return bound_ns if known and deadline_ns < taken_ns and deadline_ns <= self._end_ns else None

    def _sweep(self, history: History) -> None:
        calls = paired(history.named("settle", "give_back", "renew"))
        ends = {call.end.index: call.start for call in calls if call.end is not None}
        for event in history.events:
            if event.index in ends:
                self._finish(event, ends[event.index])
            elif event.operation == "deliver":
                self._deliver(event)
            elif self._lives_on(event):
                lanes = {lane for worker in self._workers.values() for lane in worker.slots}
                self._weigh(event.time_ns, lanes | set(self._none))
        for lane, since_ns in self._none_since.items():
            self._none[lane].append(Span(since_ns, FOREVER))

    def _lives_on(self, event: Event) -> bool:
        """Note who lives; whether the event had to do with that."""
        match event.operation:
            case "ready" if event.name.startswith(WORKERS):
                slots = parse_slots(event.text("slots")) or self._terms.slots
                self._workers.setdefault(event.actor, _Worker(slots, self._terms.slots_max))
            case "stopping" | "stopped":
                self._workers.pop(event.actor, None)
            case "crash" | "stop":
                for actor in self._meant(event):
                    del self._workers[actor]
            case "pause" | "resume":
                for actor in self._meant(event):
                    self._workers[actor].paused = event.operation == "pause"
            case _:
                return False
        return True

    def _meant(self, event: Event) -> list[str]:
        node = event.text("node")
        return [actor for actor in self._workers if node in {actor, actor.partition("#")[0]}]

    def _deliver(self, event: Event) -> None:
        lane = event.text("lane")
        if event.text("how") != "reclaim":
            self.reads.append((event, [actor for actor in self._with_room(lane) if actor != event.actor]))
        worker = self._workers.get(event.actor)
        if worker is not None and lane in worker.in_flight:
            worker.in_flight[lane].add(event.index)
            self._weigh(event.time_ns, self._concerned(worker, lane))

    def _finish(self, event: Event, start: Event) -> None:
        """A slot became free, unless the event is a renewal that was granted."""
        if event.operation == "renew" and event.phase != "fail" and event.text("status") != "lost":
            return
        worker = self._workers.get(event.actor)
        entry = self._entries.find(start)
        if worker is not None and entry is not None and entry.lane in worker.in_flight:
            worker.in_flight[entry.lane] -= {delivery.event.index for delivery in entry.deliveries}
            self._weigh(event.time_ns, self._concerned(worker, entry.lane))

    def _concerned(self, worker: _Worker, lane: str) -> Iterable[str]:
        """The lanes that a place of this one counts for, where lanes share places."""
        return worker.slots if self._terms.slots_max else [lane]

    def _with_room(self, lane: str) -> list[str]:
        """Who could take an entry.

        The blocked reads of a lane, one for each partition, keep a slot each; whoever reclaims needs one more.
        """
        return [actor for actor, worker in self._workers.items() if worker.free(lane) > self._terms.partitions]

    def _weigh(self, now_ns: int, lanes: Iterable[str]) -> None:
        """Note where the lanes' capacity began or ended."""
        for lane in lanes:
            since_ns = self._none_since.get(lane)
            some = bool(self._with_room(lane))
            if some and lane not in self._none:
                self._none[lane] = [Span(0, now_ns)]
            elif some and since_ns is not None:
                self._none[lane].append(Span(since_ns, now_ns))
                del self._none_since[lane]
            elif not some and lane in self._none and since_ns is None:
                self._none_since[lane] = now_ns


def _taken_ns(entry: Entry, held: Delivery | None, since_ns: int) -> int:
    """When somebody else surely had the entry: it was delivered, or who had it before got it back and renewed it."""
    following = entry.after(held)
    others = [other for other in entry.deliveries if held is not None and other.consumer != held.consumer]
    renewed = [span.end_ns for other in others for span in other.renewals if span.end_ns >= since_ns]
    return min([following.event.time_ns if following else FOREVER, *renewed])


def _cuts_off(window: Window) -> bool:
    """Whether entries may be lost on their way to a worker that lives; death and sleep are moments, not windows."""
    concerned = window.touches([REDIS]) or any(name.startswith(WORKERS) for name in window.names)
    return concerned and not (window.workers_only and window.kind in {"down", "paused"})


def parse_slots(text: str) -> dict[str, int]:
    """`text=8,file=2` as a mapping; what does not fit is left out."""
    pairs = (item.partition("=") for item in text.split(","))
    return {lane.strip(): int(count) for lane, _, count in pairs if count.strip().isdecimal()}
