"""Dead letters as they are told: their ids, what stands in them, which ones are meant, and where a page ends."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from edgescale.errors import InvalidInput

ENTRY_PREFIX = b"entry."
_ID = re.compile(r"(\d{1,6})-(\d{1,20})-(\d{1,20})", re.ASCII)
SILENT_MAX = 100
Outcome = Literal["replayed", "missing", "conflict", "empty", "full"]


class LetterId(NamedTuple):
    """Where a letter stands, written `<partition>-<milliseconds>-<sequence>`; the last two are its id in the stream.

    Letters are listed in the opposite order of these: newest first.
    """

    milliseconds: int
    sequence: int
    partition: int

    def __str__(self) -> str:
        """As callers know it."""
        return f"{self.partition}-{self.entry_id}"

    @property
    def entry_id(self) -> str:
        """Its id in the partition's stream."""
        return f"{self.milliseconds}-{self.sequence}"

    @classmethod
    def of(cls, partition: int, entry_id: str) -> Self:
        """The id of a letter that was read."""
        milliseconds, _, sequence = entry_id.partition("-")
        return cls(int(milliseconds), int(sequence), partition)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read an id as callers write it; None when it is none."""
        found = _ID.fullmatch(text)
        return cls(int(found[2]), int(found[3]), int(found[1])) if found else None

    @property
    def token(self) -> str:
        """Names the place behind this letter, for the next page."""
        return base64.urlsafe_b64encode(str(self).encode()).decode().rstrip("=")

    @classmethod
    def of_token(cls, token: str) -> Self | None:
        """The letter that the last page ended with; None for the first page.

        Raises:
            InvalidInput: the token is not one of ours.
        """
        if not token:
            return None
        try:
            found = cls.parse(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
        except (ValueError, binascii.Error):
            found = None
        if found is None:
            raise InvalidInput("page_token", "must be the next_page_token of an earlier answer, or empty")
        return found


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Letters that have all of these; an empty one is passed over."""

    lane: str = ""
    kind: str = ""
    reason: str = ""
    request_id: str = ""

    def __bool__(self) -> bool:
        """Whether it leaves anything out."""
        return bool(self.lane or self.kind or self.reason or self.request_id)


EVERY = LetterFilter()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task.

    Attributes:
        number: the delivery, from 1; counted anew after each replay.
        replays: how often the task had been replayed before.
        worker: whose it was; empty where nothing is known of it, as when its worker died.
        ended_ms: by the broker's clock, since 1970; 0 where nothing is known of it.
        reason: why it failed.
    """

    number: int
    replays: int = 0
    worker: str = ""
    ended_ms: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        id: its own.
        request_id: of its task; `entry-<entry>` where the entry named none.
        kind: empty where the entry did not decode.
        lane: that it came from, and goes back to.
        reason, message: why its last attempt failed.
        attempts: deliveries, since it was accepted or last replayed.
        entry: its id in the lane's stream.
        worker: who buried it.
        accepted_ms: when its task was accepted, by the broker's clock, since 1970; 0 when unknown.
        file_id, ordering_key: of its task, else empty.
        replays: how often the task had been replayed before.
        size_bytes: of the entry's fields.
        history: its attempts, in order; empty in a list.
        fields: the entry's, as they stood in the stream; empty in a list.
    """

    id: LetterId
    request_id: str
    kind: str
    lane: str
    reason: str
    message: str
    attempts: int
    entry: str
    worker: str
    accepted_ms: int
    file_id: str
    replays: int
    ordering_key: str
    size_bytes: int
    history: Sequence[Attempt] = ()
    fields: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def buried_ms(self) -> int:
        """When, by the broker's clock, since 1970."""
        return self.id.milliseconds

    @classmethod
    def parse(cls, letter_id: LetterId, own: Mapping[bytes, bytes], size_bytes: int, **details: Any) -> Self:
        """Read a letter's own fields; what is missing or damaged is empty, for it must be shown whatever it is."""
        return cls(
            id=letter_id,
            request_id=_text(own, b"request_id"),
            kind=_text(own, b"kind"),
            lane=_text(own, b"lane"),
            reason=_text(own, b"reason"),
            message=_text(own, b"message"),
            attempts=_number(own, b"attempts"),
            entry=_text(own, b"entry"),
            worker=_text(own, b"consumer"),
            accepted_ms=_number(own, b"accepted_ms"),
            file_id=_text(own, b"file_id"),
            replays=_number(own, b"replays"),
            ordering_key=_text(own, b"ordering_key"),
            size_bytes=size_bytes,
            **details,
        )

    @classmethod
    def parse_whole(cls, letter_id: LetterId, stored: Mapping[bytes, bytes]) -> Self:
        """Read all that is stored."""
        fields = {
            name.removeprefix(ENTRY_PREFIX): value for name, value in stored.items() if name.startswith(ENTRY_PREFIX)
        }
        size_bytes = sum(len(name) + len(value) for name, value in fields.items())
        history = _attempts(_text(stored, b"history"), _number(stored, b"attempts"), _number(stored, b"replays"))
        return cls.parse(letter_id, stored, size_bytes, history=history, fields=fields)


@dataclass(frozen=True, slots=True)
class LetterPage:
    """Some letters, newest first, and the token of the next page (empty after the last).

    A page may be short, or empty, and yet have a next one: so many were looked at that had not what was asked for.
    """

    letters: Sequence[Letter]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of one letter that was to be replayed.

    Attributes:
        id: of the letter, or what the caller named it by.
        request_id: of its task; empty where there was no letter.
        lane: as `request_id`.
        outcome: `replayed`, or why nothing was changed.
        state: of the task in its other life, for a conflict; else empty.
        cap: of a lane that is full; else 0.
    """

    id: str
    request_id: str = ""
    lane: str = ""
    outcome: Outcome = "missing"
    state: str = ""
    cap: int = 0

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return {
            "replayed": f"task {self.request_id} is queued in lane {self.lane!r} again",
            "missing": f"there is no dead letter {self.id!r}: it was replayed or purged, or never was",
            "conflict": f"task {self.request_id} has had another life since this letter: it is {self.state}",
            "empty": "the entry was deleted before it was buried; there is nothing to replay",
            "full": f"lane {self.lane!r} is full",
        }[self.outcome]


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")


def _number(fields: Mapping[bytes, bytes], name: bytes) -> int:
    return int(value) if (value := fields.get(name, b"")).isdigit() else 0


def _attempts(history: str, attempts: int, replays: int) -> list[Attempt]:
    """The attempts that the lines tell of, and those of the last life that none tells of."""
    told = list(_lines(history))
    known = {attempt.number for attempt in told if attempt.replays == replays}
    # Long histories have lost their oldest lines, and nobody wants to read of a thousand gaps.
    gaps = [Attempt(number, replays) for number in {*range(max(1, attempts - SILENT_MAX), attempts + 1)} - known]
    return sorted([*told, *gaps], key=lambda attempt: (attempt.replays, attempt.number))


def _lines(history: str) -> Iterator[Attempt]:
    for line in history.split("\n"):
        try:
            told = json.loads(line)
            yield Attempt(told["attempt"], told["replays"], told["worker"], told["at_ms"], told["reason"])
        except (ValueError, KeyError, TypeError):
            continue
