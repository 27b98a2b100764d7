"""A campaign's lasting address in Chromium: it leads to what is open, and says what comes next."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from dataclasses import replace

from annotators import Annotator, items_of, new_log, new_task, pairs, silent

from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import ask
from labeling.people.label_queue import CampaignQueue, Dataset, SharedAgreement
from labeling.server import WORKSPACE, add_user
from tests.shared_argilla import SharedArgilla
from tests.until import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
WAIT_MS = 120_000


def ask_round(
    argilla: SharedArgilla, folder: Path, queue: CampaignQueue, people: int = 1
) -> Dataset:
    """Two pairs."""
    found = pairs(2, f"round {queue.round} of {queue.id}")
    task = new_task(items_of(found), people)
    task = replace(task, name=f"{queue.id}, round {queue.round}", queue=queue)
    with ArgillaQueue(argilla.access, WORKSPACE) as server:
        return ask(server, new_log(folder / str(queue.round)), task, silent)


def close(argilla: SharedArgilla, dataset: Dataset, *, campaign: bool = False) -> None:
    with ArgillaQueue(argilla.access, WORKSPACE) as server:
        server.close(dataset, campaign=campaign)


def show_agreement(argilla: SharedArgilla, dataset: Dataset, name: str) -> None:
    told = {name: SharedAgreement(4, 5, 2, 3), "somebody else": SharedAgreement(0, 5, 0, 3)}
    with ArgillaQueue(argilla.access, WORKSPACE) as server:
        server.show_agreement(dataset, told)


@contextmanager
def signed_in(browser: "Browser", url: str, name: str, password: str) -> Iterator["Page"]:
    """The page at `url` of somebody whom it asked to sign in."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    page.get_by_label("username").fill(name)
    page.get_by_label("password").fill(password)
    page.keyboard.press("Enter")
    yield page
    page.context.close()


def answer_two(page: "Page") -> None:
    """Leads to the campaign's page, since nothing else is left."""
    page.locator(".questions-form input").first.wait_for(state="attached")
    counter = page.locator(".status-counter__counter").first
    for done in (1, 2):
        page.keyboard.press("2")
        page.keyboard.press("Enter")
        until(
            lambda done=done: "/campaign/" in page.url or counter.inner_text() == str(done),
            page.content,
        )
    page.wait_for_url("**/campaign/*")


def says(page: "Page", *parts: str) -> None:
    until(lambda: all(part in page.inner_text("main") for part in parts), page.content)


def test_one_address_from_the_first_round_to_the_last(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    name = f"lasting-{token_hex(3)}"
    password = add_user(argilla.access, name)
    first = CampaignQueue(name, "reviews", 1, 2)
    dataset = ask_round(argilla, tmp_path, first)
    assert dataset.url == f"{argilla.access.url}/campaign/{name}"
    with signed_in(browser, dataset.url, name, password) as page:
        answer_two(page)
        says(page, "reviews, round 1 of 2", "Thank you!", "2\n")
        says(page, "Round 2 of 2 will ask at this same address")
        close(argilla, dataset)
        show_agreement(argilla, dataset, name)
        says(page, "right, where the answer is known", "4 of 5", "2 of 3")

        second = ask_round(argilla, tmp_path, replace(first, round=2))
        assert second.url == dataset.url and second.id != dataset.id
        page.goto(dataset.url)  # the bookmark
        page.wait_for_url(f"**/dataset/{second.id}/annotation-mode*")
        answer_two(page)
        says(page, "4\n", "This was the last of 2 rounds: nothing more will be asked.")
        page.get_by_role("link", name="Look at your answers again").click()
        page.locator(".record__content").wait_for()
        assert second.id in page.url  # and stays


def test_a_round_with_its_answers_asks_no_more(
    browser: "Browser", argilla: SharedArgilla, tmp_path: Path
) -> None:
    """As after a deadline, or when the campaign has ended before its last round."""
    name = f"closed-{token_hex(3)}"
    password = add_user(argilla.access, name)
    queue = CampaignQueue(name, "reviews", 1, 3)
    dataset = ask_round(argilla, tmp_path, queue, people=2)
    other = Annotator.new(argilla.access, f"other-{token_hex(3)}")
    for record in other.queue(dataset):
        other.answer(record, "A")
    close(argilla, dataset)
    with signed_in(browser, dataset.url, name, password) as page:
        says(page, "There is nothing for you to answer now.", "Round 2 of 3 will ask")
        ask_round(argilla, tmp_path, queue, people=2)  # again, as after a change of the config
        page.goto(dataset.url)
        page.wait_for_url(f"**/dataset/{dataset.id}/annotation-mode*")
        close(argilla, dataset, campaign=True)
        page.goto(dataset.url)
        says(page, "The campaign has ended: nothing more will be asked.")
        page.goto(f"{argilla.access.url}/campaign/{name}-unknown")
        says(page, "Nothing is asked here yet", f"Signed in as {name}")


def test_what_the_page_says_is_nothing_but_numbers_of_ones_own(
    argilla: SharedArgilla, tmp_path: Path
) -> None:
    """An annotator reads the metadata that the page reads."""
    name = f"known-{token_hex(3)}"
    someone = Annotator.new(argilla.access, name)
    dataset = ask_round(argilla, tmp_path, CampaignQueue(name, "reviews", 1, 2))
    close(argilla, dataset)
    found = someone.call("GET", f"datasets/{dataset.id}")["metadata"]["ratchet"]
    assert found.pop("closed").startswith("20")
    assert found == {"id": name, "campaign": "reviews", "round": 1, "rounds": 2, "over": False}


def test_how_somebody_did_is_for_their_own_eyes(argilla: SharedArgilla, tmp_path: Path) -> None:
    names = [f"told-{token_hex(3)}", f"curious-{token_hex(3)}"]
    passwords = [add_user(argilla.access, name) for name in names]
    dataset = ask_round(argilla, tmp_path, CampaignQueue(names[0], "reviews", 1, 2))
    address = f"{argilla.access.url}/ratchet/agreement/{dataset.id}"

    def told(name: str, password: str) -> object:
        form = {"username": name, "password": password}
        token = httpx.post(f"{argilla.access.url}/api/v1/token", data=form, timeout=60).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        return httpx.get(address, headers=headers, timeout=60).json()

    assert told(names[0], passwords[0]) is None
    show_agreement(argilla, dataset, names[0])
    mine = {"gold_right": 4, "gold": 5, "repeats_alike": 2, "repeats": 3}
    assert [told(*each) for each in zip(names, passwords, strict=True)] == [mine, None]
    for headers in ({}, {"Authorization": "Bearer made-up"}):
        assert httpx.get(address, headers=headers, timeout=60).status_code == 401
    wrong = {"X-Argilla-Api-Key": "another"}
    assert httpx.put(address, json={}, headers=wrong, timeout=60).status_code == 403
    key = {"X-Argilla-Api-Key": argilla.access.api_key}
    assert httpx.put(address, json=[], headers=key, timeout=60).status_code == 422
