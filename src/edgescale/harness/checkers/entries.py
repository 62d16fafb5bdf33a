"""What became of each entry: added, delivered, renewed, given back, settled, deleted."""

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from edgescale.harness.checkers.calls import Call, paired
from edgescale.harness.checkers.spans import FOREVER, Span
from edgescale.harness.checkers.stores import stores_of
from edgescale.harness.history import Event, History

Identity = tuple[str, str]


@dataclass(slots=True, eq=False)
class Delivery:
    """An entry in the hands of one worker, and what that worker then did with it.

    Attributes:
        event: the delivery.
        renewals: the renewals that were granted; each began its lease anew at some moment of its span.
        returns: calls of give_back.
        settles: calls of settle.
        lost: the renewal that was refused, None while it owned the entry as far as it knew.
    """

    event: Event
    renewals: list[Span] = field(default_factory=list)
    returns: list[Call] = field(default_factory=list)
    settles: list[Call] = field(default_factory=list)
    lost: Event | None = None

    @property
    def actor(self) -> str:
        """The worker's incarnation."""
        return self.event.actor

    @property
    def consumer(self) -> str:
        """The worker's name in the group."""
        return consumer_of(self.event)

    @property
    def attempt(self) -> int:
        """The delivery count that came with it."""
        return self.event.number("attempt", 1)

    @property
    def returned(self) -> Call | None:
        """The call that may have given it back, None when there was none.

        Even a refusal does not say that it did not: the call may have been sent again after its first reply was lost.
        But one that was not refused goes before: a call of an earlier delivery may have ended in this one.
        """
        return next((call for call in self.returns if call.phase != "fail"), self.returns[0] if self.returns else None)

    @property
    def drained(self) -> bool:
        """Whether it may have been given back in such a way that the attempt does not count."""
        return self.returned is not None and self.returned.start.number("deliveries", self.attempt) < self.tried(
            self.returned
        )

    def tried(self, call: Call) -> int:
        """The attempt that a call of its worker ended.

        Not the delivery's own where the worker reclaimed what it was still at: it goes on with the attempt it began.
        """
        return call.start.number("attempt", self.attempt)

    @property
    def ended(self) -> bool:
        """Whether its worker is through with it, whatever became of it."""
        return self.lost is not None or any(call.end is not None for call in (*self.settles, *self.returns))


@dataclass(slots=True, eq=False)
class Entry:
    """One entry of a stream.

    Attributes:
        request_id: whose task it is; `entry-<entry id>` where the entry names none.
        entry_id: unique within lane and partition.
        lane: of its stream; empty when nothing that was recorded tells it.
        added, deleted: as Redis saw it, None where that was not recorded or has not happened.
        accepted: the acceptance that made it.
        deliveries: in the order in which Redis made them.
    """

    request_id: str
    entry_id: str
    lane: str = ""
    added: Event | None = None
    accepted: Event | None = None
    deleted: Event | None = None
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def injected(self) -> bool:
        """Whether the nemesis put it there."""
        return self.added is not None and self.added.text("why") == "injected"

    @property
    def began(self) -> Event | None:
        """When it was added, as exactly as is known."""
        return self.added or self.accepted

    def after(self, delivery: Delivery | None) -> Delivery | None:
        """The next delivery, the first one after None; None when there was none."""
        place = self.deliveries.index(delivery) + 1 if delivery else 0
        return self.deliveries[place] if place < len(self.deliveries) else None

    def last_of(self, consumer: str) -> Delivery | None:
        """The consumer's last delivery, None when it had none."""
        return next((delivery for delivery in reversed(self.deliveries) if delivery.consumer == consumer), None)


def consumer_of(event: Event) -> str:
    """The consumer that an event is about; the actor where it is not told."""
    return event.text("consumer", event.actor)


class Entries:
    """A view: all entries of a run."""

    def __init__(self, history: History) -> None:
        self.known: dict[Identity, Entry] = {}
        self._by_place: dict[tuple[str, str], Identity] = {}
        self.stores = history.view(stores_of)
        calls = paired(history.named("settle", "renew", "give_back"))
        points = [Call(event, event) for event in history.named("add", "delete", "accept", "deliver")]
        for call in sorted([*calls, *points], key=lambda call: call.start.index):
            self._note(call)
        lost = [event.index for event in history.named("lost")]
        for entry in self.known.values():
            falls = sorted([*lost, *_found_again(entry.deliveries), *_late_returns(entry.deliveries)])
            entry.deliveries.sort(key=lambda delivery: _turn(delivery, falls))

    def __iter__(self) -> Iterator[Entry]:
        """The entries, in the order in which they were first heard of."""
        return iter(self.known.values())

    def find(self, event: Event) -> Entry | None:
        """The entry that an event is about, None when it is about none."""
        return self.known.get(self._identity(event))

    def _identity(self, event: Event) -> Identity:
        entry_id = event.text("entry")
        if event.request_id:
            return event.request_id, entry_id
        return self._by_place.get((event.text("lane"), entry_id), (f"entry-{entry_id}", entry_id))

    def _of(self, event: Event) -> Entry:
        identity = self._identity(event)
        entry = self.known.setdefault(identity, Entry(*identity))
        lane = event.text("lane")
        if lane and not entry.lane:
            entry.lane = lane
            self._by_place[lane, entry.entry_id] = identity
        return entry

    def over_ns(self, entry: Entry) -> int:
        """The first moment at which the entry was surely done with; FOREVER when it never was."""
        deleted_ns = FOREVER if entry.deleted is None else entry.deleted.time_ns
        begun_ns = entry.began.time_ns if entry.began else 0
        stored = (event.time_ns for event in self.stores.get(entry.request_id, ()) if event.time_ns >= begun_ns)
        return min(deleted_ns, next(stored, FOREVER))

    def _note(self, call: Call) -> None:
        event = call.start
        if not event.text("entry"):
            return
        entry = self._of(event)
        match event.operation:
            case "add":
                entry.added = entry.added or event
                entry.deleted = None
            case "delete":
                entry.deleted = event
            case "accept" if event.flag("new"):
                entry.accepted = entry.accepted or event
            case "deliver":
                entry.deliveries.append(_following(entry.last_of(consumer_of(event)), Delivery(event)))
            case "renew" | "settle" | "give_back":
                _assign(entry.last_of(consumer_of(event)), call)


def _turn(delivery: Delivery, falls: Sequence[int]) -> tuple[int, int, bool, int]:
    """What puts the deliveries of an entry into the order in which Redis made them.

    A worker that slept hears of its delivery when others have had theirs, so the order of records says little. The
    attempt only grows, until it falls: Redis forgets, or a delivery was found again. After a return that does not
    count, it comes a second time.
    """
    index = delivery.event.index
    return bisect(falls, index), delivery.attempt, not delivery.drained, index


def _found_again(deliveries: Iterable[Delivery]) -> Iterator[int]:
    """Where a worker took for unheard of what it had handed back itself so that the attempt did not count."""
    returned: set[str] = set()
    for delivery in deliveries:
        if delivery.event.text("how") == "unheard" and delivery.consumer in returned:
            yield delivery.event.index
        if delivery.drained:
            returned.add(delivery.consumer)


def _late_returns(deliveries: Sequence[Delivery]) -> Iterator[int]:
    """Where the count fell, as a return that does not count was held up until its worker had the entry once more.

    As with seed 9434: an outage holds up the return, the lease runs out, and its own worker takes the entry over.
    """
    for place, delivery in enumerate(deliveries):
        for later, earlier in combinations(reversed(deliveries[:place]), 2):
            end = earlier.returned.end if earlier.returned is not None and earlier.drained else None
            late = end is not None and later.event.index < end.index < delivery.event.index
            if late and earlier.attempt < later.attempt >= delivery.attempt:
                yield delivery.event.index


def _following(held: Delivery | None, delivery: Delivery) -> Delivery:
    """The delivery; a worker that is given what it is still at goes on with what it has begun."""
    if held is not None:
        delivery.settles += [call for call in held.settles if _open_at(call, delivery.event)]
        delivery.returns += [call for call in held.returns if _open_at(call, delivery.event)]
    return delivery


def _open_at(call: Call, event: Event) -> bool:
    return call.end is None or call.end.index > event.index


def _assign(delivery: Delivery | None, call: Call) -> None:
    """Note what a worker did with its delivery."""
    if delivery is None:
        return
    if call.start.operation == "settle":
        delivery.settles.append(call)
    elif call.start.operation == "give_back":
        delivery.returns.append(call)
    elif call.end is not None and _refused(call.end):
        delivery.lost = delivery.lost or call.end
    elif call.phase == "ok":
        delivery.renewals.append(call.span)


def _refused(renewal: Event) -> bool:
    return renewal.phase == "fail" or renewal.text("status") == "lost"
