"""The history of a run: what every participant saw, as JSON Lines; the first line is the header.

`invoke` begins a call; `ok`, `fail` (definitely not done) or `info` (unknown, never taken for `fail`) of the same actor
and call number ends it. What has no duration is one `ok`. An invoke is recorded before the act, an end after it; all
times are of one clock. Readers pass over operations and fields they do not know. `x=y`: left out, x counts as y.

    | actor       | operation | phase  | fields                                                                        |
    |-------------|-----------|--------|-------------------------------------------------------------------------------|
    | client-3    | submit    | invoke | kind, lane, digest, deadline_ns=null, respond_async=false, via="" (ingestion),|
    |             |           |        | intended_ns=time_ns: when it was to be sent, for a client that may be late;   |
    |             |           |        | not_before_ms=0, expires_ms=0: by the clock of Redis, since 1970;             |
    |             |           |        | ordering_key="": those of one key, in one lane, are done in their order       |
    |             |           | ok     | state, result_digest=null, attempts, repeated=false                           |
    |             |           | fail   | reason; with TASK_FAILED and the like, which are answers: state, task_reason  |
    |             |           | info   | reason; WAIT_EXPIRED only where the service said so: the task is accepted     |
    |             | upload    | invoke | as submit; sha256, size_bytes, cut=false (the sender gives up midway)         |
    |             |           | ends   | as submit; ok: file_id=""                                                     |
    |             | fetch     | invoke | wait_ms=0, via=""                                                             |
    |             |           | ok     | state, result_digest=null, attempts                                           |
    |             |           | fail   | reason (TASK_NOT_FOUND), and so for info                                      |
    |             | cancel    | invoke | deadline_ns=null, via=""; ends as fetch: how the task stands then             |
    | ingestion-1 | accept    | ok     | lane, entry, new: Redis has answered a submission                             |
    |  #1         | resubmit  | ok     | lane, entry: from memory, as Redis had lost it                                |
    | worker-1#2  | deliver   | ok     | lane, entry, attempt, consumer, how ("read", "reclaim")                       |
    |             | handle    | invoke | entry, attempt, consumer; also its ends ok, fail (with reason), info          |
    |             | effect    | ok     | attempt, consumer: the handler's side effect is committed                     |
    |             | settle    | invoke | entry, attempt=0, consumer, state, result_digest=null, reason=""              |
    |             |           | ok     | as invoke; status ("settled", "superseded", "lost"). Or info                  |
    |             | renew     | invoke | entry, attempt=0, consumer; ends ok, fail (or ok with status "lost"), info    |
    |             | give_back | invoke | entry, attempt=0, consumer, deliveries (that count), delay_ms=0; reason, ""   |
    |             |           |        | where nothing failed; ends as renew                                           |
    |             | line      | invoke | lane: it waits for a permit of the worker; ends ok, or fail: it waits no more |
    |             | permit    | ok     | lane: it was given one. Both only where the header has slots_max              |
    | any service | ready     | ok     | slots="" (of a worker, as "text=8,file=2"; else the header's)                 |
    |             | stopping  | ok     | a stop was asked for                                                          |
    |             | stopped   | ok     | ended in good order                                                           |
    | redis       | store     | ok     | state, result_digest=null, reason="": a terminal state was written            |
    | (sees all,  | add       | ok     | lane, entry, partition=0, why="" ("injected" past the services, "restored",   |
    |             |           |        | "replayed")                                                                   |
    |  at once)   | delete    | ok     | lane, entry, partition=0, why="" ("lost")                                     |
    |             | wait      | ok     | lane, place, partition=0, why as add: it will be added in its turn            |
    |             | turn      | ok     | lane, place, partition=0, why as delete: it waits no more; its add event, if  |
    |             |           |        | its turn has come, follows at the same moment                                 |
    |             | replay    | ok     | lane, entry="", letter: a dead letter was put back as this entry, under whose |
    |             |           |        | name it goes, or waits; its task is open again. Its add event comes before it |
    |             | away      | ok     | it stops to serve; `serving` when it does again                               |
    |             | lost      | ok     | what ("all": a wipe on purpose; "suffix": writes since `since_ns`; "groups":  |
    |             |           |        | consumer groups alone; "entries": taken out of a stream by hand), since_ns=0. |
    |             |           |        | Its add and delete events come with it                                        |
    | probe       | sample    | ok     | lane, backlog, pending, cap                                                   |
    |             | memory    | ok     | upload, bytes_held                                                            |
    |             | final     | ok     | at the very end, of each task: state, result_digest=null, attempts, reason="",|
    |             |           |        | dead (stands among the dead letters); of each lane: lane, backlog, pending;   |
    |             |           |        | of each blob: file_id, sha256, size_bytes, referenced, complete               |
    | nemesis     | fault     | invoke | fault (name), targets: nodes that suffer, without incarnation, joined by      |
    |             |           |        | commas, "*" for all; `redis`, `store`; of a link to Redis the other end alone |
    |             |           | ok     | healed                                                                        |
    |             | start,    | ok     | node ("worker-1#2"; a bare name is its present incarnation). The crash is a   |
    |             | crash,    |        | kill, stop a polite request; each is recorded before it is done, a pause too  |
    |             | pause,    |        |                                                                               |
    |             | resume,   |        |                                                                               |
    |             | stop      |        |                                                                               |
    |             | others    | ok     | with a request id: the nemesis made this id up                                |
    | anybody     | marker    | ok     | name: evidence that only this actor can see; see `markers`                    |

An entry is known by its request id (`entry-<entry>` where it has none) and its entry id; lanes share entry ids. A
`result_digest` is of the encoded TaskResult, the same wherever the same bytes are seen.
"""

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from edgescale.harness.event import Event, Phase, Scalar, as_json
from edgescale.harness.header import NS_PER_MS, Bounds, Header, HistoryError, Terms

__all__ = ["NS_PER_MS", "TERMINAL", "Bounds", "Event", "Header", "History", "HistoryError", "Phase", "Scalar", "Terms"]
T = TypeVar("T")
TERMINAL = frozenset({"succeeded", "failed", "dead_lettered", "expired", "cancelled"})


@dataclass(frozen=True)
class History:
    """All events of a run, in the order of their times, numbered from 0."""

    header: Header
    events: tuple[Event, ...]
    _views: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def ordered(cls, header: Header, events: Iterable[Event]) -> "History":
        """The history of events from one or more recorders: sorted by time, otherwise as they come, and numbered."""
        in_time = sorted(events, key=lambda event: event.time_ns)
        numbered = (
            event if event.index == index else dataclasses.replace(event, index=index)
            for index, event in enumerate(in_time)
        )
        return cls(header, tuple(numbered))

    @classmethod
    def load(cls, path: Path) -> "History":
        """Read a file that `dump` wrote.

        Raises:
            HistoryError: a line is missing or is not what it must be.
            OSError: the file cannot be read.
        """
        with path.open(encoding="utf-8") as lines:
            return cls.parse(lines)

    def dump(self, path: Path) -> None:
        """Write a file that `load` reads.

        Raises:
            OSError: the file cannot be written.
        """
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self.lines())

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "History":
        """Read lines, the header first.

        Raises:
            HistoryError: a line is missing or is not what it must be.
        """
        numbered = enumerate(lines, 1)
        header = next((_located(number, line, Header.parse) for number, line in numbered), None)
        if header is None:
            raise HistoryError("there is no header")
        events: list[Event] = []
        for number, line in numbered:
            event = _located(number, line, Event.parse)
            if event.index != len(events) or (events and event.time_ns < events[-1].time_ns):
                raise HistoryError(f"line {number}: out of order")
            events.append(event)
        return cls(header, tuple(events))

    def lines(self) -> Iterator[str]:
        """The lines of the file: header, then events. The same history makes the same lines."""
        yield as_json(self.header.record())
        yield from (event.line() for event in self.events)

    def digest(self) -> str:
        """32 hexadecimal digits that are the same for the same events, whatever the header says."""
        # Not of the lines: to write JSON takes many times as long.
        content = "\n".join(repr(event.values()) for event in self.events)
        return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[type["History"], tuple[Header, tuple[Event, ...]]]:
        """What crosses to another process: views are made anew there."""
        return History, (self.header, self.events)

    @property
    def end_ns(self) -> int:
        """The time of the last event; 0 when there is none."""
        return self.events[-1].time_ns if self.events else 0

    @cached_property
    def _by_operation(self) -> Mapping[str, Sequence[Event]]:
        return _grouped(self.events, lambda event: event.operation)

    @cached_property
    def _by_request(self) -> Mapping[str, Sequence[Event]]:
        return _grouped((event for event in self.events if event.request_id), lambda event: event.request_id)

    def named(self, *operations: str) -> Sequence[Event]:
        """The events of these operations, in order."""
        found = [event for operation in operations for event in self._by_operation.get(operation, ())]
        return found if len(operations) == 1 else sorted(found, key=lambda event: event.index)

    def about(self, request_id: str) -> Sequence[Event]:
        """The events that name this request, in order."""
        return self._by_request.get(request_id, ())

    def view(self, make: "Callable[[History], T]") -> T:
        """What `make` makes of this history; made once, however many ask."""
        if make not in self._views:
            self._views[make] = make(self)
        made: T = self._views[make]
        return made


def _grouped(events: Iterable[Event], key: Callable[[Event], str]) -> Mapping[str, Sequence[Event]]:
    groups: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    return dict(groups)


def _located(number: int, line: str, parse: Callable[[object], T]) -> T:
    """What stands in the line; errors name it."""
    try:
        return parse(json.loads(line))
    except ValueError as error:
        raise HistoryError(f"line {number}: {error}") from error
