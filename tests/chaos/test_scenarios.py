"""Scenarios on real processes: every promise is kept, and each run reaches what it is there for.

By default a short pass over some of them, on native servers and, where there is Docker, on those in containers;
`--scenarios all` runs all, each for as long as it says. `--provider` has them run on the servers that it names; on one
that is given by its URL, those that leave it alone.
"""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

import pytest

from edgescale.broker.connection import Connection
from edgescale.harness.chaos.fault_proxy import FaultProxies
from edgescale.harness.chaos.faults import FAULTS
from edgescale.harness.chaos.provider import Provider
from edgescale.harness.chaos.providers import Choice, choose
from edgescale.harness.chaos.proxies import parse_proxy, proxy_of
from edgescale.harness.chaos.replicated import needs_replica, server_for
from edgescale.harness.chaos.run import ChaosRun, carry_out
from edgescale.harness.chaos.scenario import load_scenario, usual_names
from edgescale.harness.regressions import Regression
from tests.chaos.conftest import needed
from tests.chaos.places import Place, needed_place

SEED = 1
# In the short pass: those in which the most parts take part, and how long they send.
SHORT = ("worker-kill", "redis-restart", "reply-lost")
SHORT_S = 6.0


# Those of the short pass that are run on servers in containers, too, where there is Docker.
CONTAINED = ("worker-kill", "redis-failover")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which scenarios are run, and on whose servers, is asked of the command line."""
    choice: Choice = metafunc.config.getoption("provider")
    usual, contained = (Choice("native"), [Choice("docker")]) if choice.name == "auto" else (choice, [])
    if "scenario" in metafunc.fixturenames:
        names = usual_names() if metafunc.config.getoption("scenarios") == "all" else SHORT
        fit = [name for name in names if usual.name != "url" or leaves_it_alone(name)]
        wanted: list[tuple[str, Choice]] = [(name, usual) for name in fit]
        wanted += [(name, place) for place in contained for name in CONTAINED]
        metafunc.parametrize(("scenario", "place"), wanted, ids=[f"{name}-{told(place)}" for name, place in wanted])
    elif "proxy" in metafunc.fixturenames:
        wanted = [("built-in", usual), ("toxiproxy", usual), *(("toxiproxy", place) for place in contained)]
        metafunc.parametrize(("proxy", "place"), wanted, ids=[f"{name}-{told(place)}" for name, place in wanted])
    elif "place" in metafunc.fixturenames:
        metafunc.parametrize("place", [usual], ids=told)


def told(place: Choice) -> str:
    """A choice in the name of a test."""
    return f"{place.name}-{place.product}" if place.product else place.name


def leaves_it_alone(scenario: str) -> bool:
    """Whether nothing is done to the server."""
    plan = load_scenario(scenario).plan(SEED)
    return not needs_replica(plan) and not any(FAULTS[fault.name].needs for fault in plan.faults)


@pytest.fixture
async def provider(place: Choice, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Provider]:
    """Where servers come from; skips only containers that nobody asked for."""
    if request.config.getoption("provider").name == "auto":
        behind_toxiproxy = "proxy" in request.fixturenames and request.getfixturevalue("proxy") == "toxiproxy"
        await needed_place(Place(place.name, "redis"), *(["toxiproxy"] if behind_toxiproxy else []))
    opened = (await choose(place, data_dir=tmp_path / "servers")).provider
    async with opened, emptied(opened) if place.name == "url" else nullcontext():
        yield opened


@asynccontextmanager
async def emptied(given: Provider) -> AsyncIterator[None]:
    """What is stored in the only server of this provider meanwhile is removed: it was empty, or is refused."""
    server = await given.server()
    yield
    connection = Connection(server.url, timeout_ms=5_000)
    await connection.command("FLUSHDB")
    await connection.close()


@pytest.mark.timeout(180)
async def test_every_promise_is_kept(
    scenario: str, provider: Provider, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = load_scenario(scenario)
    if request.config.getoption("scenarios") != "all":
        wanted = dataclasses.replace(wanted, duration_s=SHORT_S)
    plan = wanted.plan(SEED)
    async with server_for(plan, provider) as server:
        run = await carry_out(plan, server, FaultProxies(SEED), tmp_path / "run")

    assert trouble_of(run) == []
    assert [name for name in wanted.reaches if not run.markers[name]] == []
    assert [name for name, times in run.struck.items() if not times] == [], "these were aimed at what nobody asked"


@pytest.mark.timeout(180)
async def test_the_verdict_is_the_same_through_either_proxy(proxy: str, provider: Provider, tmp_path: Path) -> None:
    wanted = dataclasses.replace(load_scenario("redis-blackhole"), duration_s=SHORT_S)
    async with AsyncExitStack() as ends:
        with needed():
            between = await ends.enter_async_context(proxy_of(parse_proxy(proxy), provider))
        server = await provider.server()
        run = await carry_out(wanted.plan(SEED), server, between.links(SEED, server), tmp_path / "run")

    assert trouble_of(run) == []
    assert {event.text("fault") for event in run.history.named("fault")} == {"black_hole", "one_way"}


def trouble_of(run: ChaosRun) -> list[str]:
    """What a person wants to read of a run that is not good."""
    broken = [
        f"{verdict.promise} {verdict.outcome}: {[finding.sentence for finding in verdict.findings] or verdict.doubts}"
        for verdict in run.verdicts
        if verdict.outcome != "valid"
    ]
    return [*run.failures, *broken]


@pytest.mark.timeout(180)
async def test_a_broken_promise_is_found_in_real_processes(provider: Provider, tmp_path: Path) -> None:
    """A mutant that accepts a request id twice: the checkers see it on real parts, as they do in simulation."""
    wanted = dataclasses.replace(load_scenario("reply-lost"), duration_s=SHORT_S, blows=())
    server = await provider.server()
    run = await carry_out(wanted.plan(SEED), server, FaultProxies(SEED), tmp_path / "run", mutant="no_dedupe")

    assert "P2" in {verdict.promise for verdict in run.verdicts if verdict.outcome == "invalid"}


def test_a_plan_of_a_scenario_is_the_same_each_time_and_survives_its_file(tmp_path: Path) -> None:
    plan = load_scenario("everything-at-once").plan(7)
    Regression(plan, found="").dump(tmp_path / "plan.json")

    assert load_scenario("everything-at-once").plan(7) == plan
    assert Regression.load(tmp_path / "plan.json").plan == plan
    assert load_scenario("everything-at-once").plan(8) != plan
