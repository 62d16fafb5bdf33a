"""Shrinking: what is needed stays, what is not goes, and it ends in time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgescale.harness.campaign.result import Offence
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.shrink import judge as shrink_judge
from edgescale.harness.shrink.cuts import of_the_rest, of_the_world
from edgescale.harness.shrink.guesses import guesses
from edgescale.harness.shrink.judge import Budget
from edgescale.harness.shrink.shrink import shrink

REQUESTS, FAULTS = 80, 7
NOTHING_KNOWN = Offence("P1", "unfinished", "it is still queued")


def large(**changes: object) -> Plan:
    plan = Plan(
        seed=7,
        settings={"lease_ms": 2_000, "lane_caps": "text=24,file=8", "partitions": 2},
        redis={"appendfsync": "always"},
        clocks={"worker-3": -1_500, "redis": 1_500},
        requests=tuple(request(number) for number in range(REQUESTS)),
        faults=tuple(
            Fault(137 * number, 2_345, "cut", f"worker-{number % 3 + 1}", {"times": number}) for number in range(FAULTS)
        ),
    )
    return replace(plan, **changes)  # type: ignore[arg-type] # the names of a plan's fields


def request(number: int) -> Request:
    return Request(
        1_111 + 31 * number, f"client-{number}", "text", f"r{number}", "ingestion-2", script=f"work {number}"
    )


class Bug:
    """A plan is bad when it has these requests and options of faults; counts what it is asked."""

    def __init__(self, needed: set[str], times: set[int], and_so: Callable[[Plan], bool] = lambda _: True) -> None:
        self.needed, self.times, self.and_so = needed, times, and_so
        self.asked: list[Plan] = []

    def __call__(self, plan: Plan) -> Offence | None:
        self.asked.append(plan)
        has = self.needed <= {item.request_id for item in plan.requests}
        times = {int(item.options.get("times", -1)) for item in plan.faults}
        return NOTHING_KNOWN if has and self.times <= times and self.and_so(plan) else None

    def shrunk(self, plan: Plan, budget: Budget | None = None, offence: Offence | None = None) -> Plan:
        return shrink(plan, offence or NOTHING_KNOWN, self, budget)


def test_only_what_is_needed_is_left_and_that_is_as_plain_as_it_can_be() -> None:
    bug = Bug({"r3", "r77"}, {5})

    small = bug.shrunk(large())

    assert small == Plan(
        seed=7,
        services={"ingestion": 1, "gateway": 0, "worker": 1},
        requests=(
            Request(0, "client-3", "text", "r3", "ingestion-1"),
            Request(2_000, "client-77", "text", "r77", "ingestion-1"),
        ),
        faults=(Fault(0, 0, "cut", "worker-1", {"times": 5}),),
        shuffled_to=0,
    )
    assert len(bug.asked) < 200


def test_a_bug_that_needs_what_could_be_simpler_keeps_it() -> None:
    def extra(plan: Plan) -> bool:
        return plan.services["worker"] >= 2 and plan.settings.get("partitions") == 2 and plan.faults[0].for_ms >= 1_700

    small = Bug({"r3"}, {5}, extra).shrunk(large())

    assert (small.services["worker"], small.settings, small.faults[0].for_ms) == (2, {"partitions": 2}, 2_000)
    assert (len(small.requests), len(small.faults)) == (1, 1)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.nested_given])
@given(st.sets(st.integers(0, REQUESTS - 1), max_size=5), st.sets(st.integers(0, FAULTS - 1), max_size=2))
def test_whatever_is_needed_is_found(needed: set[int], times: set[int]) -> None:
    bug = Bug({f"r{number}" for number in needed}, times)

    small = bug.shrunk(large())

    assert {item.request_id for item in small.requests} == bug.needed
    assert {item.options["times"] for item in small.faults} == times


def test_no_plan_is_run_twice() -> None:
    bug = Bug({"r3", "r77", "r78"}, {1, 5})

    bug.shrunk(large())

    digests = [plan.digest() for plan in bug.asked]
    assert len(digests) == len(set(digests))


def test_a_plan_of_which_all_is_needed_stays_as_it_is() -> None:
    plan = large(requests=large().requests[:4], faults=large().faults[:2])

    assert Bug(set(), set(), lambda candidate: candidate == plan).shrunk(plan) == plan


def test_when_its_runs_are_used_up_it_ends_with_the_best_so_far() -> None:
    sizes = []
    for runs in (0, 20, 40, 2_000):
        bug = Bug({"r3", "r77"}, {5})
        small = bug.shrunk(large(), Budget(runs=runs))
        assert bug(small)
        assert len(bug.asked) - 1 <= runs
        sizes.append(len(small.requests) + len(small.faults))

    assert sizes[0] == REQUESTS + FAULTS
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_when_its_time_is_over_it_ends_with_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr(shrink_judge, "perf_counter", lambda: next(seconds))
    bug = Bug({"r3", "r77"}, {5})

    small = bug.shrunk(large(), Budget(time_s=20))

    assert 10 < len(bug.asked) <= 20
    assert bug(small)
    assert len(small.requests) < REQUESTS


def test_the_order_of_callbacks_is_left_to_chance_only_where_that_matters() -> None:
    def turn_37_is_shuffled(plan: Plan) -> bool:
        return plan.shuffled_from <= 37 and (plan.shuffled_to > 37 or plan.shuffled_to < 0)

    small = Bug(set(), set(), turn_37_is_shuffled).shrunk(large())

    assert (small.shuffled_from, small.shuffled_to) == (37, 38)


def test_a_right_guess_saves_most_of_the_runs() -> None:
    plain, guessed = Bug({"r77"}, set()), Bug({"r77"}, set())

    assert plain.shrunk(large()) == guessed.shrunk(large(), offence=replace(NOTHING_KNOWN, request_ids=("r77",)))
    assert len(guessed.asked) < len(plain.asked) - 5


def test_a_right_guess_is_followed_by_another_one() -> None:
    room = {"text=24,file=8": 40, "text=2,file=2": 5}

    class Full(Bug):
        """It shows at a request that depends on the room there is."""

        def __call__(self, plan: Plan) -> Offence | None:
            self.asked.append(plan)
            cap = room.get(str(plan.settings.get("lane_caps")), 100)
            return replace(NOTHING_KNOWN, at_ms=plan.requests[cap].at_ms) if len(plan.requests) > cap else None

    bug = Full(set(), set())
    small = bug.shrunk(large(), offence=replace(NOTHING_KNOWN, at_ms=large().requests[40].at_ms))

    assert [len(plan.requests) for plan in bug.asked[:2]] == [41, 6]
    assert (len(small.requests), small.settings) == (6, {"lane_caps": "text=2,file=2"})


def test_a_failure_that_needs_luck_is_looked_for_with_other_seeds() -> None:
    class Lucky(Bug):
        """Alone, it shows with one seed in thirty."""

        def __call__(self, plan: Plan) -> Offence | None:
            enough = plan.seed % 30 == 0 or len(plan.requests) == REQUESTS
            return offence if super().__call__(plan) and enough else None

    offence = replace(NOTHING_KNOWN, request_ids=("r3",), at_ms=9_000)
    small = Lucky({"r3"}, {5}).shrunk(large(), offence=offence)

    assert (small.seed, len(small.requests), len(small.faults)) == (30, 1, 1)


def test_a_wrong_guess_changes_nothing() -> None:
    plain, guessed = Bug({"r3"}, {5}), Bug({"r3"}, {5})

    small = guessed.shrunk(large(), offence=replace(NOTHING_KNOWN, request_ids=("r4",), at_ms=1))

    assert small == plain.shrunk(large())


def test_guesses_keep_what_was_concerned_and_what_came_before() -> None:
    plan = large()
    offence = replace(NOTHING_KNOWN, request_ids=("r3", "r4"), at_ms=plan.requests[10].at_ms)

    kept = [(len(cut(plan).requests), len(cut(plan).faults)) for cut in guesses(offence)]

    assert kept == [(2, 0), (2, FAULTS), (11, FAULTS), (11, FAULTS), (11, 0), (11, FAULTS)]
    assert list(guesses(NOTHING_KNOWN)) == []


def cuts_of(plan: Plan) -> Iterator[Plan]:
    yield from (cut(plan) for cut in [*of_the_world(plan), *of_the_rest(plan)])


def test_every_cut_that_is_offered_makes_another_plan_that_can_be_written_and_read() -> None:
    plan = large()

    for other in cuts_of(plan):
        assert other != plan
        assert Plan.parse(other.record()) == other


def test_what_was_meant_for_a_process_that_is_left_out_goes_to_the_first() -> None:
    for plan in cuts_of(large()):
        named = {item.door for item in plan.requests} | {item.target for item in plan.faults}
        names = {f"{kind}-{number}" for kind, total in plan.services.items() for number in range(1, total + 1)}
        assert named <= names
        assert plan.clocks.keys() <= names | {"redis"}


def test_a_gateway_that_is_needed_stays() -> None:
    through = replace(request(1), door="gateway-1")

    assert all(plan.services["gateway"] == 1 for plan in cuts_of(large(requests=(through,))))
