"""Markers: each is hit by a history that shows its evidence, and not by a calm day."""

from collections.abc import Callable
from typing import Any

import pytest

from edgescale.harness.evidence import told
from edgescale.harness.markers import MARKERS, hits, total
from tests.support_history import ONE, TWO, Story

DEAD: dict[str, Any] = {"state": "dead_lettered", "result_digest": None}


def queued(request_id: str = "r1") -> Story:
    return Story().cast().submit(request_id).accept(request_id)


def held() -> Story:
    return queued().deliver("r1")


def handling() -> Story:
    return held().begin(ONE, "handle", "r1", attempt=1, consumer=ONE)


def interrupted(story: Story) -> Story:
    return story.end(ONE, "handle", "r1", "fail", reason="CancelledError")


def crashed_with(story: Story, worker: str, attempt: int) -> Story:
    return story.deliver("r1", worker, attempt=attempt).nemesis("crash", worker).after(3_500)


def sent(**fields: Any) -> Story:
    return Story().cast().begin("client-1", "upload", "u1", sha256="aa", size_bytes=3, **fields)


def refused(reason: str) -> Callable[[], Story]:
    return lambda: Story().cast().submit("r1").refuse("r1", reason)


def unclear(reason: str) -> Callable[[], Story]:
    return lambda: held().settle("r1").unclear("r1", reason)


def alive() -> Story:
    return queued().tell("gateway-1#1", "ready")


def called(story: Story) -> Story:
    via: Any = {"via": "gateway-1,ingestion-2"}
    return story.submit("r2", **via).answer("r2")


# What may come over services, and what each of them does once it consumes again.
STRUCK: dict[str, Callable[[Story], Story]] = {
    "silence": lambda story: story.fault("black_hole", "worker-1,ingestion-1,gateway-1").heal(),
    "resets": lambda story: story.fault("reset", "worker-1,ingestion-1,gateway-1").heal(),
    "restart": lambda story: story.tell("redis", "away").tell("redis", "serving"),
    "wipe": lambda story: story.fault("group_lost", "redis").heal(),
    "drop": lambda story: story.fault("client_kill", "redis").heal(),
    "stampede": lambda story: story.fault("crowded", "redis").heal(),
}
WORK: dict[str, Callable[[Story], Story]] = {
    "worker": lambda story: story.deliver("r1"),
    "ingestion": lambda story: story.attach("r1"),
    "gateway": called,
}


def survived(strike: Callable[[Story], Story], work: Callable[[Story], Story]) -> Callable[[], Story]:
    return lambda: work(strike(alive()))


# Every marker that a history can show, with one that shows it once.
SHOWN: dict[str, Callable[[], Story]] = {
    "cap_refused": refused("LANE_FULL"),
    "crowd_refused": refused("TOO_MANY_REQUESTS"),
    "memory_refused": refused("OVERLOADED"),
    "conflict_refused": refused("REQUEST_ID_CONFLICT"),
    "lane_at_cap": lambda: Story().tell("probe", "sample", lane="text", backlog=3, pending=0),
    "attached": lambda: Story().cast().task("r1").attach("r1"),
    "two_doors": lambda: Story().cast().task("r1").attach("r1", "ingestion-2#1"),
    "repeated_after_lost_reply": lambda: Story().cast().submit("r1").add("r1").attach("r1"),
    "recovered": unclear("UNAVAILABLE"),
    "caller_left": unclear("CANCELLED"),
    "door_died": lambda: held().nemesis("crash", "ingestion-1#1").after(2).unclear("r1", "UNAVAILABLE").settle("r1"),
    "cancelled_queued": lambda: queued().cancel("r1"),
    "cancelled_running": lambda: interrupted(handling().cancel("r1")),
    "cancelled_between_tries": lambda: held().give_back("r1", deliveries=1).cancel("r1"),
    "cancelled_too_late": lambda: (
        Story().cast().task("r1").begin("client-2", "cancel", "r1").end("client-2", "cancel", "r1", state="succeeded")
    ),
    "waited_its_turn": lambda: (
        Story().tell("redis", "wait", "r1", place="1-0").tell("redis", "turn", "r1", place="1-0")
    ),
    "passed_the_lost": lambda: Story().tell("redis", "lost", what="entries").tell("redis", "turn", "r1", place="1-0"),
    "fetched_after_wait": lambda: held().unclear("r1", "WAIT_EXPIRED").settle("r1").fetch("r1"),
    "shared_result": lambda: Story().cast().submit("r1", "client-2").task("r1").answer("r1", "client-2"),
    "waited_out_outage": lambda: held().tell("redis", "away").tell("redis", "serving").settle("r1").answer("r1"),
    "waited_out_loss": lambda: queued().tell("redis", "lost", what="all").store("r1").answer("r1"),
    "resubmitted": lambda: queued().tell("ingestion-1#1", "resubmit", "r1"),
    "reclaimed_from_dead": lambda: crashed_with(queued(), ONE, 1).deliver("r1", TWO, attempt=2),
    "reclaimed_from_sleeper": lambda: held().nemesis("pause", ONE).after(3_500).deliver("r1", TWO, attempt=2),
    "reclaimed_from_cut_off": lambda: held().fault("cut", "worker-1").after(3_500).deliver("r1", TWO, attempt=2),
    "reclaimed_unheard": lambda: queued().deliver("r1", TWO, attempt=2),
    "heard_after_all": lambda: queued().deliver("r1", how="unheard"),
    "lane_waited": lambda: Story().cast().begin(ONE, "line", lane="text").end(ONE, "line"),
    "zombie_fenced": lambda: held().settling("r1").settled("r1", status="lost"),
    "race_lost": lambda: held().settling("r1").settled("r1", status="superseded"),
    "renewal_refused": lambda: held().renew("r1", phase="fail"),
    "lease_outlived": lambda: held().after(2_000).renew("r1").after(2_000).settle("r1"),
    "died_after_storing": lambda: held().settling("r1").store("r1").nemesis("crash", ONE),
    "settle_unclear": lambda: (
        held().settling("r1").end(ONE, "settle", "r1", "info").after(3_500).deliver("r1", TWO, attempt=2)
    ),
    "effect_repeated": lambda: held().tell(ONE, "effect", "r1").tell(TWO, "effect", "r1").settle("r1"),
    "tried_again": lambda: held().give_back("r1", deliveries=1).deliver("r1", attempt=2).settle("r1"),
    "rejected": lambda: held().settle("r1", state="failed", result_digest=None),
    "exhausted": lambda: queued().deliver("r1", attempt=3).settle("r1", **DEAD),
    "undecodable": lambda: held().settle("r1", **DEAD, reason="UNDECODABLE"),
    "replayed": lambda: held().settle("r1", **DEAD).replay("r1"),
    "replayed_well": lambda: held().settle("r1", **DEAD).replay("r1").deliver("r1").settle("r1"),
    "killer": lambda: crashed_with(crashed_with(queued(), ONE, 1), TWO, 2),
    "finished_in_grace": lambda: held().tell(ONE, "stopping").settle("r1"),
    "handed_over": lambda: held().give_back("r1").deliver("r1", TWO, how="reclaim"),
    "rolled": lambda: Story().cast().tell(ONE, "stopping").tell(ONE, "stopped").cast("worker-1#2"),
    "upload_refused": lambda: sent().end("client-1", "upload", "u1", "fail", reason="LANE_FULL"),
    "upload_kept": lambda: sent().end("client-1", "upload", "u1", state="succeeded"),
    "upload_cut": lambda: sent(cut=True).end("client-1", "upload", "u1", "info", reason="CANCELLED"),
    "upload_failed": lambda: sent().end("client-1", "upload", "u1", "fail", reason="NOT_AS_DECLARED"),
    "outage_survived": lambda: queued().tell("redis", "away").tell("redis", "serving").deliver("r1"),
    "wipe_survived": lambda: queued().tell("redis", "lost", what="all").deliver("r1"),
    "groups_survived": lambda: queued().tell("redis", "lost", what="groups").deliver("r1"),
    **{
        f"{service}_after_{disturbance}": survived(strike, work)
        for disturbance, strike in STRUCK.items()
        for service, work in WORK.items()
    },
    "entries_lost": lambda: queued().delete("r1", why="lost"),
    "untold_lost": lambda: queued().delete("r1", why="lost").tell("redis", "lost", what="suffix"),
    "told_kept": lambda: Story().cast().task("r1").after(1).tell("redis", "lost", what="suffix").final("r1"),
    "sleeper_woke": lambda: held().nemesis("pause", ONE).nemesis("resume", ONE).renew("r1"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_marker_is_hit_by_its_evidence(name: str) -> None:
    assert hits(SHOWN[name]().history())[name] == 1


def test_a_calm_day_hits_nothing() -> None:
    story = (
        Story().cast().task("r1").task("r2", TWO).fetch("r1").submit("r3").accept("r3").unclear("r3", "WAIT_EXPIRED")
    )
    story.deliver("r3").handle("r3").renew("r3").tell(ONE, "effect", "r3").settle("r3")
    story.tell("probe", "sample", lane="text", backlog=0, pending=0).final("r1", "r2", "r3")

    assert {name: count for name, count in hits(story.history()).items() if count} == {}


@pytest.mark.parametrize("marker", MARKERS, ids=lambda marker: marker.name)
def test_who_alone_sees_the_evidence_says_so(marker: Any) -> None:
    story = Story().tell("ingestion-1#1", "marker", name=marker.name).tell(ONE, "marker", name=marker.name)

    assert {name: count for name, count in hits(story.history()).items() if count} == {marker.name: 2}


def test_every_marker_can_be_hit() -> None:
    names = [marker.name for marker in MARKERS]

    assert len(set(names)) == len(names) >= 40
    assert {marker.name for marker in MARKERS if marker.evidence is not told} == set(SHOWN)


def test_a_campaign_adds_up_its_runs_and_shows_what_was_never_hit() -> None:
    counts = [hits(SHOWN["cap_refused"]().history()), hits(SHOWN["cap_refused"]().history())]

    assert total(counts)["cap_refused"] == 2
    assert total(counts)["killer"] == total([])["cap_refused"] == 0


# What looks like the evidence and is not.
ALMOST: dict[str, Callable[[], Story]] = {
    "worker_after_drop": lambda: WORK["worker"](STRUCK["drop"](alive()).tell("worker-1#2", "ready")),
    "worker_after_silence": lambda: queued().fault("black_hole", "worker-2").heal().deliver("r1"),
    "gateway_after_resets": lambda: (
        alive().submit("r2", via="gateway-1").fault("reset", "gateway-1").heal().answer("r2")
    ),
    "repeated_after_lost_reply": lambda: queued().attach("r1"),
    "cancelled_queued": lambda: held().cancel("r1"),
    "cancelled_running": lambda: interrupted(handling()).cancel("r1"),
    "cancelled_between_tries": lambda: held().give_back("r1", deliveries=1).deliver("r1", attempt=2).cancel("r1"),
    "cancelled_too_late": lambda: queued().cancel("r1"),
    "recovered": lambda: held().unclear("r1", "CRASHED"),
    "fetched_after_wait": lambda: queued().fetch("r1").unclear("r1", "WAIT_EXPIRED"),
    "shared_result": lambda: Story().cast().task("r1").submit("r1").answer("r1"),
    "waited_out_outage": lambda: queued().answer("r1").tell("redis", "away").tell("redis", "serving"),
    "reclaimed_from_dead": lambda: held().give_back("r1").nemesis("crash", ONE).deliver("r1", TWO, how="reclaim"),
    "reclaimed_from_sleeper": lambda: held().nemesis("pause", TWO).after(3_500).deliver("r1", TWO, attempt=2),
    "reclaimed_unheard": lambda: held().deliver("r1", TWO, attempt=2),
    "lease_outlived": lambda: held().after(2_000).renew("r1").settle("r1"),
    "died_after_storing": lambda: held().settling("r1").nemesis("crash", ONE).store("r1"),
    "effect_repeated": lambda: held().tell(ONE, "effect", "r1").tell(TWO, "effect", "r1"),
    "tried_again": lambda: held().give_back("r1", deliveries=0).deliver("r1", TWO, how="reclaim").settle("r1"),
    "exhausted": lambda: queued().deliver("r1", attempt=3).settle("r1"),
    "replayed_well": lambda: held().settle("r1").replay("r1").deliver("r1").settle("r1", **DEAD),
    "killer": lambda: crashed_with(queued(), ONE, 1).deliver("r1", TWO, attempt=2),
    "finished_in_grace": lambda: held().settle("r1").tell(ONE, "stopping"),
    "handed_over": lambda: held().give_back("r1").deliver("r1", ONE, how="reclaim"),
    "rolled": lambda: Story().cast().tell(ONE, "stopped").cast("worker-2#2"),
    "outage_survived": lambda: held().tell("redis", "away").tell("redis", "serving"),
    "wipe_survived": lambda: queued().tell("redis", "lost", what="suffix").deliver("r1"),
    "untold_lost": lambda: queued().delete("r1", why="lost").tell("redis", "lost", what="all"),
    "told_kept": lambda: held().tell("redis", "lost", what="suffix").settle("r1").answer("r1").final("r1"),
    "sleeper_woke": lambda: held().nemesis("pause", ONE).renew("r1").nemesis("resume", ONE),
}


@pytest.mark.parametrize("name", ALMOST)
def test_a_marker_is_not_hit_by_what_only_looks_like_it(name: str) -> None:
    assert hits(ALMOST[name]().history())[name] == 0
