"""Scenarios: what is sent and what breaks in a run on real parts, in a file of a few lines; a seed makes a plan of it.

docs/chaos.md says how to write one.
"""

import dataclasses
import difflib
import fnmatch
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from random import Random  # noqa: TID251 - a plan is drawn from its seed
from typing import Any, TypeVar

from edgescale.config import Settings
from edgescale.errors import ConfigError
from edgescale.harness import workloads  # noqa: F401 - importing it fills the table of workloads
from edgescale.harness.chaos import meddling, network_faults, server_faults  # noqa: F401 - they fill the table of faults
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.terms import SETTINGS
from edgescale.harness.markers import MARKERS
from edgescale.harness.mutants import MUTANTS
from edgescale.harness.plan import Fault, Option, Plan, Request
from edgescale.harness.workload import WORKLOADS, Scene, requests_of

T = TypeVar("T")
FOLDER = "scenarios"
# What a fault may befall beside the services.
OTHERS = ("redis", "replica", "services")
KINDS = ("ingestion", "gateway", "worker")
# A fault ends so long before the load does, as far as possible: what comes back is seen at work again.
CALM_MS = 1_000
DRAWS, NEAR = 8, 0.1


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault that comes again and again.

    Attributes:
        name: of the fault.
        target: whom it may befall, each time one of those that fit, such as `worker-*`.
        every_ms: from one to the next.
        first_ms: when the first one comes.
        for_ms: the shortest and the longest time that it lasts.
        times: how often at most; 0 for as often as there is time.
        options: as the fault takes them; one of each list, each time.
    """

    name: str
    target: str
    every_ms: int
    first_ms: int = 1_000
    for_ms: tuple[int, int] = (0, 0)
    times: int = 0
    options: Mapping[str, Sequence[Option]] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run on real parts is to be.

    Attributes:
        name: of its file.
        title: what it is about, for people.
        workloads: names of what is sent; see `edgescale.harness.workloads`.
        blows: what breaks.
        rate: requests a second, about.
        duration_s: how long they are sent.
        services: how many processes of each.
        settings: of all services, where they differ from those of all runs on real parts.
        reaches: markers that the run must hit, or it has shown nothing.
        catches: mutants under which it must find the promise broken that they break.
        long: it is left out where all are asked for.
    """

    name: str
    title: str
    workloads: Sequence[str]
    blows: Sequence[Blow] = ()
    rate: float = 30.0
    duration_s: float = 12.0
    services: Mapping[str, int] = field(default_factory=lambda: {"ingestion": 2, "gateway": 1, "worker": 2}, hash=False)
    settings: Mapping[str, Option] = field(default_factory=dict, hash=False)
    reaches: Sequence[str] = ()
    catches: Sequence[str] = ()
    long: bool = False

    def plan(self, seed: int) -> Plan:
        """The plan that a seed makes of it."""
        rng = Random(f"{seed}/{self.name}")  # noqa: S311 - chance that can be replayed is the point
        load_ms = int(self.duration_s * 1000)
        names = [f"{kind}-{number}" for kind in KINDS for number in range(1, self.services.get(kind, 0) + 1)]
        faults = sorted(self._faults(rng, names, load_ms), key=lambda fault: (fault.at_ms, fault.name))
        requests = sorted(self._requests(rng, names, load_ms), key=lambda request: (request.at_ms, request.client))
        return Plan(
            seed=seed,
            services=dict(self.services),
            settings=dict(self.settings),
            requests=tuple(requests),
            faults=tuple(faults),
        )

    def _requests(self, rng: Random, names: Sequence[str], load_ms: int) -> list[Request]:
        doors = tuple(name for name in names if not name.startswith("worker"))
        settings = Settings(**{**SETTINGS, **self.settings})
        scene = Scene(rng, doors, load_ms, settings.lease_ms, settings.attempts_max, settings.cap_of("text"))
        wanted = self.rate * self.duration_s

        def draws(scene: Scene) -> Iterator[list[Request]]:
            return ([request for name in self.workloads for request in requests_of(name, scene)] for _ in range(DRAWS))

        # How much a workload sends grows with the scene's rate, and varies a lot. By how much it is to grow is seen
        # from some draws; of those that follow, the first one that comes near is taken, or else the nearest.
        once = sum(len(drawn) for drawn in draws(scene)) / DRAWS
        nearest: list[Request] = []
        for drawn in draws(dataclasses.replace(scene, rate=wanted / max(1, once))):
            nearest = min(nearest, drawn, key=lambda requests: abs(len(requests) - wanted))
            if abs(len(nearest) - wanted) < NEAR * wanted:
                break
        return nearest

    def _faults(self, rng: Random, names: Sequence[str], load_ms: int) -> Iterator[Fault]:
        for blow in self.blows:
            fitting = [name for name in (*names, *OTHERS) if fnmatch.fnmatch(name, blow.target)]
            moments = range(blow.first_ms, max(blow.first_ms + 1, load_ms - CALM_MS), blow.every_ms)
            for at_ms in moments[: blow.times or None]:
                options = {option: rng.choice(values) for option, values in blow.options.items()}
                yield Fault(at_ms, rng.randint(*blow.for_ms), blow.name, rng.choice(fitting), options)


def scenario_names() -> list[str]:
    """The scenarios that are there."""
    folder = resources.files(__package__) / FOLDER
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def usual_names() -> list[str]:
    """Those that are meant where all are asked for."""
    return [name for name in scenario_names() if not load_scenario(name).long]


def load_scenario(name: str) -> Scenario:
    """The scenario of this name, or in the file at this path.

    Raises:
        ConfigError: there is none, or it is wrong; says where, and what would be right.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            return parse_scenario(path.stem, path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"scenario {name}: {error.strerror}") from error
    _known("scenario", name, scenario_names())
    return parse_scenario(name, (resources.files(__package__) / FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def parse_scenario(name: str, text: str) -> Scenario:
    """Read a scenario.

    Raises:
        ConfigError: it is wrong; says where, and what would be right.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"scenario {name}: this is no TOML ({error})") from error
    try:
        return _scenario(name, raw)
    except ConfigError as error:
        raise ConfigError(f"scenario {name}: {error}") from error


def _scenario(name: str, raw: Mapping[str, Any]) -> Scenario:
    blows = raw.get("faults", [])
    if not isinstance(blows, list):
        raise ConfigError("faults must be a list of tables: [[faults]]")
    plain = {key: value for key, value in raw.items() if key != "faults"}
    scenario = _made(Scenario, {**plain, "name": name}, "the file", leave_out="blows")
    for item in scenario.workloads:
        _known("workloads", item, WORKLOADS)
    for item in scenario.settings:
        _known("settings", item, Settings.model_fields)
    for item in scenario.services:
        _known("services", item, KINDS)
    for item in scenario.reaches:
        _known("reaches", item, [marker.name for marker in MARKERS])
    for item in scenario.catches:
        _known("catches", item, [mutant.name for mutant in MUTANTS])
    made = tuple(_blow(scenario, item, f"faults[{at}]") for at, item in enumerate(blows))
    return dataclasses.replace(scenario, blows=made)


def _blow(scenario: Scenario, raw: object, where: str) -> Blow:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table")
    lasts = raw.get("for_ms", 0)
    options = {key: value if isinstance(value, list) else [value] for key, value in raw.get("options", {}).items()}
    bounds = tuple(lasts) if isinstance(lasts, list) else (lasts, lasts)
    blow = _made(Blow, {**raw, "for_ms": bounds, "options": options}, where)
    _known(f"{where}.name", blow.name, FAULTS)
    names = [f"{kind}-{number}" for kind, count in scenario.services.items() for number in range(1, count + 1)]
    if not any(fnmatch.fnmatch(name, blow.target) for name in (*names, *OTHERS)):
        raise ConfigError(f"{where}.target: nobody here is called {blow.target!r}; there are {', '.join(names)}, redis")
    if blow.every_ms < 1 or blow.first_ms < 0 or not 0 <= bounds[0] <= bounds[-1] or len(bounds) != 2:  # noqa: PLR2004 - from, to
        raise ConfigError(f"{where}: every_ms must be 1 or more, first_ms 0 or more, and for_ms a number or [from, to]")
    return blow


def _made(kind: type[T], raw: Mapping[str, Any], where: str, *, leave_out: str = "") -> T:
    fields = {item.name: item for item in dataclasses.fields(kind) if item.name != leave_out}  # type: ignore[arg-type] # all are dataclasses
    for name in raw:
        _known(where, name, fields)
    missing = [
        name
        for name, item in fields.items()
        if name not in raw and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {missing[0]}")
    return kind(**raw)


def _known(where: str, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"{where}: there is no {name!r}; {hint}")
