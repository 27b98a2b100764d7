"""A campaign that means harm goes through every surface: nothing is changed, nothing runs, nothing
is asked of a network, and no terminal obeys it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hostile_campaign import HARM, Hostile, prompt
from html_checks import complaints
from test_ui import command

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.tables import read_rows
from flows.prefect.server import free_port
from labeling.server import add_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

sys.path.insert(0, str(Path(__file__).parents[1] / "labeling" / "people"))
from annotators import Annotator, dataset_named

from tests.shared_argilla import SharedArgilla

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT_MS = 60_000
WAITS = 75
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
NOBODY = "192.0.2.1"
COMMENT = f"{HARM[0]} {HARM[3]} {HARM[4]}"


@dataclass
class Watched:
    """A page with all that it asked for and said."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def refuse(self, request: "Request") -> None:
        if request.failure == "csp":
            self.refused.append(request.url)

    def elsewhere(self, home: str) -> list[str]:
        """What left for anywhere but `home`, and whatever the texts asked for, refused or not.

        The pages' own policies refuse some requests, as those of Argilla for fonts of Google.
        """
        local = (home, "data:", "blob:")
        return [
            url
            for url in self.requests
            if not url.startswith(local) and (url not in self.refused or NOBODY in url)
        ]


@contextmanager
def watched(browser: "Browser") -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(WAIT_MS)
    seen = Watched(page)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", seen.refuse)
    page.on("console", lambda message: seen.said.append(message.text))
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    yield seen
    page.close()


@dataclass
class Played:
    campaign: Hostile
    printed: str
    labelling: Watched
    harmed: object


@pytest.fixture(scope="module")
def played(
    argilla: SharedArgilla,
    browser: "Browser",
    tmp_path_factory: pytest.TempPathFactory,
    screenshots: Path,
) -> Played:
    """Run until people are asked, looked at and answered in Argilla, run to its end."""
    campaign = Hostile.create(tmp_path_factory.mktemp("hostile"))
    campaign.access = argilla.access
    run = ("run", "small.yaml", "--campaign-dir", "campaign")
    waits = campaign.ratchet(*run, "--no-prefect")
    assert waits.returncode == WAITS, waits.stderr + waits.stdout
    waiting = json.loads(campaign.layout.waiting.read_text())
    with watched(browser) as seen:
        harmed = _looked_at(seen.page, waiting["url"], argilla, screenshots)
    _answered(argilla, waiting["dataset"])
    done = campaign.ratchet(*run)
    assert done.returncode == 0, done.stderr + done.stdout
    return Played(campaign, waits.stdout + done.stdout + done.stderr, seen, harmed)


def _looked_at(page: "Page", url: str, argilla: SharedArgilla, screenshots: Path) -> object:
    password = add_user(argilla.access, "looker")
    page.goto(url)
    page.fill("input[type=text]", "looker")
    page.fill("input[type=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "sign-in" not in address)  # on to `url`
    for number in range(1, 6):
        page.wait_for_selector(f"[aria-label='Current Record']:text-is('{number}')")
        page.wait_for_selector(".text_field_component")
        if number == 1:
            page.screenshot(path=screenshots / "hostile-argilla.png")
        page.keyboard.press("ArrowRight")
    return page.evaluate("window.harmed")


def _answered(argilla: SharedArgilla, name: str) -> None:
    person = Annotator.new(argilla.access, "mallory")
    path = f"me/datasets/{dataset_named(argilla.access, name).id}/records/search"
    found = person.call("POST", path, json={}, params={"limit": 100})["items"]
    for number, item in enumerate(found):
        person.answer(item["record"], "AB"[number % 2], comment=COMMENT)


def test_data_on_disk_is_what_it_was(played: Played) -> None:
    layout = played.campaign.layout
    wanted = {prompt(number) for number in range(90)}
    for number, step in ((0, "held_out"), (1, "prompts")):
        artifact = current_artifact(layout, number, step)
        assert artifact is not None
        assert {row["prompt"] for row in read_rows(artifact.path("prompts.parquet"))} <= wanted
    answers = current_artifact(layout, 1, "completions")
    assert answers is not None
    rows = read_rows(answers.path("completions.parquet"))
    words = ["<pad>", "<eos>", "<unk>", *HARM, "good", "bad"]
    for row in rows:
        said = " ".join(words[token] for token in row["token_ids"] if token > 2)
        assert row["text"] == said
    assert {word for word in HARM if any(word in row["text"] for row in rows)} == set(HARM)


def test_labels_keep_their_comments(played: Played) -> None:
    labels = current_artifact(played.campaign.layout, 1, "labels")
    assert labels is not None
    rows = read_rows(labels.path("labels.parquet"))
    assert len(rows) == 9
    assert {row["comment"] for row in rows} == {COMMENT}


def test_terminal_and_comparison_obey_nothing(
    played: Played, browser: "Browser", tmp_path: Path
) -> None:
    campaign = played.campaign
    branch = ("branch", "campaign", "--from-round", "1", "--name", "other")
    page = tmp_path / "compare.html"
    compare = ("compare", "campaign", "other", "--html", str(page))
    for arguments in (
        ("status", "campaign"),
        ("status", "campaign", "--json"),
        branch,
        compare,
        _evaluate(campaign),
    ):
        done = campaign.ratchet(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert not ACTS.search(done.stdout + done.stderr), arguments
    assert not ACTS.search(played.printed)
    assert complaints(page.read_text(encoding="utf-8")) == []
    with watched(browser) as seen:
        seen.page.goto(page.as_uri())
        seen.page.wait_for_selector("body[data-complete]")
        assert not ACTS.search(seen.page.inner_text("body"))
        assert seen.page.evaluate("window.harmed") is None
        assert seen.said == [] and seen.elsewhere(page.as_uri()) == []


def _evaluate(campaign: Hostile) -> tuple[str, ...]:
    """The base against the round's policy, on the same prompts, outside of the campaign."""
    steps = ((0, "base"), (1, "training"))
    policies = [str(campaign.artifact(number, step).path("policy")) for number, step in steps]
    some = campaign.folder / "some.jsonl"
    lines = (campaign.folder / "prompts.jsonl").read_text().splitlines()[:9]
    some.write_text("\n".join(lines) + "\n")
    judge = ("--judge", "small_judge:score", "--engine", "transformers", "--max-tokens", "6")
    return ("evaluate", *policies, "--prompts", str(some), *judge, "--set", "threads=1")


def test_argilla_shows_it_and_runs_none_of_it(played: Played) -> None:
    assert played.harmed is None
    home = played.campaign.access.url
    assert played.labelling.elsewhere(home) == []
    assert any(url.startswith(home) for url in played.labelling.requests)


def test_the_report_runs_none_of_it(played: Played, browser: "Browser", screenshots: Path) -> None:
    report = played.campaign.layout.report
    assert complaints(report.read_text(encoding="utf-8")) == []
    with watched(browser) as seen:
        page = seen.page
        page.goto(report.as_uri())
        page.wait_for_selector("body[data-complete]")
        for kind in ("held-out", "people"):
            page.select_option("#kind", kind)
            page.locator("#prompts button").first.wait_for()
            for button in page.locator("#prompts button").all():
                button.click()
        shown = page.inner_text("#sample")
        page.locator("#samples").screenshot(path=screenshots / "hostile-report.png")
        assert "mallory" in shown and HARM[0] in shown
        assert not ACTS.search(page.inner_text("body"))
        assert page.evaluate("window.harmed") is None
        assert seen.said == [] and seen.elsewhere(report.as_uri()) == []


WEIGHT = """() => [
  performance.getEntriesByType('resource').reduce((sum, one) => sum + one.encodedBodySize, 0),
  performance.getEntriesByType('navigation')[0].loadEventEnd / 1000,
]"""


def test_prefect_runs_none_of_it(
    played: Played, browser: "Browser", screenshots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    campaign = played.campaign
    ui = command("ui", str(campaign.layout.root), "--port", str(port))
    with (
        subprocess.Popen(
            ui, stdout=subprocess.PIPE, text=True, env=campaign.environment()
        ) as serving,
        ExitStack() as ends,
        watched(browser) as seen,
    ):
        ends.callback(serving.terminate)  # a failure must not wait for it
        assert serving.stdout is not None
        lines = [serving.stdout.readline().strip() for _ in range(4)]
        page = seen.page
        page.goto(lines[2].removeprefix("sign in there: ").split(" ")[0])
        page.wait_for_url(f"{url}/runs")  # it goes there by itself
        page.wait_for_selector("a[href*='/runs/flow-run/']")
        page.get_by_text("hostile").first.wait_for()
        page.screenshot(path=screenshots / "prefect-runs.png")
        weight, loaded = page.evaluate(WEIGHT)
        with capsys.disabled():
            print(f"\nPrefect's runs page: {weight / 1e6:.1f} MB, loaded after {loaded:.1f} s")
        page.goto(f"{url}/artifacts")
        page.get_by_text("hostile-report").first.wait_for()
        # Links are followed: the page stays, so what ran in any of its views is seen at the end.
        keys = "a[href*='/artifacts/key/']"
        for name in ("hostile-report", "hostile-round-1"):
            page.locator(f"{keys}[href$='{name}']").first.click()
            page.wait_for_url(f"**/artifacts/key/{name}")
            page.get_by_text(f"Created {name}").first.wait_for()
            page.go_back()
            page.locator(f"{keys}[href$='hostile-report']").first.wait_for()
        assert page.evaluate("window.harmed") is None
        assert seen.elsewhere(url) == []
