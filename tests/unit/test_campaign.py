"""Campaigns: every seed is answered for, whatever becomes of the process that runs it."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from edgescale.harness.campaign import host as campaign_host
from edgescale.harness.campaign.campaign import Hosts, orders_of
from edgescale.harness.campaign.host import RUNS_PER_FORK, Order, results
from edgescale.harness.campaign.reach import all_caught, hunt_all, median_seeds
from edgescale.harness.campaign.result import RUN, Result
from edgescale.harness.plan import Plan
from tests import toy_campaign as toy
from tests.processes import alive


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(2, toy.work) as hosts:
        yield hosts


def by_seed(results: list[Result]) -> dict[int, str]:
    """The first offence's key of each run, "" for a good one."""
    return {result.seed: " ".join(result.offences[0].key) if result.offences else "" for result in results}


def test_every_seed_has_one_result_whatever_becomes_of_its_process(hosts: Hosts) -> None:
    told = [result for _, result in hosts.run(orders_of(range(5, 60), hosts=2))]

    assert sorted(result.seed for result in told) == list(range(5, 60))
    assert {seed: key for seed, key in by_seed(told).items() if key} == {
        toy.DEADLY: "run died",
        toy.DEAD_HOST: "run died",
        toy.SILENT: "run died",
        toy.BROKEN: "P2 two_results",
        toy.UNSURE: "P6 unknown: nothing",
    }


def test_a_death_says_how(hosts: Hosts) -> None:
    sentences = [hosts.judge(seed).offences[0].sentence for seed in (toy.DEADLY, toy.SILENT, toy.DEAD_HOST)]

    assert sentences == [
        "the process was ended by SIGKILL in the midst of the run",
        "the process ended with status 0 in the midst of the run",
        "the process that runs simulations died",
    ]


def test_a_run_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_host, "RUN_S_MAX", 1)

    (result,) = results(Order((7,)), toy.sleepy)

    assert result.offences[0].key == (RUN, "endless")


def test_a_plan_is_a_job_like_a_seed(hosts: Hosts) -> None:
    plan = Plan(toy.BROKEN)

    assert hosts.judge(plan).plan == plan
    assert hosts.judge(Plan(3)).good


def test_a_fork_does_few_runs() -> None:
    told = list(results(Order(range(100, 100 + 2 * RUNS_PER_FORK + 1)), toy.who))

    pids = [result.trace for result in told]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [RUNS_PER_FORK, RUNS_PER_FORK, 1]
    assert str(os.getpid()) not in pids


def test_an_order_ends_with_the_first_run_that_breaks_its_promise(hosts: Hosts) -> None:
    told = [result for _, result in hosts.run([Order(range(100), "broken_door", until="P2")])]

    assert [result.seed for result in told] == [0, 1, 2, 3, 4]


def test_a_promise_that_nothing_can_be_said_of_is_not_found_broken(hosts: Hosts) -> None:
    told = [result for _, result in hosts.run([Order(range(toy.UNSURE, toy.UNSURE + 3), until="P6")])]

    assert len(told) == 3


def test_variations_have_other_hash_seeds(hosts: Hosts) -> None:
    del hosts
    traces = []
    for variation in (1, 2, 1):
        with Hosts(1, toy.dreaming, variation=variation) as varied:
            traces.append(varied.judge(0).trace)

    assert traces[0] == traces[2] != traces[1]
    assert "PYTHONHASHSEED" not in os.environ


def test_leaving_ends_hosts_and_forks_in_the_midst_of_their_work() -> None:
    with Hosts(1, toy.who) as hosts:
        _, result = next(hosts.run([Order((0, toy.FOREVER))]))
        (host,) = hosts._hosts
        running = [psutil.Process(int(result.trace)), psutil.Process(host._process.pid)]
        assert alive(running) == running

    # A killed process may need a moment to be gone; pytest's timeout ends this when it never is.
    while alive(running):
        os.sched_yield()
    assert not alive(running)


def test_orders_cover_all_jobs_and_keep_all_hosts_busy() -> None:
    orders = list(orders_of(range(130), mutant="m", hosts=4))

    assert [job for order in orders for job in order.jobs] == list(range(130))
    assert len(orders) >= 8
    assert {order.mutant for order in orders} == {"m"}
    assert [list(order.jobs) for order in orders_of(range(1), hosts=4)] == [[0]]
    assert list(orders_of(())) == []


def test_a_hunt_ends_when_a_mutants_own_checker_reports_it(hosts: Hosts) -> None:
    caught = toy.mutant("broken_door", "P2")
    missed = toy.mutant("broken_window", "P4")

    *_, hunts = hunt_all(hosts, [caught, missed], range(40, 50))

    assert [(hunt.seeds, hunt.caught_by, hunt.caught_at) for hunt in hunts] == [(5, "two_results", 44), (10, "", 0)]
    assert median_seeds(hunts) == 5
    assert not all_caught(hunts)
    assert all_caught(hunts[:1])


def test_what_a_mutant_breaks_beside_its_own_promise_does_not_count(hosts: Hosts) -> None:
    *_, hunts = hunt_all(hosts, [toy.mutant("broken_door", "P1")], range(10))

    assert (hunts[0].seeds, hunts[0].caught_by, hunts[0].others) == (10, "", {("P2", "two_results")})


def test_ctrl_c_does_not_reach_hosts() -> None:
    with Hosts(1, toy.who) as hosts:
        hosts.judge(0)
        (host,) = hosts._hosts
        os.kill(host._process.pid or 0, signal.SIGINT)

        assert hosts.judge(1).seed == 1
