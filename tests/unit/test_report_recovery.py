"""Disturbances of a run, and how soon service was normal again after each."""

from edgescale.harness.history import NS_PER_MS
from edgescale.harness.report.disturbances import Disturbance, disturbances
from edgescale.harness.report.recovery import Recovery, recoveries
from tests.support_history import ONE, Story


def story() -> Story:
    return Story(tick_ms=0).cast()


def sample(story: Story, at_ms: float, backlog: int, lane: str = "text") -> Story:
    return story.at(at_ms).tell("probe", "sample", lane=lane, backlog=backlog, pending=0, cap=3)


def found(story: Story) -> list[Disturbance]:
    return list(story.history().view(disturbances))


def only(story: Story) -> Recovery:
    [recovery] = story.history().view(recoveries)
    return recovery


def took_ms(story: Story) -> float | None:
    took_ns = only(story).took_ns
    return None if took_ns is None else took_ns / NS_PER_MS


def test_disturbances_are_numbered_by_their_beginnings_and_say_whom_they_befell() -> None:
    told = story().at(100).fault("slow_drip", "worker-2,redis").at(150).tell("redis", "lost", what="suffix")
    told.at(200).nemesis("crash", ONE).at(300).nemesis("start", "worker-1#2").at(310).tell("worker-1#2", "ready")
    told.at(400).nemesis("pause", "worker-2#1").at(500).heal().at(600).tell("redis", "away").at(900).tell("x", "note")

    assert [(item.number, item.label, item.group) for item in found(told)] == [
        (1, "slow_drip of redis, worker-2", "link"),
        (2, "Redis lost its last writes", "redis"),
        (3, "worker-1 killed", "process"),
        (4, "worker-2 paused", "process"),
        (5, "Redis away", "redis"),
    ]
    slow, lost, killed, paused, away = found(told)
    spans = [(item.span.start_ns // NS_PER_MS, item.span.end_ns // NS_PER_MS) for item in found(told)]
    assert spans == [(100, 500), (150, 150), (200, 310), (400, 900), (600, 900)]
    assert [item.healed for item in (slow, lost, killed, paused, away)] == [True, True, True, False, False]
    assert killed.starts == (300 * NS_PER_MS,)


def test_the_first_start_of_a_service_is_no_disturbance() -> None:
    assert found(story().at(50).tell("worker-3#1", "ready")) == []


def test_a_clock_is_wrong_until_it_is_set_right() -> None:
    told = story().at(100).begin("nemesis", "fault", fault="clock", targets="redis", jump_ms=3_000).at(200).heal()

    assert [item.span.end_ns for item in found(told.at(9_000).tell("x", "note"))] == [200 * NS_PER_MS]


def test_service_is_normal_when_somebody_is_answered_and_the_backlog_is_what_it_was() -> None:
    told = sample(story().submit("r1"), 50, 1).at(100).fault("cut", "redis").at(200).heal()
    told.at(300).answer("r1")
    sample(sample(told, 350, 2), 400, 1)

    assert (only(told).state, took_ms(told)) == ("normal", 200.0)


def test_a_low_backlog_alone_is_not_normal_before_somebody_is_answered() -> None:
    told = sample(story().submit("r1"), 50, 1).at(100).fault("cut", "redis").at(200).heal()
    sample(told, 210, 0).at(280).answer("r1")

    assert took_ms(told) == 80.0


def test_the_backlog_must_be_low_when_somebody_is_answered_and_not_only_before() -> None:
    told = sample(story().submit("r1"), 50, 1).at(100).fault("cut", "redis").at(200).heal()
    sample(sample(sample(told, 210, 0), 250, 2).at(280).answer("r1"), 500, 1)

    assert took_ms(told) == 300.0


def test_every_lane_must_be_sampled_anew_and_low() -> None:
    told = sample(sample(story().submit("r1"), 50, 1), 50, 0, "file").at(100).fault("cut", "redis").at(200).heal()
    sample(sample(sample(told.at(210).answer("r1"), 220, 1), 230, 1, "file"), 400, 0, "file")

    assert took_ms(told) == 200.0


def test_what_the_backlog_was_is_its_highest_within_the_bound_before() -> None:
    told = sample(sample(story().submit("r1"), 10, 3), 6_000, 1).at(6_100).fault("cut", "redis").at(6_200).heal()
    sample(sample(told.at(6_300).answer("r1"), 6_400, 2), 6_500, 1)

    assert took_ms(told) == 300.0


def test_without_samples_an_answer_is_enough() -> None:
    assert took_ms(story().submit("r1").at(100).fault("cut", "redis").at(200).heal().at(230).answer("r1")) == 30.0


def test_a_refusal_and_an_acceptance_are_no_answer() -> None:
    told = story().submit("r1").submit("r2").submit("r3", respond_async=True)
    told.at(100).fault("cut", "redis").at(200).heal().at(210).answer("r3", state="queued").refuse("r1").unclear("r2")

    assert (only(told).state, only(told).took_ns) == ("never", None)


def test_where_nobody_waits_any_more_nothing_can_be_said() -> None:
    told = story().submit("r1").answer("r1").at(100).fault("cut", "redis").at(200).heal()
    told.at(300).submit("r2", respond_async=True).answer("r2", state="queued")

    assert only(told).state == "nobody asked"


def test_a_backlog_that_stays_high_is_never_normal() -> None:
    told = story().submit("r1").at(100).fault("cut", "redis").at(200).heal().at(210).answer("r1")

    assert only(sample(told, 300, 1)).state == "never"


def test_what_never_ends_has_no_time_of_recovery() -> None:
    told = story().submit("r1").at(100).fault("cut", "redis").at(230).answer("r1")

    assert (only(told).state, only(told).took_ns) == ("not healed", None)


def test_others_that_were_in_force_are_named() -> None:
    told = story().submit("r1").at(100).fault("cut", "redis").at(200).heal()
    told.at(210).nemesis("pause", ONE).at(220).answer("r1").nemesis("resume", ONE)
    told.at(300).nemesis("crash", ONE)

    assert [recovery.beside for recovery in told.history().view(recoveries)] == [(2,), (), ()]
