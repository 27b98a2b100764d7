"""Labelling by the keyboard in Chromium, whatever was looked at before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest
from annotators import items_of, new_log, new_task, pairs, silent

from benchmarks.labelling import ask_in, label_in
from benchmarks.labelling_pairs import PAIRS
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import ask
from labeling.server import WORKSPACE
from labeling.server.users import sign_in_link
from tests.shared_argilla import SharedArgilla
from tests.until import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
WAIT_MS = 120_000
EACH = 4
FIELDS = ".record__content .fields > div"


@contextmanager
def opened(
    browser: "Browser", argilla: SharedArgilla, folder: Path, text: str, locale: str = "en-GB"
) -> Iterator["Page"]:
    """The questions about pairs of that text, as somebody sees them the first time."""
    task = new_task(items_of(pairs(3 * EACH, text)))
    with ArgillaQueue(argilla.access, WORKSPACE) as queue:
        dataset = ask(queue, new_log(folder), task, silent)
        page = browser.new_context(
            viewport={"width": 1280, "height": 800}, locale=locale
        ).new_page()
        page.set_default_timeout(WAIT_MS)
        path = f"/dataset/{dataset.id}/annotation-mode"
        page.goto(sign_in_link(argilla.credentials, path))
        page.locator(".questions-form input").first.wait_for(state="attached")
        yield page
        page.context.close()


def submitted(page: "Page") -> int:
    return int(page.locator(".status-counter__counter").first.inner_text())


def label(page: "Page", count: int) -> None:
    """One key and Enter for each pair."""
    for done in range(submitted(page) + 1, submitted(page) + 1 + count):
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        until(lambda done=done: submitted(page) == done, lambda: f"{submitted(page)} are submitted")


def guidelines_open(page: "Page") -> bool:
    return page.get_by_text("Be fair.").first.is_visible()


def test_no_key_is_lost_after_the_guidelines(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    with opened(browser, argilla, tmp_path, "brief") as page:
        until(lambda: guidelines_open(page), page.content)  # at the first visit
        label(page, EACH)
        page.keyboard.press("g")
        until(lambda: not guidelines_open(page), page.content)
        label(page, EACH)
        page.get_by_text("Guidelines").first.click()
        until(lambda: guidelines_open(page), page.content)
        label(page, EACH - 1)
        assert "about 1 minute" in page.locator(".pagination").first.inner_text()
        visited = page.evaluate("localStorage['ratchet-guidelines-read']")
        assert visited in page.url  # and not opened again


def test_guidelines_that_open_leave_a_search_its_keys(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    with opened(browser, argilla, tmp_path, "searched", "de-DE") as page:
        until(lambda: guidelines_open(page), page.content)
        page.click(".search-area__icon >> nth=0")
        page.evaluate("localStorage.removeItem('ratchet-guidelines-read')")
        page.keyboard.type("brief")
        page.evaluate("document.body.append(document.createElement('i'))")  # the page changed
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")  # time to take focus
        assert page.evaluate("localStorage['ratchet-guidelines-read']") in page.url
        page.keyboard.type("ly")
        assert page.input_value(".search-area__input") == "briefly"


def test_answers_stand_side_by_side_and_long_ones_scroll(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    with opened(browser, argilla, tmp_path, "a long answer " * 400) as page:
        prompt, a, b = boxes(page)
        assert a["y"] == b["y"] and a["height"] == b["height"] < 800
        assert a["x"] + a["width"] <= b["x"] and prompt["y"] + prompt["height"] <= a["y"]
        page.set_viewport_size({"width": 900, "height": 800})
        _, a, b = boxes(page)
        assert a["x"] == b["x"] and b["y"] > a["y"]


def boxes(page: "Page") -> list[dict[str, float]]:
    """Of prompt and answers, at one moment: the guidelines open meanwhile."""
    until(lambda: page.locator(FIELDS).count() == 3, page.content)
    script = "(all) => all.map((one) => one.getBoundingClientRect().toJSON())"
    found: list[dict[str, float]] = page.locator(FIELDS).evaluate_all(script)
    return found


def test_twenty_pairs_half_of_them_long_cost_no_key_and_no_scroll_to_compare(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    dataset = ask_in(argilla.credentials, f"fixed-{token_hex(3)}", tmp_path)
    effort = label_in(browser, argilla.credentials, dataset, added=True)
    assert (effort.labels, effort.lost, effort.clicks, effort.scrolls) == (PAIRS, 0, 0, 0)
    assert set(effort.offsets) == {0}, "pixels from A's beginning to B's"


def test_tables_and_code_keep_their_lines(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    rows = "| a word | " + "number | " * 12 + "\n|---|" + "---|" * 12 + "\n| one | " + "12 | " * 12
    code = "```python\n" + "value = " + " + ".join(["another_value"] * 20) + "\n```"
    with opened(browser, argilla, tmp_path, f"{rows}\n\n{code}\n\n") as page:
        answer = page.locator(FIELDS).last
        line = "e => parseFloat(getComputedStyle(e).lineHeight)"
        for wide in (answer.locator("table"), answer.locator("pre code")):
            wide.wait_for()
            assert wide.evaluate("e => e.scrollWidth > e.clientWidth")  # it scrolls by itself
        code_height = answer.locator("pre code").evaluate("e => e.clientHeight")
        assert code_height < 4 * answer.locator("pre code").evaluate(line)
        assert answer.evaluate("e => e.scrollWidth <= e.clientWidth")
        folded = page.locator(".ratchet-folded-note").last
        until(lambda: folded.inner_text() == "goes on below: Page Down", page.content)
        for _ in range(20):
            page.keyboard.press("PageDown")
        until(lambda: folded.inner_text() == "", page.content)
