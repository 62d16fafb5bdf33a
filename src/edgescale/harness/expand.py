"""From a seed to a plan: a swarm, for each seed leaves out a random half of the workloads and of the faults.

What is left out gives room to the rest: a crash that always comes with a full disk hides what it would do alone.
Source: Groce et al., "Swarm Testing", ISSTA 2012.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random  # noqa: TID251 - a plan is drawn from its seed

from edgescale.harness import workloads  # noqa: F401 - importing it fills the table of workloads
from edgescale.harness.plan import Fault, Option, Plan, Request
from edgescale.harness.simulation import server_faults  # noqa: F401 - importing it fills the table of faults
from edgescale.harness.simulation.faults import FAULTS
from edgescale.harness.workload import WORKLOADS, Scene, requests_of

FAULTS_MAX = 7
ATTEMPTS_MAX = 3
# Of all runs, how many are strict.
STRICT = 1 / 3
# Without it a run may have nothing to say.
ALWAYS = "steady"


def plan_of(seed: int) -> Plan:
    """The plan that a seed stands for in this version of the code."""
    rng = Random(f"{seed}/plan")  # noqa: S311 - chance that can be replayed is the point
    counts = {"ingestion": [1, 2, 2], "gateway": [0, 1, 1, 2], "worker": [2, 3, 3]}
    services = {kind: rng.choice(choices) for kind, choices in counts.items()}
    settings, redis = _settings(rng), _redis(rng)
    # From a source of their own, so that what does not concern them is drawn as it would be without.
    strict = Random(f"{seed}/strict")  # noqa: S311 - as above
    if strict.random() < STRICT:
        settings["durability"] = "strict"
        redis = {"appendfsync": "always", "replicas": 1, "replica_lag_ms": strict.choice([0, 20, 100])}
    names = [f"{kind}-{number}" for kind, count in services.items() for number in range(1, count + 1)]
    load_ms = rng.choice([3_000, 4_000, 6_000])
    plan = Plan(
        seed=seed,
        services=services,
        settings=settings,
        redis=redis,
        clocks=_clocks(rng, [*names, "redis"]),
        requests=_requests(rng, names, load_ms, settings),
        faults=_sorted([*_faults(rng, names, load_ms), *_replica_faults(strict, redis, load_ms)]),
    )
    return replace(plan, settings=settings | _share(rng))


def _settings(rng: Random) -> dict[str, Option]:
    return {
        "partitions": rng.choice([1, 1, 2]),
        "lease_ms": rng.choice([800, 1_200, 2_000]),
        "attempts_max": ATTEMPTS_MAX,
        "consumer_retention_ms": 8_000,
        "requests_in_flight_max": rng.choice([2_000, 2_000, 2_000, 12]),
        "lane_caps": f"text={rng.choice([12, 24, 60])},file={rng.choice([2, 8])}",
        "worker_lanes": f"text={rng.choice([3, 6, 12])},heartbeat=8,file=3",
    }


def _share(rng: Random) -> dict[str, Option]:
    """In some plans the lanes of a worker share fewer places than they have slots."""
    slots_max, weights = rng.choice([0, 0, 2, 3, 6]), rng.choice(["", "text=4", "heartbeat=8,text=2", "file=2,text=5"])
    shared: dict[str, Option] = {"worker_slots_max": slots_max}
    return (shared | {"lane_weights": weights} if weights else shared) if slots_max else {}


def _redis(rng: Random) -> dict[str, Option]:
    return {"appendfsync": rng.choice(["always", "everysec"]), "replica_lag_ms": rng.choice([0, 20, 400])}


def _clocks(rng: Random, names: Sequence[str]) -> dict[str, int]:
    """Some clocks are wrong from the start."""
    return {name: rng.choice([-3_600_000, -1_500, 1_500, 3_600_000]) for name in names if rng.random() < 1 / 4}


def _half(rng: Random, names: Sequence[str]) -> list[str]:
    return [name for name in names if rng.random() < 1 / 2]


def _requests(rng: Random, names: Sequence[str], load_ms: int, settings: dict[str, Option]) -> tuple[Request, ...]:
    doors = tuple(name for name in names if not name.startswith("worker"))
    caps = dict(pair.split("=") for pair in str(settings["lane_caps"]).split(","))
    scene = Scene(
        rng, doors, load_ms, int(settings["lease_ms"]), ATTEMPTS_MAX, int(caps["text"]), rng.choice([1.5, 2.5, 4.0])
    )
    chosen = [ALWAYS, *_half(rng, [name for name in WORKLOADS if name != ALWAYS])]
    requests = [request for name in chosen for request in requests_of(name, scene)]
    return tuple(sorted(requests, key=lambda request: (request.at_ms, request.client)))


def _faults(rng: Random, names: Sequence[str], load_ms: int) -> list[Fault]:
    targets = [*names, "redis", "store", "services"]
    possible = [
        name for name, kind in FAULTS.items() if any(target.partition("-")[0] in kind.targets for target in targets)
    ]
    chosen = _half(rng, possible)
    count = rng.randrange(FAULTS_MAX + 1) if chosen else 0
    drawn = [rng.choice(chosen) for _ in range(count)]
    return [FAULTS[name].draw(rng, name, until_ms=load_ms, targets=targets) for name in drawn]


def _replica_faults(rng: Random, redis: dict[str, Option], load_ms: int) -> list[Fault]:
    """Where there are replicas, what tells whether anybody waited for them: one is behind, and takes over."""
    if "replicas" not in redis:
        return []
    drawn = [name for name in ("replica_away", "failover") if rng.random() < 2 / 3]
    faults = [FAULTS[name].draw(rng, name, until_ms=load_ms, targets=["redis", "replica"]) for name in drawn]
    # While nobody acknowledges nothing is accepted: a replica that is away all the time would leave nothing to judge.
    return [replace(fault, for_ms=min(fault.for_ms, load_ms // 3)) for fault in faults]


def _sorted(faults: list[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda fault: (fault.at_ms, fault.name)))
