"""Who could have taken an entry: live workers with free slots, and what disturbed them."""

from collections.abc import Iterable, Mapping, Sequence

from edgescale.harness.checkers.calls import paired
from edgescale.harness.checkers.entries import Delivery, Entries, Entry
from edgescale.harness.checkers.faults import REDIS, WORKERS, Losses, Window, windows
from edgescale.harness.checkers.spans import FOREVER, Span, Unrest
from edgescale.harness.history import Event, History


def disturbs_workers(window: Window) -> list[Span]:
    """The times in which an entry may have been given to a worker without the worker hearing of it.

    An entry that was given to a worker that then crashed, paused or lost the reply waits for its lease, and nothing
    that was recorded shows it. A worker that has been away for a while is no disturbance: others can do its work.
    """
    if window.workers_only and window.kind in {"down", "paused"}:
        return [Span(window.span.start_ns, window.span.start_ns)]
    concerned = window.touches([REDIS]) or any(name.startswith(WORKERS) for name in window.names)
    return [window.span] if concerned else []


class _Worker:
    """What is known of one incarnation at one moment."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self.slots = slots
        self.paused = False
        self.in_flight: dict[str, set[int]] = {lane: set() for lane in slots}

    def free(self, lane: str) -> int:
        """How many slots of the lane are free."""
        return 0 if self.paused else self.slots.get(lane, 0) - len(self.in_flight.get(lane, ()))


class Capacity:
    """A view: when some live worker could take an entry of a lane.

    Attributes:
        disturbed: the times in which an entry may have been given to somebody who never heard of it.
        reads: each first delivery, with the other workers that had room for it.
    """

    def __init__(self, history: History) -> None:
        self._end_ns = history.end_ns
        self._terms = history.header.terms
        self._entries = history.view(Entries)
        self._losses = history.view(Losses)
        self._workers: dict[str, _Worker] = {}
        self._none_since: dict[str, int] = {}
        self._none: dict[str, list[Span]] = {}
        self._unrest: dict[str, Unrest] = {}
        self.disturbed = Unrest(span for window in history.view(windows) for span in disturbs_workers(window))
        self.reads: list[tuple[Event, Sequence[str]]] = []
        self._sweep(history)

    def unrest(self, lane: str) -> Unrest:
        """The times in which nobody may be expected to take an entry of the lane."""
        if lane not in self._unrest:
            never = [Span(0, FOREVER)]
            self._unrest[lane] = Unrest([*self.disturbed.spans, *self._none.get(lane, never)])
        return self._unrest[lane]

    def overdue(self, entry: Entry, held: Delivery | None, since_ns: int, bound_ns: int) -> bool:
        """Whether an entry that was free since then was left lying for longer than the bound.

        Args:
            entry: that somebody should have taken.
            held: its delivery before that, None when it had none.
            since_ns: when it became free.
            bound_ns: how long it may lie while a worker could have taken it.
        """
        deadline_ns = self.unrest(entry.lane).deadline(since_ns, bound_ns)
        following = entry.after(held)
        taken_ns = min(following.event.time_ns if following else FOREVER, self._entries.over_ns(entry))
        known = not self._losses.any_in(Span(since_ns, deadline_ns))
        return known and deadline_ns < taken_ns and deadline_ns <= self._end_ns

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
                self._workers.setdefault(event.actor, _Worker(parse_slots(event.text("slots")) or self._terms.slots))
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
        if event.text("how") == "read":
            self.reads.append((event, [actor for actor in self._with_room(lane) if actor != event.actor]))
        worker = self._workers.get(event.actor)
        if worker is not None and lane in worker.in_flight:
            worker.in_flight[lane].add(event.index)
            self._weigh(event.time_ns, [lane])

    def _finish(self, event: Event, start: Event) -> None:
        """A slot became free, unless the event is a renewal that was granted."""
        if event.operation == "renew" and event.phase != "fail" and event.text("status") != "lost":
            return
        worker = self._workers.get(event.actor)
        entry = self._entries.of(start)
        if worker is not None and entry.lane in worker.in_flight:
            worker.in_flight[entry.lane] -= {delivery.event.index for delivery in entry.deliveries}
            self._weigh(event.time_ns, [entry.lane])

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


def parse_slots(text: str) -> dict[str, int]:
    """`text=8,file=2` as a mapping; what does not fit is left out."""
    pairs = (item.partition("=") for item in text.split(","))
    return {lane.strip(): int(count) for lane, _, count in pairs if count.strip().isdecimal()}
