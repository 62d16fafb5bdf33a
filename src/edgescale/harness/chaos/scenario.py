"""Scenarios: what is sent and what breaks in a run on real parts, in a file of a few lines; a seed makes a plan of it.

docs/chaos.md says how to write one.
"""

import dataclasses
import fnmatch
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from random import Random  # noqa: TID251 - a plan is drawn from its seed
from typing import Any, cast

from edgescale.config import Settings, load_settings
from edgescale.errors import ConfigError
from edgescale.harness import workloads  # noqa: F401 - importing it fills the table of workloads
from edgescale.harness.chaos import fields
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.fields import known, made, table
from edgescale.harness.chaos.fit import KINDS, check_option, check_target, names_of
from edgescale.harness.chaos.terms import SETTINGS
from edgescale.harness.markers import MARKERS
from edgescale.harness.mutants import MUTANTS
from edgescale.harness.plan import Fault, Option, Plan, Request
from edgescale.harness.workload import WORKLOADS, Scene, requests_of

FOLDER = "scenarios"
# A fault ends so long before the load does, as far as possible: what comes back is seen at work again.
CALM_MS = 1_000
DRAWS, NEAR = 8, 0.1
RATE_MAX, DURATION_MAX_S, PROCESSES_MAX = 10_000, 86_400, 100


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
        names = names_of(self.services)
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
            fitting = check_target("target", blow.name, blow.target, names, fnmatch.fnmatch)
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
    known("scenario", name, scenario_names())
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


def _services(where: str, value: Any) -> None:
    table(where, value)
    for kind in value:
        known(where, kind, KINDS)
    for kind in KINDS:
        # All requests come in through ingestion, and without a worker nothing would ever be done. The table says of
        # all kinds how many there are.
        fields.whole(0 if kind == "gateway" else 1, PROCESSES_MAX)(f"{where}.{kind}", value.get(kind, 0))


def _settings(where: str, value: Any) -> None:
    table(where, value)
    for name in value:
        known(where, name, Settings.model_fields)
    try:
        load_settings({}, **{**SETTINGS, **value})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _lasts(where: str, value: Any) -> None:
    bounds = value if isinstance(value, list) else [value, value]
    fits = len(bounds) == 2 and all(type(bound) is int for bound in bounds) and 0 <= bounds[0] <= bounds[1]  # noqa: PLR2004 - from, to
    if not fits:
        fields.wrong(where, "milliseconds, a whole number or [from, to]", value)


_OF_THE_FILE: Mapping[str, fields.Check] = {
    "name": fields.text,
    "title": fields.text,
    "workloads": fields.some_of(WORKLOADS, least=1),
    "rate": fields.number(f"a number above 0, at most {RATE_MAX}", lambda value: 0 < value <= RATE_MAX),
    "duration_s": fields.number(f"a number from 1 to {DURATION_MAX_S}", lambda value: 1 <= value <= DURATION_MAX_S),
    "services": _services,
    "settings": _settings,
    "reaches": fields.some_of([marker.name for marker in MARKERS]),
    "catches": fields.some_of([mutant.name for mutant in MUTANTS]),
    "long": fields.flag,
}
_OF_A_FAULT: Mapping[str, fields.Check] = {
    "name": lambda where, value: known(where, value, FAULTS),
    "target": fields.text,
    "every_ms": fields.whole(1),
    "first_ms": fields.whole(0),
    "for_ms": _lasts,
    "times": fields.whole(0),
    "options": table,
}


def _scenario(name: str, raw: Mapping[str, Any]) -> Scenario:
    blows = raw.get("faults", [])
    if not isinstance(blows, list):
        raise ConfigError("faults must be a list of tables: [[faults]]")
    plain = {key: value for key, value in raw.items() if key != "faults"}
    scenario = made(Scenario, {**plain, "name": name}, _OF_THE_FILE)
    made_of = tuple(_blow(scenario, item, f"faults[{at}]") for at, item in enumerate(blows))
    return dataclasses.replace(scenario, blows=made_of)


def _blow(scenario: Scenario, raw: object, where: str) -> Blow:
    table(where, raw)
    blow = made(Blow, cast("dict[str, Any]", raw), _OF_A_FAULT, where)
    check_target(f"{where}.target", blow.name, blow.target, names_of(scenario.services), fnmatch.fnmatch)
    options: dict[str, Any] = {
        key: value if isinstance(value, list) else [value] for key, value in blow.options.items()
    }
    for option, values in options.items():
        for value in values or [values]:
            check_option(f"{where}.options", blow.name, option, value)
    lasts: Any = blow.for_ms
    return dataclasses.replace(
        blow, options=options, for_ms=tuple(lasts) if isinstance(lasts, list | tuple) else (lasts,) * 2
    )
