"""The report of fifty rounds and 5,000 samples in a real browser: light, quick, valid."""

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from html_checks import complaints, nameless, tab_walk
from long_campaign import ROUNDS, long_campaign
from playwright.sync_api import expect
from written_campaign import Written

from reporting.compare.render import write_page
from reporting.compare.sides import read_comparison
from reporting.plots import plots
from reporting.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SAMPLES = 5_000
WEIGHT_MB = 8
LOADED_S = 60
"""Generous: other tests run beside this one. A quiet machine with two cores takes some seconds."""

OUTSIDE = """[...document.querySelectorAll("figure")].flatMap((card) =>
  [...card.querySelectorAll(".role-legend-label text")]
    .filter((name) => name.getBoundingClientRect().right > card.getBoundingClientRect().right)
    .map((name) => name.textContent))"""
"""Names in legends that run over their card."""


@dataclass
class Long:
    page: "Page"
    path: Path
    seconds: dict[str, float]
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def long(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    path = tmp_path_factory.mktemp("long") / "report.html"
    started = time.monotonic()
    write_report(long_campaign(SAMPLES), path)
    seconds = {"written": time.monotonic() - started}
    page = browser.new_page(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    opened = Long(page, path, seconds)
    page.on("console", lambda message: opened.said.append(message.text))
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    started = time.monotonic()
    page.goto(path.as_uri())
    for state in ("ready", "complete"):
        page.wait_for_selector(f"body[data-{state}]", timeout=LOADED_S * 1000)
        seconds[state] = time.monotonic() - started
    yield opened
    page.close()


def test_weight_and_load_time(long: Long, capsys: pytest.CaptureFixture[str]) -> None:
    weight = long.path.stat().st_size / 1e6
    parsed = long.page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    with capsys.disabled():
        print(
            f"\nreport of {ROUNDS} rounds, {SAMPLES:,} prompts with {ROUNDS + 1} answers each: "
            f"{weight:.1f} MB, written in {long.seconds['written']:.1f} s; Chromium: parsed after "
            f"{parsed / 1000:.1f} s, first plots after {long.seconds['ready']:.1f} s, all plots "
            f"and samples after {long.seconds['complete']:.1f} s"
        )
    assert weight < WEIGHT_MB
    assert long.seconds["complete"] < LOADED_S
    elements = long.page.evaluate("document.querySelectorAll('#samples *').length")
    assert elements < 2_000  # of 5,000 rows with 51 answers each, only what is looked at


def test_nothing_is_said_and_nothing_requested(long: Long) -> None:
    assert long.said == []
    assert long.requests == [long.path.as_uri()]


def test_html_is_valid(long: Long) -> None:
    html = long.path.read_text(encoding="utf-8")
    assert complaints(html) == []
    assert complaints("<!doctype html><title>x</title><h1>a</h1><p><table><tr></p><h3 id=a>") != []


def test_everything_has_a_name(browser: "Browser", tmp_path: Path) -> None:
    """Of a shorter campaign: Chromium takes long to tell of twenty thousand cells."""
    write_report(long_campaign(30, rounds=3), tmp_path / "report.html")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("body[data-complete]", timeout=LOADED_S * 1000)
    assert nameless(page) == []
    page.evaluate("document.body.append(document.createElement('button'))")
    assert len(nameless(page)) == 1  # the check can fail
    page.close()


def test_keyboard_leads_through_the_page(long: Long) -> None:
    page = long.page
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    walked = tab_walk(page, 16)
    assert walked[0] == "a: Skip to the content"
    links = ["Biggest regressions", "Samples", "numbers", "Quality", "Rounds", "Answers"]
    assert walked[1:7] == [f"a: {link}" for link in links]
    assert [place for place in walked if "off the screen" in place] == []
    assert len(set(walked)) > 12  # it moves on
    page.focus("#filter")
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert [place.split(":")[0] for place in tab_walk(page, 5)] == [*["select"] * 4, "button"]
    page.focus("#prompts button")
    first = page.inner_text("#sample")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    assert page.inner_text("#sample") != first


def test_biggest_gains_and_losses_come_first(long: Long) -> None:
    page = long.page
    gains = [badge.inner_text() for badge in page.query_selector_all("#prompts .badge")]
    assert set(gains) == {"+5", "−5"}  # of -5.0 to +5.0
    page.select_option("#order", "loss")
    expect(page.locator("#prompts .badge").first).to_have_text("−5")
    page.select_option("#to", "25")  # half of the way, so half of the gain
    expect(page.locator("#prompts .badge").first).to_have_text("−2.5")
    page.select_option("#to", str(ROUNDS))
    page.select_option("#kind", "people")
    expect(page.locator("#shown")).to_have_text("1–25 of 100")
    expect(page.locator("#sample")).to_contain_text("says what it is about")
    page.select_option("#kind", "forgotten")  # a third of the rounds, by the fixture
    expect(page.locator("#shown")).to_have_text(f"1–16 of {ROUNDS // 3}")
    page.select_option("#kind", "held-out")
    page.select_option("#order", "change")
    expect(page.locator("#shown")).to_have_text("1–25 of 5,000")


def test_every_figure_is_a_csv(long: Long) -> None:
    wanted = plots(long_campaign(0))
    buttons = long.page.query_selector_all("[data-csv-plot]")
    assert len(buttons) == len(wanted)
    for button, plot in list(zip(buttons, wanted, strict=True))[:5:2]:
        rows = _downloaded(long.page, button)
        points = list(plot.points())
        assert rows[0][:3] == [plot.x_title, "series", plot.unit]
        assert [float(row[2]) for row in rows[1:]] == [point.y for _, point in points]
        assert [row[3] for row in rows[1:]] == [_cell(point.low) for _, point in points]


def test_a_table_is_a_csv_that_no_spreadsheet_runs(long: Long) -> None:
    page = long.page
    page.evaluate(
        "document.querySelector('#numbers [data-csv-table] tbody th').textContent = '=1+1'"
    )
    rows = _downloaded(page, page.query_selector("#numbers .scroll:has([data-csv-table]) + .csv"))
    assert any("'=1+1" in row for row in rows)


def _downloaded(page: "Page", button: object) -> list[list[str]]:
    with page.expect_download() as started:
        button.click()  # type: ignore[attr-defined]
    text = Path(started.value.path()).read_text(encoding="utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return repr(int(value)) if value == int(value) else repr(value)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_pictures(long: Long, screenshots: Path, scheme: str, width: int) -> None:
    page = long.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("main", "better", "numbers", "samples"):
        page.evaluate("name => document.getElementById(name).scrollIntoView()", name)
        if name == "main":
            page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=screenshots / f"report-{name}-{scheme}-{width}.png")


def test_paper_has_the_verdict_of_every_round(long: Long) -> None:
    assert long.page.locator("#rounds li:visible").count() < ROUNDS
    long.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert long.page.locator("#rounds li:visible").count() == ROUNDS


def test_it_can_be_read_without_a_script(browser: "Browser", long: Long) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(long.path.as_uri())
    assert page.locator("#static article").count() == 8
    assert page.locator("#browser").is_hidden()
    assert "Round 50 beats the base" in page.inner_text("h1")
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_comparison_page(
    browser: "Browser",
    tmp_path: Path,
    screenshots: Path,
    capsys: pytest.CaptureFixture[str],
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    names = {"gentle": "a-gentle-pull-to-the-reference", "eager": "an-eager-one-that-goes-further"}
    for name, rounds in (("gentle", 2), ("eager", 3)):
        campaign = Written(
            tmp_path / name, name=names[name], training={"beta": 0.1 if rounds == 2 else 0.5}
        )
        for number in range(1, rounds + 1):
            campaign.round(number, again=rounds)
    path = tmp_path / "compare.html"
    write_page(read_comparison([tmp_path / "gentle", tmp_path / "eager"]), path)
    assert complaints(path.read_text(encoding="utf-8")) == []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    started = time.monotonic()
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-complete]", timeout=LOADED_S * 1000)
    seconds, weight = time.monotonic() - started, path.stat().st_size / 1e6
    with capsys.disabled():
        print(f"\ncomparison, {width} px: {weight:.1f} MB, drawn after {seconds:.1f} s")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    assert nameless(page) == [] and asked == [path.as_uri()]
    page.screenshot(path=screenshots / f"compare-{scheme}-{width}.png", full_page=True)
    page.close()
