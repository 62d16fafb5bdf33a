"""A plan: all that is going to be done to the services in one run. Written down, it can be read, shrunk and run again.

A seed says the same only to the code that made a plan of it; a plan file says the same to every later version that
reads its format.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from edgescale.errors import ConfigError

T = TypeVar("T")
FORMAT = 1
Action = Literal["text", "heartbeat", "file", "fetch", "cancel"]
Option = str | int
UNCUT = -1


@dataclass(frozen=True, slots=True)
class Request:
    """What one client sends.

    Attributes:
        at_ms: when, from the beginning of the run.
        client: who; a client may send several.
        action: what is sent; `fetch` asks for the result of an id, `cancel` ends its task.
        request_id: of the task; two requests of one id are a repetition, or a conflict where their contents differ.
        door: the service that it goes to, such as `ingestion-1` or `gateway-1`.
        script: how the handler of a text behaves; see `edgescale.harness.scripted`.
        deadline_ms: how long the client listens.
        respond_async: it wants no answer but that the task is accepted.
        cancel_after_ms: when it loses interest; 0 for never.
        size_bytes: of a file.
        pause_ms: of a sender of a file, before each chunk; through a gateway it sends as fast as it can.
        cut_after_bytes: where the upload breaks off; UNCUT for not at all.
        not_before_ms: of a text, how long after it is sent it is due; 0 for at once.
        expires_ms: of a text, how long after it is sent it is too late to start it; 0 for never.
        ordering_key: of a text; empty for none.
        workload: what drew it, for people.
    """

    at_ms: int
    client: str
    action: Action
    request_id: str
    door: str
    script: str = ""
    deadline_ms: int = 20_000
    respond_async: bool = False
    cancel_after_ms: int = 0
    size_bytes: int = 0
    pause_ms: int = 5
    cut_after_bytes: int = UNCUT
    not_before_ms: int = 0
    expires_ms: int = 0
    ordering_key: str = ""
    workload: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the nemesis does.

    Attributes:
        at_ms: when it begins, from the beginning of the run.
        for_ms: how long it lasts; 0 for what is over in a moment.
        name: of the fault; see `edgescale.harness.simulation.faults`.
        target: the node that suffers, such as `worker-1` or `redis`.
        options: as the fault takes them.
    """

    at_ms: int
    for_ms: int
    name: str
    target: str
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        seed: of everything that is drawn while it runs: the schedule, latencies, jitter, ids.
        services: how many processes of each: ingestion, gateway, worker.
        settings: of all services, where they differ from those of the simulation.
        redis: of the server: `appendfsync` (always, everysec, no), `replica_lag_ms`, `replicas` (that acknowledge).
        clocks: how wrong the clocks of nodes are, in milliseconds.
        requests, faults: by their time.
        shuffled_from, shuffled_to: the turns of the event loop whose callbacks run in any order; all others run first
            in, first out. A negative end is none.
    """

    seed: int
    services: Mapping[str, int] = field(default_factory=lambda: {"ingestion": 2, "gateway": 1, "worker": 3}, hash=False)
    settings: Mapping[str, Option] = field(default_factory=dict, hash=False)
    redis: Mapping[str, Option] = field(default_factory=dict, hash=False)
    clocks: Mapping[str, int] = field(default_factory=dict, hash=False)
    requests: tuple[Request, ...] = ()
    faults: tuple[Fault, ...] = ()
    shuffled_from: int = 0
    shuffled_to: int = -1

    def record(self) -> dict[str, Any]:
        """As JSON can take it; `parse` reads it. What has its default is left out."""
        return {"format": FORMAT, **_lean(self)}

    def digest(self) -> str:
        """16 hexadecimal digits that are the same for the same plan."""
        text = json.dumps(self.record(), sort_keys=True).encode()
        return hashlib.blake2b(text, digest_size=8).hexdigest()

    def dump(self, path: Path) -> None:
        """Write a file that `load` reads: one request or fault a line.

        Raises:
            OSError: the file cannot be written.
        """
        path.write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """The plan as a file has it: JSON, one request or fault a line."""
        record = self.record()
        parts = []
        for name, value in record.items():
            if isinstance(value, list):
                lines = ",\n".join(f"    {json.dumps(item)}" for item in value)
                parts.append(f"  {json.dumps(name)}: [\n{lines}\n  ]")
            else:
                parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read a file that `dump` wrote.

        Raises:
            ConfigError: it cannot be read, or is no plan of this format; says what would be right.
        """
        try:
            return cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"plan {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"plan {path}: this is not JSON ({error})") from error
        except ConfigError as error:
            raise ConfigError(f"plan {path}: {error}") from error

    @classmethod
    def parse(cls, raw: object) -> "Plan":
        """Read a record.

        Raises:
            ConfigError: another format, an unknown name, a value that is missing or of another type.
        """
        if not isinstance(raw, dict) or "format" not in raw:
            raise ConfigError(f'a plan is an object with "format": {FORMAT}')
        if raw["format"] != FORMAT:
            raise ConfigError(f"this is a plan of format {raw['format']!r}, and this version reads format {FORMAT}")
        plain = {name: value for name, value in raw.items() if name not in {"format", "requests", "faults"}}
        requests = tuple(_made(Request, item, f"requests[{at}]") for at, item in _items(raw, "requests"))
        faults = tuple(_made(Fault, item, f"faults[{at}]") for at, item in _items(raw, "faults"))
        return dataclasses.replace(_made(cls, plain, "plan"), requests=requests, faults=faults)


def _lean(record: Any) -> dict[str, Any]:
    lean: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if isinstance(value, tuple):
            lean[item.name] = [_lean(part) for part in value]
        elif value != item.default and not (item.default_factory is dict and not value):
            lean[item.name] = dict(value) if isinstance(value, Mapping) else value
    return lean


def _items(raw: Mapping[str, Any], name: str) -> list[tuple[int, Any]]:
    items = raw.get(name, [])
    if not isinstance(items, list):
        raise ConfigError(f"{name} must be a list")
    return list(enumerate(items))


def _made(kind: type[T], raw: object, where: str) -> T:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be an object")
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type] # all are dataclasses
    for name, value in raw.items():
        if name not in fields:
            raise ConfigError(f"{where} has an unknown field {name!r}; known are {', '.join(fields)}")
        if not _fits(value, fields[name].type):
            raise ConfigError(f"{where}.{name} cannot be {value!r}; it must be {_shown(fields[name].type)}")
    missing = [name for name, item in fields.items() if _required(item) and name not in raw]
    if missing:
        raise ConfigError(f"{where} lacks {missing[0]!r}")
    return kind(**raw)


def _required(item: "dataclasses.Field[Any]") -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _fits(value: object, kind: Any) -> bool:
    """Whether the value may stand where the dataclass says `kind`."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(kind, UnionType):
        return any(_fits(value, each) for each in get_args(kind))
    if get_origin(kind) is not None:
        return isinstance(value, dict) and all(_fits(item, get_args(kind)[1]) for item in value.values())
    return type(value) is kind


def _shown(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    return {int: "a whole number", str: "a string", bool: "true or false"}.get(kind, "an object")
