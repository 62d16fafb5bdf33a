"""Verdicts while a run goes on: what is seen is judged, and what is too young to be seen whole is not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from edgescale.harness.chaos import referee as module
from edgescale.harness.chaos.referee import SETTLED_MS, Referee
from edgescale.harness.event import Event
from edgescale.harness.header import NS_PER_MS
from tests.support import eventually
from tests.support_history import Story


@dataclass
class Site:
    """Has seen a story."""

    story: Story
    later_ms: float = SETTLED_MS

    def now_ns(self) -> int:
        return int((self.story.now_ms + self.later_ms) * NS_PER_MS)

    def events(self) -> Sequence[Event]:
        return self.story.events


def verdicts(site: Site) -> dict[str, str]:
    referee = Referee(site, site.story.header)
    referee.judge()
    return {verdict.promise: verdict.outcome for verdict in referee.verdicts}


def over_cap() -> Story:
    return Story().cast().tell("probe", "sample", lane="text", backlog=4, pending=0, cap=3)


def test_what_only_the_end_tells_is_open_and_the_rest_is_judged() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").settle("r1").answer("r1").submit("r2").accept("r2")

    assert verdicts(Site(story)) | {"P1": "unknown", "P3": "valid", "P4": "valid"} == verdicts(Site(story))


def test_a_broken_promise_is_told_before_the_end() -> None:
    assert verdicts(Site(over_cap()))["P3"] == "invalid"


def test_what_is_too_young_is_not_judged_yet() -> None:
    assert verdicts(Site(over_cap(), later_ms=SETTLED_MS - 2))["P3"] == "valid"


async def test_it_judges_again_and_again_until_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "EVENTS_MAX", 20)
    site = Site(Story().cast())
    referee = Referee(site, site.story.header)
    watching = asyncio.create_task(referee.watch())
    await eventually(lambda: bool(referee.verdicts))
    site.story.tell("probe", "sample", lane="text", backlog=4, pending=0, cap=3)
    await eventually(lambda: any(verdict.outcome == "invalid" for verdict in referee.verdicts))
    for _ in range(30):
        site.story.tell("probe", "sample", lane="text", backlog=1, pending=0, cap=3)
    await asyncio.wait_for(watching, 10)

    assert referee.seen > 20
