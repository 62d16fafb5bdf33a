"""Runs to be shown on a page: a good one, a broken one, and one in which everything that is told is hostile."""

import dataclasses
from typing import Any

from edgescale.harness.checkers import Finding, Verdict, judge
from edgescale.harness.history import History
from edgescale.harness.report import About, page
from tests.support_history import ONE, TWO, Story

# Text that would do harm wherever it was taken for something else.
HOSTILE = (
    "\"'><script>window.hacked = 1</script><img src=//evil.example/x onerror=window.hacked=1>&amp;{{7*7}}\u202e\x00"
)


def good() -> Story:
    story = Story().cast().fault("slow", "worker-1").task("r1").heal().task("r2")
    story.tell("probe", "sample", lane="text", backlog=1, pending=1, cap=3).tell("probe", "memory", upload="u")
    return story.final("r1", "r2")


def broken() -> Story:
    """r1 is taken over from a dead worker, and answered with something else later; r2 is lost."""
    story = Story().cast().submit("r1").accept("r1").deliver("r1").after(400).nemesis("crash", ONE).after(3_500)
    story.deliver("r1", TWO, attempt=2).settle("r1", TWO).answer("r1").fetch("r1", result_digest="0123456789abcdef")
    return story.submit("r2", respond_async=True).accept("r2").answer("r2", state="queued").delete("r2").final("r1")


def hostile() -> Story:
    """Everything that comes from elsewhere is hostile: ids, actors, lanes, reasons, faults, nodes, fields."""
    h = HOSTILE
    fields: Any = {h: h}
    story = Story().cast(f"worker-1{h}#1").fault(h, h).nemesis("pause", h).begin(f"client-{h}", "submit", h, lane=h)
    story.tell("redis", "add", h, lane=h, entry=h).tell("redis", "lost", what=h)
    story.tell(f"worker-{h}#1", "deliver", h, lane=h, entry=h, attempt=1, how=h, consumer=h)
    story.tell("probe", "sample", lane=h, backlog=2, pending=1, cap=3).tell("nemesis", "crash", node=h)
    story.tell("redis", "store", h, state=h, reason=h).tell(h, h, h, **fields).heal()
    story.end(f"client-{h}", "submit", h, "info", reason=h).tell(f"client-{h}", "submit", h, "fail", 99, reason=h)
    story.tell("probe", "final", h, state=h, reason=h).tell("probe", "final", lane=h, backlog=3)
    return story.submit("r1").answer("r1")


def hostile_page() -> str:
    """Its page, where the verdicts, the header and whatever the caller tells are hostile, too."""
    h, history = HOSTILE, hostile().history()
    findings = (Finding(h, h, (h,), (5,), ()), Finding("lost", h, (h,), (), ()))
    verdicts = (*judge(history), Verdict("P2", h, "invalid", findings, (h,), {h: 3}))
    header = dataclasses.replace(history.header, commit=h, plan=h, versions={h: h})
    return page(History(header, history.events), verdicts, {h: 2}, About(h, h, h, {h: h}, h))
