"""What Redis saw: every entry added and deleted, every terminal state stored, every loss, at the moment it happened.

The server's own log of changes is read, so nothing that a service believes finds its way in here.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgescale.broker.fence import BODY as FENCE
from edgescale.broker.keys import GROUP, Keys, Name
from edgescale.envelope import REQUEST_ID_FIELD
from edgescale.harness.history import TERMINAL
from edgescale.harness.recording.recorder import Recorder, result_digest
from edgescale.harness.simulation.redis import RedisModel
from edgescale.harness.simulation.redis.arguments import id_text
from edgescale.harness.simulation.redis.replies import ReplyError
from edgescale.harness.simulation.redis.stream import Stream

if TYPE_CHECKING:
    from edgescale.harness.simulation.redis import Session
    from edgescale.harness.simulation.redis.commands import Command

REDIS = "redis"
FENCE_SHA = hashlib.sha1(FENCE.encode(), usedforsecurity=False).hexdigest().encode()
# The family of a stream, its partition and its lane.
Place = tuple[str, int, str]
# What the events are called of what is added to a stream, and of what is deleted.
_MOVES = {"stream": ("add", "delete"), "waiting": ("wait", "turn")}
# Commands that change which entries there are.
_MOVES_ENTRIES = frozenset({b"XADD", b"XDEL", b"XTRIM", b"DEL", b"UNLINK"})


class Watch:
    """Writes down what a Redis model does.

    Args:
        model: is watched from now on.
        recorder: takes the events.
        keys: names of everything there.

    Attributes:
        why: stands on the events of entries; set it while the nemesis, not a service, is at work.
    """

    def __init__(self, model: RedisModel, recorder: Recorder, keys: Keys) -> None:
        self.why = ""
        self._model = model
        self._recorder = recorder
        self._keys = keys
        # Request ids by entry id, of each stream as it was seen last.
        self._known: dict[Place, dict[int, str]] = {}
        # Whether the server has forgotten all scripts, and that was not made good yet.
        self._forgetful = False
        model.log.watch = self._unit
        self._listen_in()

    @contextmanager
    def meddling(self) -> Iterator[None]:
        """What becomes of groups within the block is not the services' doing; they only remove who owns nothing."""
        yield
        self._note("lost", what="groups")

    @contextmanager
    def taking_away(self) -> Iterator[None]:
        """What is deleted within the block is lost, and no service did it."""
        self.why = "lost"
        yield
        self.why = ""
        self._note("lost", what="entries")

    def _listen_in(self) -> None:
        """Mark refusals and messages that nobody hears: neither changes anything that the log would tell."""
        publish, check = self._model.subscriptions.publish, self._model.faults.check

        def published(kind: bytes, name: bytes, message: bytes) -> int:
            receivers = publish(kind, name, message)
            if not receivers:
                self._recorder.mark(REDIS, "message_lost", message.decode(errors="replace"))
            return receivers

        def checked(session: "Session", command: "Command", argv: list[bytes]) -> None:
            try:
                check(session, command, argv)
            except ReplyError:
                self._recorder.mark(REDIS, "error_state")
                raise

        self._model.subscriptions.publish = published  # type: ignore[method-assign] # as a listener would
        self._model.faults.check = checked  # type: ignore[method-assign] # as above

    def _unit(self, unit: Sequence[Sequence[bytes]]) -> None:
        """Effects that came about together."""
        moved: dict[Place, None] = {}
        marks = dict(_marks(unit))
        for words in unit:
            verb = words[0].upper()
            if verb == b"FLUSHALL":
                self._wiped()
                moved.clear()
                continue
            name = Name.parse(words[1].decode(errors="replace")) if len(words) > 1 else None
            if name is None:
                continue
            if name.family in _MOVES and verb in _MOVES_ENTRIES:
                moved[name.family, name.partition, name.rest] = None
            elif name.family == "task" and verb == b"HSET":
                self._task(name.rest, dict(zip(words[2::2], words[3::2], strict=True)))
        # Who leaves comes before who enters, and who waits is behind whoever went straight into the stream.
        for place in sorted(moved, reverse=True):
            self._compare(place, "replayed" if marks else self.why, entries=self._kept(place))
        for place in sorted(moved):
            self._replayed(place, self._compare(place, "replayed" if marks else self.why), marks)

    def _replayed(self, place: Place, entries: Sequence[int], marks: Mapping[bytes, str]) -> None:
        """Of the entries that are new in this stream, those that were dead letters."""
        for entry in entries:
            text, request_id = id_text(entry), self._known[place][entry]
            if text in marks:
                # What is stored of it from here on is another end, and not the repetition of one.
                self._recorder.stored.discard(request_id)
                fields = {"lane": place[2], "letter": marks[text]}
                if place[0] == "stream":
                    fields["entry"] = text.decode()
                self._recorder.write(REDIS, "replay", "ok", None, request_id, fields)

    def _task(self, request_id: str, fields: dict[bytes, bytes]) -> None:
        state = fields.get(b"state", b"").decode()
        if state in TERMINAL:
            digest = result_digest(fields.get(b"result", b""))
            reason = fields.get(b"reason", b"").decode(errors="replace")
            self._recorder.stored.add(request_id)
            self._recorder.note(REDIS, "store", request_id=request_id, state=state, result_digest=digest, reason=reason)

    def _wiped(self) -> None:
        for place in list(self._known):
            self._compare(place, "lost", entries={})
        self._note("lost", what="all")

    def _compare(self, place: Place, why: str, entries: "dict[int, Any] | None" = None) -> Sequence[int]:
        """Write down what was added to a stream and what was deleted since it was seen last; what was added."""
        present = self._entries(place) if entries is None else entries
        known = self._known.setdefault(place, {})
        added, deleted = _MOVES[place[0]]
        for entry in [entry for entry in known if entry not in present]:
            self._entry(deleted, place, entry, known.pop(entry), why)
        new = [entry for entry in present if entry not in known]
        for entry in new:
            known[entry] = _request_id(entry, present[entry])
            self._entry(added, place, entry, known[entry], why)
        return new

    def _entries(self, place: Place) -> dict[int, Any]:
        family, *where = place
        stream = self._model.keyspace.values.get(getattr(self._keys, family)(*where).encode())
        return stream.entries.values if isinstance(stream, Stream) else {}

    def _entry(self, operation: str, place: Place, entry: int, request_id: str, why: str) -> None:
        family, partition, lane = place
        identity = "entry" if family == "stream" else "place"
        fields: dict[str, str | int] = {"lane": lane, identity: id_text(entry).decode(), "partition": partition}
        if why:
            fields["why"] = why
        self._recorder.write(REDIS, operation, "ok", None, request_id, fields)

    def went_away(self) -> None:
        """The server is about to stop."""
        self._note("away")

    def came_back(self, *, lost: str, since_ns: int) -> None:
        """The server runs again, with what it had kept.

        Args:
            lost: what it may have lost: "all", "suffix", or nothing.
            since_ns: writes before this moment were kept, where a suffix was lost.
        """
        for place in {**self._known, **dict.fromkeys(self._places())}:
            self._compare(place, "lost", entries=self._kept(place))
            self._compare(place, "restored")
        if lost:
            self._note("lost", what=lost, since_ns=since_ns)

    def serves(self) -> None:
        """The server answers again."""
        self._forgetful = True
        self._note("serving")

    def _kept(self, place: Place) -> dict[int, Any]:
        """What is there, and was when it was seen last."""
        known = self._known.get(place, {})
        return {entry: item for entry, item in self._entries(place).items() if entry in known}

    def _places(self) -> Iterator[Place]:
        for key in self._model.keyspace.values:
            name = Name.parse(key.decode(errors="replace"))
            if name is not None and name.family in _MOVES:
                yield name.family, name.partition, name.rest

    def sample(self, lanes: Sequence[str], partitions: int, caps: dict[str, int]) -> None:
        """Write down how full each lane is."""
        # A fence is sent whole each time.
        if self._forgetful and self._model.scripts.known.keys() - {FENCE_SHA}:
            self._recorder.mark(REDIS, "script_reloaded")
            self._forgetful = False
        for lane in lanes:
            backlog, pending = self.figures(lane, partitions)
            self._recorder.note("probe", "sample", lane=lane, backlog=backlog, pending=pending, cap=caps[lane])

    def figures(self, lane: str, partitions: int) -> tuple[int, int]:
        """How many entries of a lane are queued, wait for their turn or run, and how many of these are running."""
        backlog = pending = 0
        for partition in range(partitions):
            stream = self._model.keyspace.values.get(self._keys.stream(partition, lane).encode())
            if isinstance(stream, Stream):
                backlog += len(stream.entries)
                group = stream.groups.get(GROUP.encode())
                pending += 0 if group is None else len(group.pending)
            backlog += len(self._entries(("waiting", partition, lane)))
        return backlog, pending

    def _note(self, operation: str, **fields: str | int) -> None:
        self._recorder.write(REDIS, operation, "ok", None, "", fields)


def _marks(unit: Sequence[Sequence[bytes]]) -> Iterator[tuple[bytes, str]]:
    """The entries that dead letters were put back as, each with the letter's id."""
    for words in unit:
        name = Name.parse(words[1].decode(errors="replace")) if words[0].upper() == b"SET" else None
        if name is not None and name.family == "replayed":
            yield words[2], f"{name.partition}-{name.rest}"


def _request_id(entry: int, fields: Sequence[bytes]) -> str:
    named = dict(zip(fields[::2], fields[1::2], strict=True)).get(REQUEST_ID_FIELD, b"")
    return named.decode(errors="replace") or f"entry-{id_text(entry).decode()}"
