"""Pages of the console: what they show, and that what they do is what a command does."""

import html
import json
import re
from pathlib import Path

import pytest
from html_checks import complaints
from rich.console import Console
from shown_console import Shown, campaign
from written_campaign import Written

from console.app import PREFIX
from console.campaigns import Board
from console.recipes import changed_words, recipe_fields
from dpo_core.atomic import write_json
from dpo_core.campaign.failure import read_failure
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import locked
from dpo_core.campaign.step_now import StepNow, StepRecord
from reporting.progress import CampaignProgress
from reporting.summary import read_summary
from reporting.verdicts import judge_round


def test_home_shows_what_waits_first_and_every_campaign(shown: Shown) -> None:
    page = shown.get("/")
    tasks, _, campaigns = page.partition('<h2 id="campaigns">')
    assert "Waiting for you" in tasks
    for sentence in ("13 of 20 labels given", "Round 2 needs your decision", "Look at it."):
        assert sentence in tasks, sentence
    for name in ("better", "asking", "labels", "failed", "broken"):
        assert f">{name}</a>" in campaigns, name
    assert "awaiting decision" in campaigns and "cannot be read" in campaigns
    assert campaigns.count("<polyline") == 4  # the broken one has none
    assert "more of it" not in page  # only the first line of a failure


def test_every_page_is_sound_and_runs_no_script_of_a_model(shown: Shown) -> None:
    ids = {name: shown.id(name) for name in ("better", "asking", "failed")}
    paths = [
        *("/", f"{PREFIX}/start", f"{PREFIX}/recipe?config=recipe.yaml"),
        *(f"{PREFIX}/campaign/{id}" for id in ids.values()),
        *(f"{PREFIX}/campaign/{ids['better']}/{part}" for part in ("logs", "report")),
        f"{PREFIX}/campaign/{ids['asking']}/decision",
        f"{PREFIX}/compare?c={ids['better']}&c={ids['asking']}",
    ]
    for path in paths:
        answer = shown.client.get(path)
        assert answer.status_code == 200, path
        assert complaints(answer.text) == [], path
        assert "<script>window" not in answer.text and "<img src=x" not in answer.text, path
        if "report" not in path and "compare" not in path:  # these bring a policy of their own
            assert "script-src 'self'" in answer.headers["content-security-policy"], path


def test_decision_is_the_commands(shown: Shown) -> None:
    id = shown.id("asking")
    page = shown.get(f"{PREFIX}/campaign/{id}/decision")
    assert "Should round 2 replace round 1?" in page and "win_rate_gate" in page
    report = shown.get(f"{PREFIX}/campaign/{id}/report").partition("</header>")[0]
    assert "Round 2 needs your decision." in report and "not promoted" not in report
    code, said = shown.post(f"{PREFIX}/campaign/{id}/do/promote", reason="I read them")
    assert code == 200, said
    command = f"ratchet decide {shown.folder / 'campaigns/asking'} --promote"
    assert f"{command} --reason &#39;I read them&#39;" in said
    [line] = (shown.folder / "campaigns/asking/decisions.jsonl").read_text().splitlines()
    assert (json.loads(line)["promote"], json.loads(line)["reason"]) == (True, "I read them")
    assert "Decide" not in shown.get("/")


def test_refused_command_is_shown_with_its_exit_code(shown: Shown) -> None:
    id = shown.id("better")
    code, said = shown.post(f"{PREFIX}/campaign/{id}/do/branch", from_round="9", changes="")
    assert code == 200 and "exit code 2" in said and "ratchet branch" in said, said
    assert not (shown.folder / "campaigns/better-from-9").exists()


@pytest.mark.parametrize(
    ("path", "form", "says"),
    [
        ("do/promote", {"token": "of another start"}, "earlier start of the console"),
        ("do/rollback", {"to_round": "one"}, "is not the number of a round"),
        ("do/branch", {"from_round": "1", "changes": "beta 0.2"}, "is not a change"),
        ("do/cancel", {}, "needs a worker"),
    ],
)
def test_faulty_request_runs_nothing(
    shown: Shown, path: str, form: dict[str, str], says: str
) -> None:
    before = shown.console.board.signature()
    code, said = shown.post(f"{PREFIX}/campaign/{shown.id('asking')}/{path}", **form)
    assert code == 400 and says in html.unescape(said), said
    assert shown.console.board.signature() == before


def test_unknown_addresses(shown: Shown) -> None:
    for path in ("campaign/0123456789", "recipe?config=../recipe.yaml", "compare?c=x"):
        assert shown.client.get(f"{PREFIX}/{path}").status_code == 400, path
    assert shown.post(f"{PREFIX}/campaign/{shown.id('better')}/do/nothing")[0] == 404


def test_label_leads_to_the_questions(shown: Shown) -> None:
    """To a server elsewhere, without signing in."""
    path = f"{PREFIX}/campaign/{shown.id('labels')}/label"
    answer = shown.client.get(path, follow_redirects=False)
    assert answer.headers["location"] == "http://127.0.0.1:1/dataset/d"


def test_form_of_a_recipe_becomes_overrides(shown: Shown) -> None:
    page = shown.get(f"{PREFIX}/start")
    assert "A recipe for tests." in page and "Not shown" not in page and "other.yaml" not in page
    fields = recipe_fields(shown.folder, "recipe.yaml")
    unchanged = {field.key: field.value.replace("\n", "\r\n") for field in fields}
    assert changed_words(fields, unchanged) == []
    changed = {
        **unchanged,
        "name": "mine",
        "people.guidelines": "One\r\nTwo",
        "more": "gate.kl_budget: 2\n",
    }
    assert changed_words(fields, changed) == [
        *("--set", "name=mine", "--set", 'people.guidelines="One\\nTwo"'),
        *("--set", "gate.kl_budget=2"),
    ]
    [engine] = [field for field in fields if field.key == "sampling.engine"]
    assert engine.choices == ("vllm", "transformers")
    code, said = shown.post(f"{PREFIX}/submit", config="recipe.yaml")
    assert code == 400 and "ratchet up" in said


def test_recipes_come_with_ratchet(shown: Shown) -> None:
    page = shown.get(f"{PREFIX}/start")
    assert page.index("Configs here") < page.index("Recipes that come with Ratchet")
    [link] = re.findall(r'href="([^"]*smollm2-cpu.yaml)"', page)
    assert "policy.model" in shown.get(html.unescape(link))


def test_submitted_campaigns_are_shown_wherever_they_are(tmp_path: Path) -> None:
    there = Written(tmp_path / "elsewhere" / "far", name="far")
    board = Board((tmp_path / "campaigns",), tmp_path / "worker")
    assert board.all() == []
    submitted = [{"root": str(there.root)}, {"root": str(tmp_path / "not-yet-begun")}]
    write_json(Layout(tmp_path / "worker").registry, submitted)
    assert [one.name for one in board.all()] == ["far"]


def test_changes_are_noticed(shown: Shown) -> None:
    board = shown.console.board
    before = board.signature()
    assert board.signature() == before
    campaign(shown.folder, "new", 0)
    assert board.signature() != before
    layout = Layout(shown.folder / "campaigns/new")
    with locked(layout.lock):
        record = StepRecord(layout.progress)
        record.begin(1, "training")
        record._written = 0.0
        record.advance(12, 40, "steps")
        page = shown.get(f"{PREFIX}/overview")
        assert "round 1: training, 12 of 40 steps" in page and 'value="0.300"' in page
        record.end()
    assert "12 of 40 steps" not in shown.get(f"{PREFIX}/overview")


def test_open_pages_share_one_look_at_the_disk(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, signature = [], shown.console.board.signature
    monkeypatch.setattr(shown.console.board, "signature", lambda: looks.append(1) or signature())
    assert shown.console._look() == shown.console._look() == signature()
    assert len(looks) == 1
    monkeypatch.setattr("console.app._LOOKS_EVERY_S", 0.0)
    campaign(shown.folder, "newer", 0)
    assert shown.console._look() == signature() and len(looks) == 2


def test_step_of_a_killed_run_is_not_that_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    StepRecord(path).begin(1, "training")
    with CampaignProgress(Console(quiet=True), 1, path):
        assert StepNow.read(path) is None


def test_failure_is_of_the_last_run_alone(shown: Shown) -> None:
    layout = Layout(shown.folder / "campaigns/failed")
    assert read_failure(layout) is not None
    summary = read_summary(layout.root, samples=False)
    assert summary.failure is not None and summary.state == "stopped"
    with locked(layout.lock):  # another one goes on
        assert read_summary(layout.root, samples=False).failure is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "promoted"),
        ({"warnings": {"drift": "It drifts."}}, "promoted with warnings"),
        ({"promoted": False}, "refused"),
        ({"kl_base_nats": 70_000.0}, "collapsed, promoted"),
    ],
)
def test_badge_says_how_far_to_trust(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    written = campaign(tmp_path, "judged", 0)
    written.round(1, **changes)
    summary = read_summary(written.root, samples=False)
    assert judge_round(summary, summary.rounds[0]).text == says
