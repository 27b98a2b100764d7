"""The HTML page in a real browser, opened from disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from demo_summary import demo

from flows.show.plots import plots, spoken
from flows.show.report import render_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@dataclass
class Opened:
    page: "Page"
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def opened(browser: "Browser", tmp_path: Path) -> Iterator[Opened]:
    report = tmp_path / "report.html"
    report.write_text(render_report(demo()), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    seen = Opened(page)
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-ready]", timeout=30_000)
    yield seen
    page.close()


def test_plots_are_drawn_without_complaint_or_request(opened: Opened) -> None:
    drawn = opened.page.query_selector_all(".plot[aria-label]")
    wanted = plots(demo())
    assert [place.get_attribute("aria-label") for place in drawn] == [
        spoken(plot) for plot in wanted
    ]
    for place, plot in zip(drawn, wanted, strict=True):
        marks = place.query_selector_all(".mark-symbol.role-mark path, .mark-rect.role-mark path")
        assert len(marks) == len(list(plot.points()))
    assert opened.complaints == []
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


def test_every_policy_answers_every_prompt_shown(opened: Opened) -> None:
    rows = opened.page.query_selector_all("[data-row]")
    assert len(rows) == len(demo().samples)
    for row in rows:
        cells = row.query_selector_all("td")
        names = [cell.get_attribute("data-policy") for cell in cells]
        assert names == ["base", "round 1", "round 2", "round 3"]
    assert [row.is_visible() for row in rows] == [True] * 25 + [False] * (len(rows) - 25)


def test_filter_and_pages(opened: Opened) -> None:
    page = opened.page
    page.click("#next")
    assert page.inner_text("#shown") == "26–50 of 64 prompts"
    page.fill("#filter", "lighthouse REVIEW 42:")
    assert page.inner_text("#shown") == "1–1 of 1 prompts"
    assert "Review 42: the film" in page.inner_text("[data-row]:visible")
    page.fill("#filter", "no such words")
    assert page.inner_text("#shown") == "no prompt matches"
    page.fill("#filter", "")
    page.check("#only-truncated")
    cut = [row for row in demo().samples if any(a.finish_reason == "length" for a in row.answers)]
    assert page.inner_text("#shown").endswith(f"of {len(cut)} prompts")


def test_long_answer_opens_and_never_widens_the_page(opened: Opened) -> None:
    page = opened.page
    row = page.query_selector_all("[data-row]")[4]
    text, button = row.query_selector("td .text"), row.query_selector("td .more")
    assert len(text.inner_text()) < 2_000
    button.click()
    assert len(text.inner_text()) == 100_000  # all of it
    for width in (1280, 480):
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
    assert "63.4 %" in page.inner_text("figure details[open] table")


def test_pointing_at_a_value_shows_it_with_its_interval(opened: Opened) -> None:
    page = opened.page
    page.hover(".plot path[aria-label*='78.1%']")
    page.wait_for_selector("#vg-tooltip-element.visible")
    shown = page.inner_text("#vg-tooltip-element")
    assert all(text in shown for text in ("against base", "78%", "74%", "82%"))
