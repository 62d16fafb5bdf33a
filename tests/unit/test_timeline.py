"""Timelines: what a person must see of a counterexample, and nothing else."""

import pytest

from edgescale.harness.checkers import Finding, judge
from edgescale.harness.history import History
from edgescale.harness.timeline import last_events, timeline
from edgescale.harness.timeline_lines import EVENTS_MAX, FAULTS_FEW, WIDTH
from tests.support_history import ONE, TWO, Story


def crashed() -> Story:
    """r1 is taken over from a dead worker, and answered with something else later."""
    story = Story().cast().fault("slow", "worker-1").submit("r1").accept("r1").deliver("r1").renew("r1").renew("r1")
    story.after(400).nemesis("crash", ONE).nemesis("crash", "worker-9#1").heal().after(3_500)
    story.deliver("r1", TWO, attempt=2).settle("r1", TWO).answer("r1").fetch("r1", result_digest="0123456789abcdef")
    return story.final("r1")


def finding_of(history: History, promise: str = "P2") -> Finding:
    return next(finding for verdict in judge(history) if verdict.promise == promise for finding in verdict.findings)


def told(story: Story, promise: str = "P2") -> list[str]:
    history = story.history()
    return timeline(history, finding_of(history, promise)).splitlines()


def test_a_counterexample_is_told_from_its_sentence_to_its_last_event() -> None:
    assert "\n".join(told(crashed())) == (
        """r1 was answered with succeeded result of r1, and with succeeded 0123456789abcdef

faults
  A  slow of worker-1, 3.000 to 414.000 ms

request r1
          at ms       + ms  faults  who              what
          4.000      0.000  A       client-1         submit begins  kind=text lane=text digest=of r1
          5.000      1.000  A       redis            add  lane=text entry=5-0
          6.000      1.000  A       ingestion-1#1    accept  lane=text entry=5-0 new
          7.000      1.000  A       worker-1#1       deliver  lane=text how=read entry=5-0 attempt=1
          8.000      1.000  A       worker-1#1       renew begins  entry=5-0
                                   … 2 more
         11.000      3.000  A       worker-1#1       renew ok (+1.000 ms)
!       412.000    401.000  A       nemesis          crash  node=worker-1#1
      3,915.000  3,503.000          worker-2#1       deliver  lane=text how=reclaim entry=5-0 attempt=2
      3,916.000      1.000          worker-2#1       settle begins  entry=5-0 state=succeeded result=result o
>>    3,917.000      1.000          redis            store  state=succeeded result=result o
      3,918.000      1.000          redis            delete  lane=text entry=5-0
      3,919.000      1.000          worker-2#1       settle ok (+3.000 ms)  status=settled
      3,920.000      1.000          client-1         submit ok (+3,916.000 ms)  state=succeeded result=result o attempt…
      3,921.000      1.000          client-2         fetch begins
>>    3,922.000      1.000          client-2         fetch ok (+1.000 ms)  state=succeeded result=01234567 attempts=1
      3,923.000      1.000          probe            final  state=succeeded result=result o attempts=1

and beside that
          at ms       + ms  faults  who              what
        413.000      0.000  A       nemesis          crash  node=worker-9#1"""
    )


def test_the_events_that_cannot_stand_together_are_marked_and_no_others() -> None:
    history = crashed().history()
    finding = finding_of(history)

    marked = [line for line in timeline(history, finding).splitlines() if line.startswith(">>")]

    assert len(marked) == len(finding.indices) == 2


def test_what_befell_others_is_not_told_in_a_long_history() -> None:
    story = crashed()
    for number in range(20):
        story.task(f"other-{number}")

    lines = told(story)

    assert [line for line in lines if "worker-9" in line] == []
    assert len([line for line in lines if line.startswith("!")]) == 1


def test_a_few_faults_are_told_whenever_they_were() -> None:
    story = Story().cast().fault("old", "redis").heal().after(500).task("r1").fetch("r1", result_digest="other")

    assert "  A  old of redis, 3.000 to 4.000 ms" in told(story.final("r1"))


def test_a_fault_that_was_over_before_is_not_told() -> None:
    story = Story().cast()
    for _ in range(FAULTS_FEW + 1):
        story.fault("old", "redis").heal().after(500)
    story.task("r1").fetch("r1", result_digest="other").final("r1")

    assert not any("old" in line for line in told(story))


def test_a_fault_that_came_between_the_last_act_and_the_end_of_the_run_is_not_told() -> None:
    story = Story().cast().task("r1").fetch("r1", result_digest="other")
    for _ in range(FAULTS_FEW + 1):
        story.fault("late", "redis").heal().after(500)

    assert not any("late" in line for line in told(story.final("r1")))


def test_faults_that_overlap_have_letters_of_their_own() -> None:
    story = Story().cast().begin("nemesis", "fault", "", fault="one", targets="redis")
    story.begin("nemesis", "fault", "x", fault="two", targets="*")
    story.task("r1").fetch("r1", result_digest="other").final("r1")

    lines = told(story)

    assert "  A  one of redis, 3.000 to 20.000 ms" in lines
    assert any("  AB  " in line and "store" in line for line in lines)


def test_lines_are_never_too_long() -> None:
    story = Story().cast().fault("slow", ",".join(f"worker-{number}" for number in range(40)))
    story.task("r1").fetch("r1", result_digest="other", note="very " * 50).final("r1")

    lines = told(story)

    assert max(map(len, lines)) == WIDTH
    assert sum(line.endswith("…") for line in lines) == 2


@pytest.mark.parametrize("steps", [1, 40, 400])
def test_a_long_story_is_told_by_its_ends_and_its_marked_events(steps: int) -> None:
    story = Story().cast().submit("r1").accept("r1")
    for _ in range(steps):
        story.deliver("r1").renew("r1").deliver("r1", TWO).renew("r1", TWO)
    story.settle("r1").answer("r1").fetch("r1", result_digest="other")

    lines = told(story.final("r1"))

    assert len(lines) < EVENTS_MAX
    assert sum(line.startswith(">>") for line in lines) == 2
    assert any("submit begins" in line for line in lines)
    assert any("final" in line for line in lines)


def test_a_finding_about_no_request_is_told_by_its_events() -> None:
    story = Story().cast().task("r1").tell("probe", "sample", lane="text", backlog=7, pending=2, cap=3).final("r1")

    lines = told(story, "P3")

    assert lines[0] == "lane text held 7 entries, over its cap of 3"
    assert [line for line in lines if line.startswith(">>") and "backlog=7" in line]


def test_a_short_history_is_told_to_the_end() -> None:
    story = Story().cast().task("r2").task("r1").fetch("r1", result_digest="other").final("r1", "r2")

    lines = told(story)

    assert "and beside that" in lines
    assert any("r2: submit begins" in line for line in lines[lines.index("and beside that") :])


def test_what_stands_with_a_request_is_not_told_again() -> None:
    story = (
        Story().cast().submit("r1").accept("r1").nemesis("crash", ONE).fetch("r1", result_digest="other").settle("r1")
    )
    story.answer("r1").final("r1")

    assert sum("crash" in line for line in told(story)) == 1


def test_others_are_left_out_of_a_long_history() -> None:
    story = Story().cast().task("r1").fetch("r1", result_digest="other").final("r1")
    for number in range(20):
        story.task(f"other-{number}")

    assert not any("other-" in line for line in told(story))


def test_the_end_of_a_history_is_told_where_a_run_failed() -> None:
    lines = last_events(crashed().history(), 3).splitlines()

    assert lines[lines.index("") + 1] == "the last 3 of 26 events"
    assert [line.split()[3].strip(":") for line in lines[-3:]] == ["r1", "final", "final"]


def test_an_empty_history_has_an_end_too() -> None:
    assert last_events(Story().history()).startswith("the last 0 of 0 events\n")
