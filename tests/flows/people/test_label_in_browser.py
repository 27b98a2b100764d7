"""A person labels a whole round in a real browser, and the campaign trains on exactly that."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from small_campaign import CONFIG, UNTRAINED, Campaign

from dpo_core.tables import read_rows
from labeling.server import add_user
from tests.shared_argilla import SharedArgilla

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WAIT_MS = 60_000
WAITS = 75
KEYS = {"A": "1", "B": "2", "Tie": "3", "Both bad": "4"}
WRITES_WELL = {
    **UNTRAINED,
    "policy": {"build": "examples.reviews.model:build"},
    "sft": {**CONFIG["sft"], "steps": 300, "learning_rate": 3e-3},
    "sampling": CONFIG["sampling"],
    "training": CONFIG["training"],
}
"""For the picture in the docs alone: to learn it takes longer than all the rest."""
GUIDELINES = "A review is better when it is more positive, and reads well."


@dataclass(frozen=True)
class Click:
    """What stood on the screen, and what was done: an answer, or "discard"."""

    first: str
    second: str
    done: str


@dataclass(frozen=True)
class Labelled:
    campaign: Campaign
    clicks: tuple[Click, ...]
    asked: str


@pytest.fixture(scope="module")
def labelled(
    request: pytest.FixtureRequest,
    argilla: SharedArgilla,
    browser: "Browser",
    tmp_path_factory: pytest.TempPathFactory,
    screenshots: Path,
) -> Labelled:
    """A campaign of one round, run until it waits, labelled by hand, run to its end."""
    for_docs = request.config.getoption("--screenshots") is not None
    campaign = Asking.create(tmp_path_factory.mktemp("people"), for_docs)
    campaign.server = argilla
    waiting = campaign.run()
    assert waiting.returncode == WAITS, waiting.stderr + waiting.stdout
    url = json.loads(campaign.layout.waiting.read_text())["url"]
    password = add_user(argilla.access, "mouse-and-keys")
    page = browser.new_page(viewport={"width": 1280, "height": 760})
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    sign_in(page, "mouse-and-keys", password)  # which leads on to the address
    clicks = tuple(label_all(page, screenshots / "labelling.png"))
    page.close()
    done = campaign.run()
    assert done.returncode == 0, done.stderr + done.stdout
    return Labelled(campaign, clicks, waiting.stdout)


class Asking(Campaign):
    """The small campaign, in which people judge every pair, and a rule the held-out answers."""

    server: SharedArgilla

    @classmethod
    def create(cls, folder: Path, for_docs: bool = False) -> "Asking":
        super().create(folder)
        config = {
            **{name: CONFIG[name] for name in ("name", "evaluation", "gate")},
            **(WRITES_WELL if for_docs else UNTRAINED),
            "rounds": 1,
            "prompts": {**CONFIG["prompts"], "per_round": 8},
            "judge": {"kind": "human"},
            "evaluation_judge": CONFIG["judge"],
            "pairs": {"strategy": "random", "truncated": "keep"},
            "people": {"guidelines": GUIDELINES, "strength": True},
        }
        (folder / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return cls(folder)

    def environment(self) -> dict[str, str]:
        access = self.server.access
        named = {"ARGILLA_API_URL": access.url, "ARGILLA_API_KEY": access.api_key}
        return {**super().environment(), **named}


def sign_in(page: "Page", name: str, password: str) -> None:
    page.fill("input[type=text]", name)
    page.fill("input[type=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "sign-in" not in url)


def label_all(page: "Page", picture: Path) -> Iterator[Click]:
    """One tie by key, one discard by mouse, one by key; then the longer answer, by turns."""
    total = int(page.locator("[aria-label='Total Records']").inner_text().removeprefix("of "))
    fields = page.locator(".text_field_component")
    assert fields.first.inner_text().startswith("Prompt, which the responses continue")
    shown = fields.locator(".content-area")
    for number in range(total):
        page.wait_for_selector(f"[aria-label='Current Record']:text-is('{number + 1}')")
        click = Click(shown.nth(1).inner_text().strip(), shown.nth(2).inner_text().strip(), "")
        better = "A" if len(click.first) >= len(click.second) else "B"
        done = {0: "Tie", 1: "discard", 2: "discard"}.get(number, better)
        by_key = number % 2 == 0
        if number == 0:
            press(page, "g")  # closes the guidelines
        if done == "discard":
            press(page, "Backspace") if by_key else page.click("button.button--discard")
        elif by_key:
            press(page, KEYS[done])
            press(page, "Enter")
        else:
            page.click(f"[role=button][aria-label='{done}']")
            if number == 3:
                page.screenshot(path=picture)
            page.click("button.button--submit")
        yield replace(click, done=done)
    page.wait_for_selector(".text_field_component", state="detached")


def press(page: "Page", key: str) -> None:
    page.keyboard.press(key)


def written(text: str) -> str:
    """A text as a page shows it: markdown folds white space."""
    return re.sub(r"\s+", " ", text).strip()


def test_the_campaign_says_where_to_label_and_lets_go(labelled: Labelled) -> None:
    assert "0 of 8 answers received" in labelled.asked
    assert len(labelled.clicks) == 8
    assert [click.done for click in labelled.clicks].count("discard") == 2


def test_it_trains_on_exactly_these_labels(labelled: Labelled) -> None:
    campaign = labelled.campaign
    texts = {
        row["completion_id"]: written(row["text"])
        for row in read_rows(campaign.artifact(1, "completions").path("completions.parquet"))
    }
    rows = read_rows(campaign.artifact(1, "preferences").path("preferences.parquet"))
    trained = sorted((texts[row["chosen"]], texts[row["rejected"]]) for row in rows)
    clicked = sorted(
        (click.first, click.second) if click.done == "A" else (click.second, click.first)
        for click in labelled.clicks
        if click.done in ("A", "B")
    )
    print(f"{len(clicked)} of {len(labelled.clicks)} answers name the better one: {os.linesep}")
    assert trained == clicked
    assert campaign.artifact(1, "training").entry.kept == len(clicked) == 5


def test_the_ledger_says_what_became_of_the_others(labelled: Labelled) -> None:
    labels = labelled.campaign.artifact(1, "labels").entry
    assert labels.facts["by_mode"] == {"blind": 8}
    assert labels.facts["by_annotator"] == {"mouse-and-keys": 8}
    assert labels.facts["verdicts"]["discarded"] == 2
    assert labels.facts["verdicts"]["tie"] == 1
    assert labels.facts["ended_by"] == "quorum"
