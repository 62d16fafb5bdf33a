"""The report in a real browser: the chromium on PATH, driven by Playwright."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from edgescale.harness.checkers import judge
from edgescale.harness.markers import hits
from edgescale.harness.plan import Fault, Plan, Request
from edgescale.harness.report import About, page
from edgescale.harness.simulation.run import simulate
from tests.support_report import broken, hostile_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH")
PHONE, SMALL_PHONE, DESKTOP = 390, 320, 1280
REPLAY = "edgescale simulate --plan small.json"
# What a reader of normal sight needs. Source: WCAG 2.2, 1.4.3.
CONTRAST_MIN = 4.5
Scheme = Literal["light", "dark"]
Open = Callable[..., Page]

CONTRASTS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parts(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const told = [];
  for (const node of document.querySelectorAll("body *:not(script, title, option)")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())) continue;
    const style = getComputedStyle(node);
    if (style.visibility === "hidden" || !node.getClientRects().length) continue;
    const beside = node.matches(".narrow > span");
    const chip = node.classList.contains("chip") && node.parentElement.querySelector("rect");
    const ink = light(parts(node instanceof SVGElement ? style.fill : style.color));
    const ground = light(chip ? parts(getComputedStyle(chip).fill) : behind(beside ? node.closest(".track") : node));
    const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    told.push([contrast, `${node.tagName} ${node.className} ${node.textContent.slice(0, 40)}`]);
  }
  return told.sort((one, other) => one[0] - other[0]);
}"""
# Of each plot: its own box, that of its data's coordinates, that of its chart, and how many shapes are out of bounds.
PLOTS = """(areas) => areas.map((area) => {
  const sides = ({ left, top, right, bottom }) => [left, top, right, bottom];
  const data = area.querySelector(".data");
  const { a, d, e, f } = data.getScreenCTM();
  const [, , wide, high] = data.getAttribute("viewBox").split(" ").map(Number);
  const shapes = [...data.querySelectorAll("path")].map((path) => path.getBBox());
  const box = sides(area.getBoundingClientRect());
  const chart = sides(area.parentElement.getBoundingClientRect());
  return {
    box: box, drawn: [e, f, e + a * wide, f + d * high], chart: [box[0], ...chart.slice(1)], shapes: shapes.length,
    outside: shapes.filter(({ x, y, width, height }) =>
      !width || x < 0 || y < 0 || x + width > wide || y + height > high).length,
  };
})"""
# Pairs of texts that lie upon each other, where neighbours must not.
OVERLAPS = """() => {
  const groups = [".xs", ".ys", ".rows li", ".track", ".legend", ".facts", "nav", "thead tr"];
  const found = [];
  for (const group of groups.flatMap((selector) => [...document.querySelectorAll(selector)])) {
    const boxes = [...group.querySelectorAll(":scope > *, .bar > span")]
      .filter((node) => node.textContent.trim() && !node.matches(".bar"))
      .map((node) => {
        const text = document.createRange();
        text.selectNodeContents(node);
        return [text.getBoundingClientRect(), node.textContent];
      });
    boxes.forEach(([one, text], at) => boxes.slice(at + 1).forEach(([other, beside]) => {
      const apart = one.right <= other.left + 0.5 || other.right <= one.left + 0.5
        || one.bottom <= other.top + 0.5 || other.bottom <= one.top + 0.5;
      if (!apart) found.push(`${group.className}: ${text} / ${beside}`);
    }));
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def simulated() -> str:
    """The page of a run that is disturbed in every way: a fault, a kill, a pause, a power loss."""
    requests = tuple(
        Request(40 * number, f"client-{number % 9}", "text", f"r{number}", f"ingestion-{number % 2 + 1}", "work 60")
        for number in range(60)
    )
    faults = (
        Fault(300, 900, "slow_drip", "ingestion-1", {"bytes_per_s": 20_000}),
        Fault(600, 500, "crash", "worker-1", {"silent": 0}),
        Fault(900, 400, "stall", "worker-2"),
        Fault(1_500, 300, "power_loss", "redis"),
    )
    run = simulate(Plan(1, {"ingestion": 2, "worker": 2}, {"lease_ms": 800}, requests=requests, faults=faults))
    return page(run.history, run.verdicts, run.markers, About("Simulation of a small plan", REPLAY))


@pytest.fixture(scope="module")
def told() -> str:
    """The page of a run with counterexamples."""
    history = broken().history()
    return page(history, judge(history), hits(history), About("A broken run", REPLAY))


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a page; nothing that it does may be an error, or ask anybody for anything."""
    trouble: list[str] = []
    contexts = []

    def open_page(text: str, width: int = DESKTOP, scheme: Scheme = "light") -> Page:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        seen = context.new_page()
        seen.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        seen.on("pageerror", lambda error: trouble.append(str(error)))
        seen.on("dialog", lambda dialog: trouble.append(dialog.message))
        seen.on("request", lambda request: trouble.append(request.url) if request.url != path.as_uri() else None)
        seen.goto(path.as_uri())
        return seen

    yield open_page
    for context in contexts:
        context.close()
    assert [line for line in trouble if not line.startswith("data:,")] == []


def test_the_page_of_a_simulated_run_shows_what_happened(opened: Open, simulated: str) -> None:
    seen = opened(simulated)

    expect(seen.get_by_role("heading", level=1)).to_have_text("✓All 10 promises were kept")
    expect(seen.get_by_role("heading", level=2)).to_have_text(
        ["Verdicts", "Over time", "Recovery", "The slowest request", "Requests", "Markers"]
    )
    expect(seen.locator(".gantt .name")).to_have_text(
        ["slow_drip of ingestion-1", "worker-1 killed", "worker-2 paused", "Redis away", "Redis lost its last writes"]
    )
    expect(seen.locator("figure strong")).to_have_text(["submit", "calls per second", "lane text"])
    expect(seen.locator("table.recoveries tbody tr")).to_have_count(5)
    expect(seen.locator(".badge.valid")).to_have_count(10)
    expect(seen.locator(".lanes .rows li").first).to_contain_text("submit begins")


def test_what_is_plotted_can_be_seen(opened: Open, simulated: str) -> None:
    seen = opened(simulated)

    plots = seen.locator(".area").evaluate_all(PLOTS)
    assert len(plots) == 3
    for plot in plots:
        assert plot["box"] == pytest.approx(plot["drawn"], abs=1.0)
        assert plot["box"] == pytest.approx(plot["chart"], abs=1.0)
        assert plot["shapes"] >= 2
        assert plot["outside"] == 0
    for bar in seen.locator(".track .bar").all():
        box = bar.bounding_box()
        assert box is not None
        assert box["width"] >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [SMALL_PHONE, PHONE, DESKTOP])
def test_nothing_but_boxes_of_their_own_scrolls_sideways(
    opened: Open, simulated: str, told: str, width: int, scheme: Scheme
) -> None:
    for text in (simulated, told):
        seen = opened(text, width, scheme)
        seen.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")

        assert seen.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.evaluate("[...document.querySelectorAll('.scroll')].every((box) => box.tabIndex === 0)")
        if width < DESKTOP:
            assert seen.evaluate("document.querySelector('.lanes').parentElement.scrollWidth") > width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(opened: Open, simulated: str, told: str, scheme: Scheme) -> None:
    for text in (simulated, told):
        contrasts = opened(text, scheme=scheme).evaluate(CONTRASTS)

        assert len(contrasts) > 100
        assert [weak for weak in contrasts if weak[0] < CONTRAST_MIN] == []


def test_dark_is_dark_and_light_is_light(opened: Open, told: str) -> None:
    colours = "[document.body, document.querySelector('section')].map((each) => getComputedStyle(each).backgroundColor)"

    assert opened(told, scheme="light").evaluate(colours) == ["rgb(250, 251, 252)", "rgb(255, 255, 255)"]
    assert opened(told, scheme="dark").evaluate(colours) == ["rgb(17, 22, 28)", "rgb(23, 30, 38)"]


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_text_lies_upon_its_neighbour(opened: Open, simulated: str, told: str, width: int) -> None:
    for text in (simulated, told):
        assert opened(text, width).evaluate(OVERLAPS) == []


def test_the_command_can_be_copied(opened: Open, simulated: str) -> None:
    seen = opened(simulated)
    seen.context.grant_permissions(["clipboard-read", "clipboard-write"])

    seen.get_by_role("button", name="Copy").click()

    expect(seen.get_by_role("button", name="Copied")).to_be_visible()
    assert seen.evaluate("navigator.clipboard.readText()") == REPLAY


def test_a_violation_leads_to_its_story(opened: Open, told: str) -> None:
    seen = opened(told)
    story = seen.locator("#story-P2-1")
    expect(story.locator("pre")).not_to_be_visible()

    seen.locator("a[href='#story-P2-1']").click()

    expect(story.locator("pre")).to_be_visible()
    expect(story.locator("pre")).to_contain_text(">>")


def test_a_counterexample_rings_the_events_that_cannot_stand_together(opened: Open, told: str) -> None:
    seen = opened(told)

    rings = seen.locator(".lanes .ring").count()
    assert rings == seen.locator(".lanes .rows li.marked").count() > 0
    rows = seen.locator(".lanes .rows li").count()
    assert seen.locator(".lanes svg").bounding_box()["height"] == 92 + 22 * rows  # type: ignore[index] # it is visible


def test_the_arrow_keys_read_all_plots_at_once(opened: Open, simulated: str) -> None:
    seen = opened(simulated)
    readouts = seen.locator(".readout")
    seen.locator("#plots").focus()

    seen.keyboard.press("ArrowRight")
    seen.keyboard.press("ArrowRight")

    expect(seen.locator(".cursor").first).to_have_css("visibility", "visible")
    assert all("at 0.0" in text or text == "nothing here" for text in readouts.all_text_contents())
    assert any("begun" in text for text in readouts.all_text_contents())
    seen.keyboard.press("Tab")
    expect(seen.locator(".reading")).to_have_count(0)


def test_a_pointer_reads_the_plots_and_names_what_was_in_force(opened: Open, simulated: str) -> None:
    seen = opened(simulated)
    bar = seen.locator(".track .bar").first
    area = seen.locator(".area").first
    area.scroll_into_view_if_needed()
    box, at = area.bounding_box(), bar.bounding_box()
    assert box is not None
    assert at is not None

    seen.mouse.move(at["x"] + at["width"] / 2, box["y"] + box["height"] / 2)

    expect(bar).to_have_class("bar link on")
    expect(seen.locator(".track .bar.on")).not_to_have_count(seen.locator(".track .bar").count())
    expect(seen.locator(".readout").nth(1)).to_contain_text("begun")


def test_a_hostile_history_is_text_and_does_nothing(opened: Open) -> None:
    seen = opened(hostile_page(), PHONE)

    assert seen.evaluate("window.hacked") is None
    assert seen.locator("img").count() == 0
    expect(seen.locator("body")).to_contain_text("window.hacked = 1")
    assert seen.evaluate("document.documentElement.scrollWidth") <= PHONE
