"""The page as a whole: what it says, that nothing breaks it, that it stays small."""

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgescale.harness import checkers
from edgescale.harness.checkers import Finding, Verdict, judge
from edgescale.harness.markers import MARKERS, hits
from edgescale.harness.report import About, page
from edgescale.harness.report.fates import DOUBLED, LOST, recovered, slowest
from edgescale.harness.report.markup import element, joined, short, visible
from edgescale.harness.report.stories import TOLD_MAX, violations
from edgescale.harness.report.tables import ROWS_MAX
from tests.support_history import TWO, Story
from tests.support_report import broken, good, hostile_page

MB = 1_000_000
ABOUT = About("Simulation of seed 7", "edgescale simulate --from 7 --seeds 1", used={"provider": "simulation"})
VOID = {"meta", "link"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return sum(name == tag and wanted.items() <= has.items() for name, has in self.elements)


def shown(story: Story, about: About = ABOUT) -> Page:
    history = story.history()
    return Page(page(history, judge(history), hits(history), about))


def finding(number: int, rule: str = "lost") -> Finding:
    return Finding(rule, f"r{number} was lost", (f"r{number}",), (), ())


def verdict(findings: Sequence[Finding], promise: str = "P1", count: int = 0) -> Verdict:
    outcome: checkers.Outcome = "invalid" if findings else "valid"
    return Verdict(promise, "no loss", outcome, tuple(findings), (), {"findings": count or len(findings)})


def test_a_good_run_says_so_first() -> None:
    of = shown(good())

    assert "✓ All 10 promises were kept" in of.text.replace("✓All", "✓ All")
    assert "Simulation of seed 7" in of.text
    assert of.count("code", id="replay") == of.count("button", id="copy") == 1
    assert "edgescale simulate --from 7 --seeds 1" in of.text
    assert "provider simulation" in of.text
    assert "Counterexample" not in of.text
    assert "The slowest request" in of.text
    assert "valid: Simulation of seed 7" in of.text


def test_a_broken_run_names_its_promises_and_links_each_violation_with_its_story() -> None:
    of = shown(broken())

    assert "3 promises broken: P1 no loss, P2 one result, P3 bounded backlog" in of.text
    links = [has["href"] for tag, has in of.elements if tag == "a" and (has.get("href") or "").startswith("#story-")]
    assert links
    assert all(of.count("details", id=str(link)[1:]) == 1 for link in links)
    assert "r1 was answered with succeeded result of r1, and with succeeded 0123456789abcdef" in of.text
    assert of.text.index("Counterexample") < of.text.index("Over time")


def test_every_link_on_the_page_leads_somewhere_and_no_name_is_taken_twice() -> None:
    stormy = good().after(10)
    for number in range(80):
        stormy.nemesis("pause", f"worker-{number % 7}").after(number).nemesis("resume", f"worker-{number % 7}")
    for story in (good(), broken(), stormy):
        of = shown(story)
        names = [has["id"] for _, has in of.elements if "id" in has]

        assert len(names) == len(set(names))
        assert {str(has["href"])[1:] for tag, has in of.elements if tag == "a" and "href" in has} <= set(names)


@pytest.mark.parametrize(
    ("verdicts", "failure", "sentence"),
    [
        ((), "", "Nothing can be said of any promise"),
        ((), "Stuck: nothing will ever happen", "The run did not come to its end"),
        ((verdict([]),), "", "The promise was kept"),
        ((verdict([]),), "Stuck", "The run did not come to its end"),
        ((verdict([finding(1)]),), "Stuck", "1 promise broken: P1 no loss"),
        (
            (dataclasses.replace(verdict([]), outcome="unknown", doubts=("nobody called",)),),
            "",
            "Nothing can be said of P1 no loss",
        ),
    ],
)
def test_the_headline_never_says_more_than_is_known(verdicts: Sequence[Verdict], failure: str, sentence: str) -> None:
    history = good().history()
    of = Page(page(history, verdicts, {}, About("A run", failure=failure)))

    assert sentence in of.text
    assert failure in of.text
    assert "Copy" not in of.text


def test_a_run_of_which_nothing_was_recorded_has_a_page() -> None:
    of = Page(page(Story().history(), (), {}, About("A run", failure="the process died")))

    assert "The run itself failed: the process died" in of.text
    assert "Over time" not in of.text


def test_the_same_history_makes_the_same_page_and_is_left_as_it_was() -> None:
    history, again = broken().history(), broken().history()
    made = page(history, judge(history), hits(history), ABOUT)

    assert made == page(again, judge(again), hits(again), ABOUT)
    assert history == broken().history()


def test_the_page_needs_nothing_beside_itself() -> None:
    text = shown(broken()).source

    assert re.findall(r"https?://|//[a-z]|@import|url\(|\bsrc=|<iframe|<object", text) == []
    assert {has["href"] for tag, has in Page(text).elements if tag == "link"} == {"data:,"}
    assert "default-src &#x27;none&#x27;" in text


def test_nothing_that_is_told_can_become_markup() -> None:
    of = Page(hostile_page())

    tags = {tag for tag, _ in of.elements}
    assert tags.isdisjoint({"img", "iframe", "object", "embed", "base", "form"})
    assert of.count("script") == 1
    assert [name for _, has in of.elements for name in has if name.startswith("on")] == []
    assert "window.hacked" in of.text
    assert "\u202e" not in of.source
    assert "\x00" not in of.source


def test_a_page_can_be_written_whatever_stands_in_it() -> None:
    of = shown(Story().submit("\ud800"), About("lone \udfff"))

    assert of.source.encode("utf-8")
    assert "lone \\udfff" in of.text


def test_what_cannot_be_seen_is_told_by_its_number() -> None:
    assert visible("a\u202eb\x07\nc") == "a\\u202eb\\u0007\nc"
    assert joined(["<b>", element("i", "&", class_='"', data_x=None, hidden=True)]) == (
        '&lt;b&gt;<i class="&quot;" hidden>&amp;</i>'
    )
    assert short("abcdef", 4) == "abc…"


def test_tables_tell_how_many_more_there_are() -> None:
    history = good().history()
    findings = [finding(number) for number in range(ROWS_MAX + 5)]
    of = Page(page(history, (verdict(findings, count=1_000),), {}, ABOUT))

    assert f"and {1_000 - TOLD_MAX} more violations" in of.text
    assert f"Not shown: 5 more requests; {1_000 - ROWS_MAX - 5} violations of the same promises" in of.text
    assert of.count("table", class_="fates") == 1


def test_of_many_violations_the_first_of_each_rule_is_told() -> None:
    findings = [*(finding(number) for number in range(20)), finding(20, "unfinished")]

    assert [item.finding for item in violations((verdict(findings),))] == [findings[0], findings[20], *findings[1:5]]


def test_requests_that_were_recovered_tell_how() -> None:
    story = broken().submit("r3").accept("r3").unclear("r3").deliver("r3").settle("r3")
    story.submit("r4").accept("r4").unclear("r4").tell("ingestion-1#1", "resubmit", "r4", lane="text", entry="9-0")
    one, three = story.history().view(recovered)

    assert (one.request_id, one.state, list(one.how)) == (
        "r1",
        "succeeded",
        ["taken over from worker-1#1 by worker-2#1"],
    )
    assert (three.request_id, list(three.how)) == ("r3", ["client-1 heard UNAVAILABLE"])
    assert (one.took_ns or 0) > (three.took_ns or 0)


def test_a_retry_is_no_recovery() -> None:
    story = Story().cast().submit("r1").accept("r1").deliver("r1").give_back("r1", deliveries=1)
    history = story.deliver("r1", TWO, attempt=2).settle("r1", TWO).answer("r1").history()

    assert history.view(recovered) == []


def test_the_slowest_request_is_shown_where_nothing_is_broken() -> None:
    call = slowest(good().submit("slow").after(900).answer("slow").history())

    assert call is not None
    assert call.request_id == "slow"
    assert slowest(Story().submit("r1").history()) is None


def test_the_rules_behind_the_tables_exist() -> None:
    folder = Path(checkers.__file__).parent
    sources = "\n".join(path.read_text() for path in folder.glob("*.py"))
    rules = {rule for table in (LOST, DOUBLED) for of in table.values() for rule in of}

    assert [rule for rule in rules if f'"{rule}"' not in sources] == []


def test_markers_are_told_with_how_often_and_those_never_hit_by_themselves() -> None:
    first, second, *others = MARKERS
    of = Page(page(good().history(), judge(good().history()), {first.name: 1_234, second.name: 0}, ABOUT))

    assert f"1,234 {first.sentence}" in of.text
    assert f"{len(others) + 1} never hit" in of.text


def test_a_long_history_makes_a_small_page() -> None:
    """A hundred thousand events, a thousand disturbances, as many lanes, everything broken that can be."""
    story = Story(tick_ms=0)
    for number in range(8_200):
        name = f"r{number}-{'x' * 4_000}"
        story.after(7).submit(name, f"client-{number % 500}").accept(name, f"lane-{number % 1_000}").deliver(name)
        story.renew(name).after(number % 90).settle(name)
        (story.answer if number % 3 else story.unclear)(name, client=f"client-{number % 500}")
        story.tell("probe", "sample", lane=f"lane-{number % 1_000}", backlog=number % 17, pending=1, cap=3)
        if number % 8 == 0:
            story.nemesis("crash", f"worker-{number % 40}#1").tell(f"worker-{number % 40}#2", "ready")
    history = story.final().history()
    many = ["x" * 5_000] * 50
    bad = tuple(
        verdict([Finding(f"rule-{at}", text, tuple(f"r{n}-{'x' * 4_000}" for n in range(100)), (at,), ())
                 for at, text in enumerate(many)], f"P{number}", 9_999)
        for number in range(1, 12)
    )  # fmt: skip

    made = page(history, bad, hits(history), ABOUT)

    assert len(history.events) > 100_000
    assert len(made.encode()) < 2 * MB
