"""The web pages' own search, filters, sorting, similarity and progress, in a browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from search_rows import COUNT, ROWS, Logged, Row, cosine, rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

WAIT_MS = 60_000
PERSON = "one"


@dataclass
class Opened:
    page: "Page"
    failures: list[str] = field(default_factory=list)
    listed: str = ""
    """The page that lists the datasets, before one is opened."""

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Wait until the page has asked for other records and has them."""
        with self.page.expect_response(lambda answer: "/records/search?" in answer.url):
            yield

    def shows(self, count: int, row: Row | None = None) -> None:
        """Wait until the list has that many records, and that one first."""
        self.page.wait_for_selector(f"[aria-label='Total Records']:text-is('of {count}')")
        if row is not None:
            self.page.wait_for_selector(f".fields:has-text('Tell me of number {row.number}.')")


def pending(row: Row) -> bool:
    """Whether the person has not answered, and the record still needs answers."""
    return PERSON not in row.responses and row.number != 1


@pytest.fixture(scope="module")
def opened(browser: "Browser", logged: Logged) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(WAIT_MS)
    seen = Opened(page)
    page.on("pageerror", lambda error: seen.failures.append(str(error)))
    page.on(
        "response",
        lambda answer: seen.failures.append(answer.url) if answer.status >= 400 else None,
    )
    page.goto(logged.access.url)
    page.fill("input[type=text]", logged.names[PERSON])
    page.fill("input[type=password]", logged.passwords[PERSON])
    page.keyboard.press("Enter")
    page.wait_for_selector(f"text={COUNT} rows")
    seen.listed = page.inner_text("body")
    page.click("text=search")
    page.wait_for_selector("[aria-label='Total Records']")
    yield seen
    page.close()


def test_search_filter_sort_and_similar(opened: Opened) -> None:
    page, mine = opened.page, [row for row in ROWS if pending(row)]
    completed = f"{100 / COUNT:.2f}%"  # one record has its two answers
    assert completed in opened.listed
    opened.shows(len(mine))
    assert completed in page.inner_text("body")

    page.click(".search-area__icon >> nth=0")
    for text, found in (("éclair", [row for row in mine if row.word == "Éclair"]), ("", mine)):
        page.fill(".search-area__input", text)
        with opened.searching():
            page.press(".search-area__input", "Enter")
        opened.shows(len(found))

    page.click(".filter-button:has-text('Filters')")
    page.click(".metadata-filter .dropdown__header")
    page.click(".category__item:has-text('source')")
    with opened.searching():
        page.click(".metadata-filter__container >> text=people")
    people = [row for row in mine if "people" in row.sources]
    first = min(people, key=lambda row: row.number)
    opened.shows(len(people))
    page.mouse.click(500, 800)

    page.click(".sort-filter .dropdown__header")
    with opened.searching():
        page.click(".sort-filter >> text=number")
    opened.shows(len(people), first)
    page.mouse.click(500, 800)

    with opened.searching():
        page.click("text=Find similar")
    others = [row for row in people if row != first]
    opened.shows(len(others), max(others, key=lambda row: cosine(row.vector, first.vector)))
    assert opened.failures == []


def test_an_answer_cannot_tell_a_stranger_who_reads_it(
    opened: Opened, stranger: tuple[str, list[str]]
) -> None:
    """Its image stands in the page, and is not asked for."""
    image, asked = stranger
    assert image in [shown.get_attribute("src") for shown in opened.page.query_selector_all("img")]
    assert asked == []


def test_each_status_has_its_queue(opened: Opened) -> None:
    page = opened.page
    folder = re.sub(r"\?.*", "", page.url)
    for status in ("submitted", "draft", "discarded"):
        page.goto(f"{folder}?page=1&status={status}")
        opened.shows(len(rows(lambda row, s=status: row.responses.get(PERSON, ("",))[0] == s)))
        assert page.inner_text("[aria-label='Status of Record']").lower() == status
    assert opened.failures == []
