"""Under `ratchet worker` the gate asks by a form on the suspended run, with the report linked."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from planted import copied
from playwright.sync_api import TimeoutError as NotInTime
from small_campaign import RUN, TIMEOUT_S, Campaign
from test_planted import row

from dpo_core.campaign.layout import Layout
from dpo_core.server_keys import read_key, sign_in_link, worker_key_path
from flows.prefect.server import free_port
from tests.until import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

WAIT_MS = 60_000
ASK = (
    *("--set", "gate.threshold=1", "--set", "gate.otherwise=ask"),
    *("--set", "rounds=1"),
)

ASKED = "needs your decision"


@contextmanager
def _worker(campaign: Campaign, port: int) -> Iterator[Path]:
    """The worker's output, while it runs."""
    log = campaign.folder / "worker.out"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "worker", "--dir", "w", "--port", str(port)],
            cwd=campaign.folder,
            env={**campaign.environment(), "PYTHONUNBUFFERED": "1"},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            _says(log, "Ctrl-C stops")
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_S)


def _says(log: Path, text: str, times: int = 1) -> None:
    until(lambda: log.read_text().count(text) >= times, log.read_text)


def _submit(campaign: Campaign, folder: str) -> str:
    """The id of the run."""
    arguments = (RUN[1], "--campaign-dir", folder, *ASK)
    handed = campaign.ratchet("submit", *arguments, "--dir", "w")
    assert handed.returncode == 0, handed.stderr
    return handed.stdout.strip().rsplit("/", 1)[-1]


def test_the_form_or_the_command_line_answers_a_suspended_run(
    improving: Campaign, tmp_path: Path, browser: "Browser"
) -> None:
    copy, port = copied(improving, tmp_path / "copy"), free_port()
    url = f"http://127.0.0.1:{port}"
    with _worker(copy, port) as log, httpx.Client(base_url=url, timeout=60) as http:
        key = read_key(worker_key_path(Layout(copy.folder / "w")))
        assert key is not None
        http.headers.update(key.headers)
        api = f"/api/flow_runs/{_submit(copy, 'campaign')}"
        _says(log, "small: suspended  round 1 needs your decision")
        _look_at_the_form(http, api)
        refused = http.post(f"{api}/resume", json={"run_input": {"answer": "perhaps"}}).json()
        assert refused["status"] == "REJECT" and "perhaps" in refused["details"]["reason"]
        _fill_in(browser, sign_in_link(key, f"/runs/flow-run/{api.rsplit('/', 1)[-1]}"))
        _says(log, "small: completed")
        said = r"promoted: decided by anna on 20[-\d]+ [\d:]+ UTC \(they read well\)"
        assert re.match(said, row(copy, 1)["decision"])
        assert copy.entries()[-1].facts["answer"]["by"] == "anna"

        (copy.folder / "other").mkdir()
        copied(improving, copy.folder / "other" / "one")
        other = "other/one/campaign"
        _submit(copy, other)
        _says(log, "small: suspended", times=2)
        told = copy.ratchet("decide", other, "--keep", "--reason", "not yet")
        assert told.returncode == 0, told.stderr
        _says(log, "small: completed", times=2)
        layout = Layout(copy.folder / other)
        assert '"by": "' in layout.decisions.read_text() and "not yet" in layout.ledger.read_text()


def _fill_in(browser: "Browser", address: str) -> None:
    """As a person would."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address, timeout=WAIT_MS)
    page.get_by_role("button", name="Resume").first.click(timeout=WAIT_MS)
    form = page.locator(".p-modal__card")
    form.get_by_role("link", name="Open the report").wait_for(timeout=WAIT_MS)
    for _ in range(3):  # the page reads the run every few seconds, and may lay the form out anew
        form.locator(".p-select-button__control").focus()
        page.keyboard.press("Space")
        page.locator(".p-select-option", has_text="promote").click(timeout=WAIT_MS)
        boxes = form.locator("textarea").all()
        for box, text in zip(boxes, ("they read well", "anna"), strict=True):
            box.fill(text)
        form.get_by_role("button", name="Submit").click()
        with suppress(NotInTime):
            form.wait_for(state="detached", timeout=WAIT_MS / 3)
            break
        print(page.locator("body").inner_text())
    page.close()


def _look_at_the_form(http: httpx.Client, api: str) -> None:
    state: dict[str, Any] = http.get(api).json()["state"]
    assert (state["type"], state["name"]) == ("PAUSED", "Suspended")
    keys = state["state_details"]["run_input_keyset"]
    description = http.get(f"{api}/input/{keys['description']}").json()
    print(description)
    assert description.startswith(f"Round 1: {ASKED}: lower bound ")
    link = re.search(
        r"\[Open the report\]\((/ratchet/campaigns/[0-9a-f]+/report.html)\)", description
    )
    assert link is not None
    assert ASKED in http.get(link[1]).raise_for_status().text
    assert http.get(link[1].replace("report.html", "ledger.jsonl")).status_code == 404
    schema = http.get(f"{api}/input/{keys['schema']}").json()
    assert schema["required"] == ["answer"]
    assert schema["properties"]["answer"]["enum"] == ["promote", "keep"]
