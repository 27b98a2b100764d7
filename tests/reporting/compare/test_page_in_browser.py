"""The comparison page in a real browser, opened from disk, with texts that mean harm."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from two_campaigns import branch, hostile, parent

from reporting.compare.render import render_page, write_page
from reporting.compare.sides import CampaignComparison, compare_sides

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def opened(
    browser: "Browser",
    comparison: CampaignComparison,
    path: Path,
    scheme: Literal["light", "dark"],
    width: int = 1280,
) -> tuple["Page", list[str], list[str]]:
    """(the page, what it complained of, what it asked for)"""
    write_page(comparison, path)
    complaints: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-complete]", timeout=60_000)
    return page, complaints, requests


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_plot_is_drawn(
    browser: "Browser", tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    two = compare_sides([parent(), branch()])
    page, complaints, requests = opened(browser, two, tmp_path / "compare.html", scheme)
    assert page.locator(".plot svg").count() == 4
    lines = page.locator(".plot").nth(1).locator("g.mark-line path")
    strokes = {lines.nth(place).get_attribute("stroke") for place in range(lines.count())}
    assert len(strokes) == 2  # the campaigns are told apart by colour
    assert complaints == [] and len(requests) == 1
    page.screenshot(path=tmp_path / f"compare-{scheme}.png", full_page=True)
    assert (
        page.evaluate("getComputedStyle(document.body).backgroundColor")
        == {
            "light": "rgb(255, 255, 255)",
            "dark": "rgb(20, 23, 27)",
        }[scheme]
    )
    page.close()


def test_hostile_texts_do_nothing(browser: "Browser", tmp_path: Path) -> None:
    page, complaints, requests = opened(
        browser, hostile(), tmp_path / "compare.html", "light", width=390
    )
    assert page.evaluate("window.harmed") is None
    assert page.locator("main img, main script, header script").count() == 0
    assert complaints == [] and len(requests) == 1
    # However long a name is, the page does not grow wider than a telephone.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not any(ord(c) < 32 and c not in "\n\t" for c in render_page(hostile()))
    page.close()
