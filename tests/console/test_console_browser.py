"""The console in Chromium: how few clicks, what a refresh keeps, and what a screen reader finds."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
import uvicorn
from html_checks import nameless
from shown_console import Shown, campaign, open_console

from console.app import create_app
from console.label_proxy import LabelProxy
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, write_waiting
from flows.prefect.server import free_port
from labeling.server.credentials import write_credentials
from tests.shared_argilla import SharedArgilla
from tests.until import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
WAIT_MS = 60_000
PHONE = {"width": 390, "height": 800}


@contextmanager
def served(shown: Shown) -> Iterator[str]:
    """Its address. The guard before it has tests of its own."""
    port = free_port()
    app = LabelProxy(create_app(shown.console), shown.console.label_names)
    config = uvicorn.Config(app, port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    until(lambda: server.started, lambda: "the console did not start")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.force_exit = server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: "Browser", tmp_path: Path) -> Iterator[tuple["Page", Shown]]:
    with open_console(tmp_path) as shown, served(shown) as url:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text))
        page.goto(url)
        yield page, shown
        assert faults == [], faults
        page.close()


def test_approving_takes_two_clicks(page: tuple["Page", Shown]) -> None:
    there, shown = page
    there.get_by_role("link", name="Decide").click()
    there.get_by_role("button", name="Keep round 1").click()
    there.get_by_text("Done").first.wait_for()
    assert (shown.folder / "campaigns/asking/decisions.jsonl").exists()


def test_labels_are_given_at_the_consoles_port_but_in_another_origin(
    page: tuple["Page", Shown], browser: "Browser", argilla: SharedArgilla
) -> None:
    there, shown = page
    write_credentials(shown.folder / "argilla", argilla.credentials)
    asked = f"{argilla.access.url}/datasets"
    waiting = Waiting(2, "d", asked, 20, 7, "2026-01-01", None, "waits")
    write_waiting(Layout(shown.folder / "campaigns/labels"), waiting)
    button = there.get_by_role("link", name="Label", exact=True)
    labels = browser.new_page()
    labels.set_default_timeout(WAIT_MS)
    labels.goto(urljoin(there.url, button.get_attribute("href")))
    labels.wait_for_url(f"{there.url.replace('127.0.0.1', 'labels.localhost')}datasets*")
    token = "{headers: {Authorization: localStorage['auth._token.local']}}"
    me = labels.evaluate(f"fetch('/api/v1/me', {token}).then((answer) => answer.json())")
    assert me["username"] == argilla.credentials.username
    read = f"fetch({there.url!r}).then(() => 'read', () => 'refused')"
    assert there.evaluate(read) == "read" and labels.evaluate(read) == "refused"
    labels.close()


def test_comparing_takes_three_clicks(page: tuple["Page", Shown]) -> None:
    there, _ = page
    there.get_by_role("checkbox", name="Compare better").click()
    there.get_by_role("checkbox", name="Compare labels").click()
    there.get_by_role("button", name="Compare the ticked ones").click()
    there.get_by_role("heading", level=1).wait_for()
    assert "/console/compare" in there.url


def test_refresh_keeps_what_a_person_does(page: tuple["Page", Shown]) -> None:
    there, shown = page
    there.get_by_role("checkbox", name="Compare better").check()
    there.get_by_role("link", name="better", exact=True).focus()
    campaign(shown.folder, "arrived", 1)
    there.get_by_role("link", name="arrived", exact=True).wait_for()
    assert there.get_by_role("checkbox", name="Compare better").is_checked()
    assert there.evaluate("document.activeElement.textContent") == "better"


def test_pages_are_usable_by_screen_reader_keyboard_and_phone(page: tuple["Page", Shown]) -> None:
    there, shown = page
    base = there.url.rstrip("/")
    ids = {name: shown.id(name) for name in ("better", "asking")}
    for path in (
        *("/", "/console/start", "/console/recipe?config=recipe.yaml"),
        f"/console/campaign/{ids['better']}",
        f"/console/campaign/{ids['better']}/logs",
        f"/console/campaign/{ids['asking']}/decision",
    ):
        there.set_viewport_size(PHONE)
        there.goto(base + path)
        assert nameless(there) == [], path
        wider = there.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wider <= 0, (path, wider)
        scrolled = there.evaluate(
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        )
        assert scrolled == [] or path != "/", "a list of campaigns needs no scrolling sideways"
        there.keyboard.press("Tab")
        assert there.evaluate("document.activeElement.textContent") == "Skip to the content"
