"""The user's model and warm start count by what is in them, wherever they lie."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from user_folder import MADE_BEFORE, TINY, run, user_folder

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from flows.config import CampaignConfig, load_config
from flows.session import Session
from flows.steps.base import base_config, user_inputs
from reporting.progress import CampaignProgress

WRONG_END, END = 9, 2
CONFIG: dict[str, Any] = {
    **TINY,
    "name": "ends",
    "rounds": 1,
    "policy": {"model": "model"},
    "sft": {"path": "warm.jsonl", "steps": 1, "batch_size": 2},
    "sampling": {**TINY["sampling"], "max_tokens": 12},
    "audit": {"allow": ["bos_doubled", "dropped", "truncated", "ties", "empty_answers"]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose generation config names another end of answers than its tokenizer."""
    folder = user_folder(tmp_path_factory.mktemp("written"))
    [base] = MADE_BEFORE.glob("campaign/rounds/00/base-*/policy")
    shutil.copytree(base, folder / "model")
    _end(folder / "model", WRONG_END)
    rows = [{"prompt": "one two", "completion": " three"}, {"prompt": "six", "completion": " one"}]
    (folder / "warm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "ends.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "user"))


def _end(model: Path, token: int) -> None:
    """What a person does with an editor."""
    path = model / "generation_config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({**written, "eos_token_id": token}))


def check_what_was_left_open(folder: Path, before: str, after: str) -> None:
    """What the gate can see is said before anything is sampled; what the config leaves open is
    chosen, said and recorded: the rate of a model with fewer than a million parameters."""
    assert before.index("! 4 gate prompts detect a win rate of 94.6%") < before.index("completions")
    assert "learning rate 0.0002 for" in after and "β 0.1 of loss sigmoid" in after
    [trained] = (
        e for e in Ledger(Layout(folder / "campaign").ledger).read() if e.step == "training"
    )
    assert trained.facts["settings"] == {
        "beta": 0.1,
        "learning_rate": 2e-4,
        "warmup_steps": 1,
        "pairs_per_step": 4,
    }


def steps(folder: Path) -> list[str]:
    return [entry.step for entry in Ledger(Layout(folder / "campaign").ledger).read()]


def test_the_audits_own_remedy_lets_a_campaign_go_on_and_a_moved_model_changes_nothing(
    folder: Path,
) -> None:
    blocked = run(folder, "ends.yaml")
    assert blocked.returncode == 1 and "eos_doubled" in blocked.stderr
    remedy = "eos_token_id in generation_config.json of the folder that policy.model names"
    assert remedy in blocked.stderr
    _end(folder / "model", END)
    done = run(folder, "ends.yaml")
    assert done.returncode == 0, done.stderr
    assert steps(folder).count("base") == steps(folder).count("completions") == 2
    check_what_was_left_open(folder, blocked.stdout, done.stdout)

    made = steps(folder)
    (folder / "elsewhere").mkdir()
    (folder / "model").rename(folder / "elsewhere" / "same")
    (folder / "warm.jsonl").rename(folder / "elsewhere" / "same.jsonl")
    moved = ("--set", "policy.model=elsewhere/same", "--set", "sft.path=elsewhere/same.jsonl")
    again = run(folder, "ends.yaml", *moved)
    assert again.returncode == 0, again.stderr
    assert steps(folder) == made


def recipe(folder: Path, *overrides: str) -> tuple[Any, ...]:
    """What the base depends on."""
    config: CampaignConfig = load_config(folder / "ends.yaml", ["threads=1", *overrides])
    with Session.open(
        folder / "other", config, CampaignProgress(Console(quiet=True), 1)
    ) as session:
        inputs = {name: found.hash for name, found in user_inputs(session).items()}
    return base_config(config, 0), inputs


EDITS = {
    "model/chat_template.jinja": "{{ messages[0]['content'] }}",
    "model/generation_config.json": '{"eos_token_id": 2}',
    "model/config.json": '{"model_type": "llama"}',
    "model/tokenizer_config.json": "{}",
    "warm.jsonl": '{"prompt": "a", "completion": "b"}\n',
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_any_of_their_files_makes_another_base(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = recipe(folder)
    assert recipe(folder) == before
    (folder / name).write_text(EDITS[name])
    assert recipe(folder) != before


def test_another_place_makes_no_other_base(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = recipe(folder)
    shutil.copytree(folder / "model", folder / "same")
    (folder / "warm.jsonl").rename(folder / "same.jsonl")
    assert recipe(folder, "policy.model=same", "sft.path=same.jsonl") == before


def test_a_model_that_is_gone_stops_nothing_that_is_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay, and whatever else reads the stored config."""
    monkeypatch.chdir(folder)
    config = load_config(folder / "ends.yaml", ["threads=1"])
    shutil.rmtree(folder / "model")
    with Session.open(
        folder / "other", config, CampaignProgress(Console(quiet=True), 1)
    ) as session:
        assert user_inputs(session)["model"].hash == "gone"


def test_a_hub_id_stays_an_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config, inputs = recipe(folder, "policy.model=somebody/something")
    assert config["policy"]["model"] == "somebody/something" and "model" not in inputs
