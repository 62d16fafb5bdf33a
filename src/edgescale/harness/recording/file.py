"""A recorder whose events outlive the process: each is in its file before anything else happens."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgescale.harness.event import Event, Phase, Scalar
from edgescale.harness.recording.recorder import Recorder

# Calls that one process can number.
CALLS_MAX = 1_000_000_000


class FileRecorder(Recorder):
    """Writes events to a file, one line each, at once: whoever is killed has told all that it saw.

    What the operating system was given survives the process, though not the machine.

    Args:
        path: made anew.
        now_ns: as the base's.
        number: of the process within the run, unlike any other's: calls are numbered from there.
    """

    def __init__(self, path: Path, now_ns: Callable[[], int], *, number: int) -> None:
        super().__init__(now_ns)
        self._calls = number * CALLS_MAX
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._written = 0

    def write(
        self,
        actor: str,
        operation: str,
        phase: Phase,
        call: int | None,
        request_id: str,
        fields: Mapping[str, Scalar],
    ) -> None:
        """As the base's."""
        event = Event(self._written, self._now_ns(), actor, operation, phase, call, request_id, fields)
        self._written += 1
        os.write(self._file, event.line().encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_events(path: Path) -> Iterator[Event]:
    """What a recorder wrote to its file; a last line that its process was killed at is left out.

    Raises:
        HistoryError: a line is no event.
    """
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield Event.parse(json.loads(line))
