"""What `edgescale dead` does, and prints."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgescale.client import Client
from edgescale.errors import NotFound
from edgescale.v1 import dead_letter_pb2

SHOWN_BYTES_MAX = 400
LIST_ONLY = ("history", "fields", "fields_cut")


async def show_list(client: Client, wanted: Mapping[str, str], *, limit: int, as_json: bool) -> None:
    """Print letters, newest first."""
    letters: list[dead_letter_pb2.DeadLetter] = []
    async for letter in client.dead_letters.each(**wanted):
        letters.append(letter)
        if len(letters) == limit:
            break
    if as_json:
        _print_json({"dead_letters": [_plain(letter, *LIST_ONLY) for letter in letters]})
        return
    table = Table(box=None)
    for title in ("id", "request id", "lane", "kind", "reason", "attempts", "buried", "message"):
        # What is to be copied must not be broken over lines.
        table.add_column(title, no_wrap=title == "id")
    for letter in letters:
        facts = [letter.id, letter.request_id, letter.lane, letter.kind, letter.error.reason, str(letter.attempts)]
        table.add_row(*(_safe(fact) for fact in (*facts, _time(letter.bury_time), letter.error.message)))
    Console().print(table if letters else "no dead letters")


async def show_one(client: Client, name: str, *, as_json: bool) -> None:
    """Print all that is known of a letter."""
    letter = await client.dead_letters.show(name)
    if as_json:
        _print_json(_plain(letter))
        return
    console = Console()
    for title, value in _facts(letter):
        console.print(Text(f"{title:12}") + _safe(value))
    console.print(_attempts(letter.history))
    for field, content in letter.fields.items():
        console.print(Text(f"{len(content):,} bytes of ") + _safe(f"{field}: {content[:SHOWN_BYTES_MAX]!r}"))


def _facts(letter: dead_letter_pb2.DeadLetter) -> list[tuple[str, str]]:
    return [
        ("id", letter.id),
        ("request id", letter.request_id),
        ("lane", letter.lane),
        ("kind", letter.kind or "unknown: it does not decode"),
        ("reason", letter.error.reason),
        ("message", letter.error.message),
        ("attempts", str(letter.attempts)),
        ("replays", str(letter.replays)),
        ("accepted", _time(letter.accept_time) if letter.HasField("accept_time") else "unknown"),
        ("buried", f"{_time(letter.bury_time)} by {letter.worker}"),
    ]


def _attempts(history: Sequence[dead_letter_pb2.Attempt]) -> Table:
    table = Table("replay", "attempt", "worker", "ended", "reason", box=None)
    for attempt in history:
        ended = [attempt.worker, _time(attempt.end_time), attempt.reason] if attempt.worker else ["unknown", "", ""]
        table.add_row(*(_safe(fact) for fact in (str(attempt.replays), str(attempt.number), *ended)))
    return table


async def replay(
    client: Client, names: Sequence[str], wanted: Mapping[str, Any], *, per_second: int, as_json: bool
) -> int:
    """Replay letters and print what became of them; how many were not."""
    if names:
        letters = await client.dead_letters.replay(*names, per_second=per_second)
    else:
        letters = [letter async for letter in client.dead_letters.replay_all(**wanted, per_second=per_second)]
    left = [letter for letter in letters if letter.outcome != dead_letter_pb2.REPLAY_OUTCOME_REPLAYED]
    replayed = len(letters) - len(left)
    if as_json:
        _print_json({"replayed": replayed, "letters": [_plain(letter) for letter in letters]})
        return len(left)
    console = Console()
    console.print(f"{replayed:,} replayed")
    for (outcome, message), count in Counter((letter.outcome, letter.message) for letter in left).items():
        word = dead_letter_pb2.ReplayOutcome.Name(outcome).removeprefix("REPLAY_OUTCOME_").lower()
        console.print(_safe(f"{count:,} left, {word}: {message}"))
    return len(left)


async def purge(client: Client, names: Sequence[str], wanted: Mapping[str, Any], *, as_json: bool) -> None:
    """Purge letters and print how many there were.

    Raises:
        NotFound: none of those that were named was there.
    """
    purged = await (client.dead_letters.purge(names) if names else client.dead_letters.purge_all(**wanted))
    if names and not purged:
        raise NotFound(f"no dead letter {', '.join(names)}: it was replayed or purged, or never was")
    if as_json:
        _print_json({"purged": purged})
    else:
        Console().print(f"{purged:,} purged")


def _plain(message: Message, *without: str) -> dict[str, Any]:
    plain = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: value for name, value in plain.items() if name not in without}


def _print_json(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201 - what was asked for


def _time(time: Timestamp) -> str:
    return time.ToJsonString()


def _safe(words: str) -> Text:
    """Words of strangers on a terminal: without anything that it would obey."""
    return Text("".join(char if char.isprintable() else repr(char)[1:-1] for char in words))
