"""The HTML page in a real browser, opened from disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from demo_summary import demo
from playwright.sync_api import expect

from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.plots import plots
from reporting.plots.model import alt_text
from reporting.report import render_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = pytest.mark.browser

SIZE: "ViewportSize" = {"width": 1280, "height": 900}
AXIS = "[aria-label^='Y-axis'] .role-axis-label text"


@dataclass(frozen=True)
class Opened:
    """The page, and what it said and asked for until it was complete."""

    page: "Page"
    complaints: tuple[str, ...]
    requests: tuple[str, ...]


@pytest.fixture(scope="module")
def loaded(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Loaded once: Chromium takes two CPU-seconds to draw all plots."""
    report = tmp_path_factory.mktemp("browser") / "report.html"
    report.write_text(render_report(demo()), encoding="utf-8")
    page = browser.new_page(viewport=SIZE)
    complaints, requests = list[str](), list[str]()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-complete]", timeout=60_000)
    yield Opened(page, tuple(complaints), tuple(requests))
    page.close()


@pytest.fixture
def opened(loaded: Opened) -> Opened:
    """As it was loaded, whatever an earlier test looked for in it."""
    page = loaded.page
    page.set_viewport_size(SIZE)
    page.emulate_media(color_scheme="light")
    page.select_option("#kind", "held-out")
    page.fill("#filter", "")
    expect(page.locator("#shown")).to_have_text("1–25 of 64")
    return loaded


def test_plots_are_drawn_without_complaint_or_request(opened: Opened) -> None:
    drawn = opened.page.query_selector_all(".plot[aria-label]")
    wanted = plots(demo())
    assert [place.get_attribute("aria-label") for place in drawn] == [
        alt_text(plot) for plot in wanted
    ]
    for place, plot in zip(drawn, wanted, strict=True):
        marks = place.query_selector_all(".mark-symbol.role-mark path, .mark-rect.role-mark path")
        assert len(marks) == len(list(plot.points()))
        axis = [label.text_content() for label in place.query_selector_all(AXIS)]
        assert len(axis) > 1 and len(set(axis)) == len(axis), axis  # no two places read alike
    assert opened.complaints == ()
    assert [url for url in opened.requests if not url.startswith("file://")] == []
    assert len(opened.requests) == 1  # the page itself


def test_text_of_models_does_not_run(opened: Opened) -> None:
    assert opened.page.evaluate("window.harmed") is None
    # Even markup that got in would not run: the policy of the page forbids it.
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'window.harmed = 5'}))"
    )
    assert opened.page.evaluate("window.harmed") is None


def _choose(page: "Page", search: str, kind: str = "held-out") -> None:
    """Search the sample browser; its first row is shown."""
    page.select_option("#kind", kind)
    page.fill("#filter", search)
    expect(page.locator("#sample")).to_contain_text(search)


def test_one_prompt_shows_every_rounds_answer(opened: Opened) -> None:
    page = opened.page
    _choose(page, "Review 42: the film")
    assert page.inner_text("#shown") == "1–1 of 1"
    names = [item.inner_text() for item in page.query_selector_all("#sample h4")]
    assert [name.split(" score")[0] for name in names] == ["base", "round 3", "round 2", "round 1"]
    assert "+1.2 to base" in names[1]  # -0.5 + 0.4 for each round
    assert "3 positive, 0 negative clauses" in page.inner_text("#sample")


def test_filter_order_and_pages(opened: Opened) -> None:
    page = opened.page
    assert page.inner_text("#shown") == "1–25 of 64"
    page.click("#next")
    assert page.inner_text("#shown") == "26–50 of 64"
    assert page.evaluate("document.activeElement.className") == "entry"
    page.fill("#filter", "no such words")
    expect(page.locator("#shown")).to_have_text("Nothing matches.")
    page.fill("#filter", "")
    page.select_option("#kind", "truncated")
    cut = [row for row in demo().samples if any(a.finish_reason == "length" for a in row.answers)]
    expect(page.locator("#shown")).to_have_text(re.compile(f"of {len(cut)}$"))


def test_long_answer_opens_and_never_widens_the_page(opened: Opened) -> None:
    page = opened.page
    _choose(page, "AAAAAAAA")
    text, button = page.query_selector("#sample li .text"), page.query_selector("#sample li .more")
    assert text is not None and button is not None
    assert len(text.inner_text()) < 2_000
    button.click()
    assert len(text.inner_text()) == 100_000  # all of it
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    button.click()
    assert len(text.inner_text()) < 2_000


def test_dark_page_has_dark_plots(opened: Opened) -> None:
    ink = "getComputedStyle(document.querySelector('.plot .role-axis-label text')).fill"
    light = opened.page.evaluate(ink)
    opened.page.emulate_media(color_scheme="dark")
    assert opened.page.evaluate(ink) != light


def test_numbers_can_be_read_without_the_mouse(opened: Opened) -> None:
    page = opened.page
    summary = page.query_selector("figure summary")
    summary.focus()
    page.keyboard.press("Enter")
    assert "63.4%" in page.inner_text("figure details[open] table")


def test_pointing_at_a_value_shows_it_with_its_interval(opened: Opened) -> None:
    page = opened.page
    page.hover(".plot path[aria-label*='57.9%']")
    page.wait_for_selector("#vg-tooltip-element.visible")
    shown = page.inner_text("#vg-tooltip-element")
    assert all(text in shown for text in ("gate", "57.9%", "53.7%", "62.1%"))


def test_rounds_of_an_older_version_are_drawn_without_complaint(
    browser: "Browser", tmp_path: Path
) -> None:
    ends = re.compile("_(low|high|se)$")
    given = [row.given().items() for row in demo().rounds]
    rounds = [
        RoundMetrics.model_validate({k: v for k, v in row if not ends.search(k)}) for row in given
    ]
    path = tmp_path / "report.html"
    path.write_text(render_report(replace(demo(), rounds=tuple(rounds), samples=())), "utf-8")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-complete]", timeout=60_000)
    assert complaints == []
    page.close()
