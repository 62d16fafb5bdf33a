"""All checkers together: their order, what a finding tells, and that no history breaks them."""

import dataclasses

from hypothesis import example, given
from hypothesis import strategies as st

from edgescale.harness.checkers import CHECKERS, judge, overall
from edgescale.harness.checkers.base import FINDINGS_MAX
from edgescale.harness.history import Event, Header, History
from tests.support_history import ONE, TERMS, TWO, Story, broken

OPERATIONS = [
    *("submit", "fetch", "upload", "cancel", "accept", "resubmit", "deliver", "handle", "effect", "settle", "renew"),
    *("give_back", "ready", "stopping", "stopped", "store", "add", "delete", "away", "serving", "lost", "sample"),
    *("memory", "final", "fault", "start", "crash", "pause", "resume", "stop", "marker", "replay"),
]
WORDS = [
    "text",
    "r1",
    "1-0",
    ONE,
    TWO,
    "settled",
    "lost",
    "succeeded",
    "dead_lettered",
    "cancelled",
    "all",
    "reclaim",
    "TASK_FAILED",
]
FIELDS = [
    *("lane", "entry", "attempt", "consumer", "how", "status", "state", "result_digest", "reason", "node", "targets"),
    *("sha256", "size_bytes", "cut", "via", "dead", "backlog", "what", "since_ns", "why", "new", "slots", "digest"),
]
EVENTS = st.builds(
    Event,
    index=st.just(0),
    time_ns=st.integers(0, 10**11),
    actor=st.sampled_from(["client-1", "ingestion-1#1", ONE, TWO, "redis", "nemesis", "probe"]),
    operation=st.sampled_from(OPERATIONS),
    phase=st.sampled_from(["invoke", "ok", "fail", "info"]),
    call=st.none() | st.integers(0, 3),
    request_id=st.sampled_from(["", "r1", "r2"]),
    fields=st.dictionaries(
        st.sampled_from(FIELDS), st.sampled_from(WORDS) | st.integers(0, 9) | st.booleans() | st.none(), max_size=8
    ),
)


@given(st.lists(EVENTS, max_size=40), st.sampled_from(["none", 1_000]))
def test_every_history_gets_a_verdict(events: list[Event], durability: int | str) -> None:
    header = Header(terms=dataclasses.replace(TERMS, durability=durability))  # type: ignore[arg-type]
    history = History.ordered(header, events)

    verdicts = judge(history)

    assert [verdict.promise for verdict in verdicts] == [checker.promise for checker in CHECKERS]
    for verdict in verdicts:
        assert verdict.outcome == ("invalid" if verdict.findings else "unknown" if verdict.doubts else "valid")
        assert all(event in history.events for finding in verdict.findings for event in finding.story)


@given(st.lists(EVENTS, max_size=20))
@example([Event(0, 0, "worker-1", "settle", "ok", None, "", {"status": "settled"})])
def test_a_verdict_depends_on_the_history_alone(events: list[Event]) -> None:
    history = History.ordered(Header(terms=TERMS), events)

    assert judge(history) == judge(History.parse(list(history.lines())))


def test_checkers_stand_in_the_order_of_the_promises() -> None:
    assert [checker.promise for checker in CHECKERS] == [*(f"P{number}" for number in range(1, 9)), "P10", "P11"]
    assert len({checker.title for checker in CHECKERS}) == len(CHECKERS)


def test_a_finding_tells_the_whole_story_of_its_requests_and_nothing_else() -> None:
    story = Story().cast().task("r2").task("r1").fetch("r1", result_digest="other").final("r1", "r2")
    history = story.history()

    (finding,) = judge(history)[1].findings

    assert finding.request_ids == ("r1",)
    assert finding.sentence == "r1 was answered with succeeded result of r1, and with succeeded other"
    assert list(finding.story) == list(history.about("r1"))
    assert {history.events[index].operation for index in finding.indices} == {"store", "fetch"}


def test_many_findings_are_counted_and_few_are_told() -> None:
    story = Story().cast()
    for number in range(FINDINGS_MAX + 5):
        story.task(f"r{number}").fetch(f"r{number}", result_digest="other")

    verdict = judge(story.history())[1]

    assert (len(verdict.findings), verdict.counts["findings"]) == (FINDINGS_MAX, FINDINGS_MAX + 5)


def test_counts_say_what_was_judged() -> None:
    story = Story().cast().task("r1").submit("r2").refuse("r2", "TOO_MANY_REQUESTS")
    story.submit("r3").unclear("r3", "CRASHED").add("r3").deliver("r3").settle("r3").final("r1", "r3")

    counts = judge(story.history())[0].counts

    assert {name: counts[name] for name in ("attempted", "accepted", "refused", "recovered")} == {
        "attempted": 3,
        "accepted": 1,
        "refused": 1,
        "recovered": 1,
    }


def test_a_run_is_valid_when_all_promises_were_kept_and_could_be_judged() -> None:
    valid, unknown = Story().cast().task("r1").final("r1"), Story().cast().task("r1")
    invalid = Story().cast().task("r1").answer("r1")

    assert overall(judge(valid.history())) == "valid"
    assert overall(judge(unknown.history())) == "unknown"
    assert overall(judge(invalid.history())) == "invalid"
    assert overall([]) == "unknown"


def test_a_busy_day_breaks_nothing() -> None:
    story = Story(caps={"text": 50, "file": 3}, durability=1_000).cast().after(9_000)
    story.task("a1").submit("a2").accept("a2").deliver("a2").handle("a2", phase="fail").give_back("a2", deliveries=1)
    story.after(300).deliver("a2", TWO, attempt=2).settle("a2", TWO).answer("a2", attempts=2)
    story.submit("a3").accept("a3").deliver("a3").renew("a3").nemesis("crash", ONE).after(3_500)
    story.deliver("a3", TWO, attempt=2).handle("a3", TWO, attempt=2).settle("a3", TWO).answer("a3", attempts=2)
    story.nemesis("start", "worker-1#2").cast("worker-1#2").submit("a4").accept("a4").deliver("a4", "worker-1#2")
    story.nemesis("stop", "worker-1#2").tell("worker-1#2", "stopping").after(2_000).give_back("a4", "worker-1#2")
    story.tell("worker-1#2", "stopped").after(500).deliver("a4", TWO, how="reclaim").settle("a4", TWO).answer("a4")
    story.fault("slow", "redis").submit("a5").add("a5").unclear("a5").heal().tell("redis", "away")
    story.delete("a5", why="lost").tell("redis", "lost", what="suffix", since_ns=0).tell("redis", "serving")

    assert broken(story.after(9_000).task("a6", TWO).final("a1", "a2", "a3", "a4", "a6")) == set()
